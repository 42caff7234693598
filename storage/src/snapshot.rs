//! Snapshots of the storage: a folder with all blocks of a moment, from which a storage can be opened.
//!
//! ```text
//!  snapshots/<name>/blocks/<signal>/<tenant>/<ulid>/    files of local blocks as further names of the same files (hard links)
//!                   tombstones/                         what is hidden of them
//!                   wal/<signal>/remembered             metadata of families, the newest exemplars
//! ```
//!
//! It is made below `tmp` and moved when it is whole and durable.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{Block, MANIFEST, MANIFEST_COPY, sync_dir};
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::generation::{SignalStore, blocking};
use crate::signal::Head;
use crate::tombstone::TombstoneFolder;

/// Bytes that are read of a remote file at once.
const PIECE_BYTES: u64 = 4 << 20;

/// A snapshot that is being made. What is not finished vanishes.
pub(crate) struct Snapshot {
    draft: PathBuf,
    path: PathBuf,
}

impl Snapshot {
    /// # Errors
    /// `BadInput` when there is one of this name, or the name is more than letters, digits and hyphens; `Io`.
    pub(crate) fn begin(storage: &Path, tmp: &Path, name: &str) -> Result<Self> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(Error::BadInput(format!("no name of a snapshot: {name:?}")));
        }
        let snapshot = Self {
            draft: tmp.join(format!("snapshot-{name}")),
            path: storage.join("snapshots").join(name),
        };
        if snapshot.path.exists() {
            let path = snapshot.path.display();
            return Err(Error::BadInput(format!("{path} is there already")));
        }
        fs::create_dir_all(&snapshot.draft).map_err(Error::io(&snapshot.draft))?;
        Ok(snapshot)
    }

    /// Brings it to its place; durable when it returns.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn finish(self) -> Result<()> {
        blocking(move || {
            sync_dirs(&self.draft)?;
            let parent = self.path.parent().unwrap_or(&self.path);
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
            fail_point::reach(FailPoint::SnapshotBeforeRename);
            fs::rename(&self.draft, &self.path).map_err(Error::io(&self.path))?;
            sync_dir(parent)?;
            parent.parent().map_or(Ok(()), sync_dir)
        })
        .await
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // After `finish` there is nothing of this name; what is left otherwise is removed at the next start.
        let _ = fs::remove_dir_all(&self.draft);
    }
}

impl<H: Head> SignalStore<H> {
    /// Adds the visible blocks, what is hidden of them, and what no block holds.
    ///
    /// # Errors
    /// What disk and bucket say; `Corrupt` when a block's manifest cannot be read or a file is missing.
    pub(crate) async fn copy_to(&self, snapshot: &Snapshot) -> Result<()> {
        // Files of its blocks stay while it is held.
        let view = self.view();
        for block in &view.blocks {
            copy_block(block, &snapshot.draft).await?;
            fail_point::reach(FailPoint::SnapshotBlockCopied);
        }
        let tombstones = Arc::clone(&view.tombstones);
        let draft = snapshot.draft.clone();
        let remembered = self.remembered_path();
        blocking(move || {
            let folder = TombstoneFolder::new(&draft, H::SIGNAL);
            tombstones.iter().try_for_each(|t| folder.keep(t))?;
            match fs::read(&remembered) {
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
                result => {
                    let bytes = result.map_err(Error::io(&remembered))?;
                    let to = draft.join("wal").join(H::SIGNAL.as_str());
                    fs::create_dir_all(&to).map_err(Error::io(&to))?;
                    write(&to.join("remembered"), &bytes)
                }
            }
        })
        .await
    }
}

async fn copy_block(block: &Arc<Block>, draft: &Path) -> Result<()> {
    let manifest = block.manifest();
    if manifest.is_stand_in() {
        return Err(Error::Corrupt {
            file: block.store().label(&block.folder().clone().join(MANIFEST)),
            offset: 0,
            reason: "it cannot be read, so there is no whole snapshot".to_owned(),
        });
    }
    let dir = ["blocks", &manifest.signal, &manifest.tenant, &manifest.ulid]
        .iter()
        .fold(draft.to_owned(), |path, part| path.join(part));
    fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
    if block.store().is_remote() {
        for file in &manifest.files {
            download(block, &file.name, file.bytes, &dir.join(&file.name)).await?;
        }
    } else {
        let files = block.local_files();
        let dir = dir.clone();
        blocking(move || {
            let mut files = files.iter();
            files.try_for_each(|(_, file, from)| link(from, &dir.join(&file.name)))
        })
        .await?;
    }
    // In a snapshot each block counts: the cuts it has blocks of came to their end.
    let mut manifest = manifest.clone();
    manifest.completes_cut = true;
    let bytes = manifest.encode();
    write(&dir.join(MANIFEST_COPY), &bytes)?;
    write(&dir.join(MANIFEST), &bytes)
}

/// A further name for a file, or a copy where the file system has no such thing.
fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(Error::Corrupt {
                file: from.display().to_string(),
                offset: 0,
                reason: "the file is not there".to_owned(),
            });
        }
        Err(_) => {}
    }
    fs::copy(from, to).map_err(Error::io(to))?;
    sync(to)
}

async fn download(block: &Block, name: &str, bytes: u64, to: &Path) -> Result<()> {
    let mut file = File::create(to).map_err(Error::io(to))?;
    let mut at = 0;
    while at < bytes {
        let end = bytes.min(at + PIECE_BYTES);
        let piece = block.read(name, at..end).await?;
        file.write_all(&piece).map_err(Error::io(to))?;
        at = end;
    }
    file.sync_all().map_err(Error::io(to))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::io(path))?;
    sync(path)
}

fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|f| f.sync_all());
    synced.map_err(Error::io(path))
}

fn sync_dirs(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        if path.is_dir() {
            sync_dirs(&path)?;
        }
    }
    sync_dir(dir)
}
