//! Snapshots of an active generation, so that a start after a crash reads one file and the tail of the log.
//!
//! ```text
//!  wal/<signal>/<from>-<to>.snapshot        both 20 digits
//!
//!  ┌───────────────────┬────────────┬─────────┬───────┬────────────────────┬───────┬───────┬─────┐
//!  │ magic "TRILOSNP"  │ version u32│ from u64│ to u64│ oldest write ms i64│ frame │ frame │ end │
//!  └───────────────────┴────────────┴─────────┴───────┴────────────────────┴───────┴───────┴─────┘
//!  frame  ┌────────┬─────────┬─────────┐      end: a frame of length 0
//!         │ len u32│ crc u32 │ payload │      crc: CRC-32C of the payload; what it says is the signal's own business
//!         └────────┴─────────┴─────────┘
//! ```
//!
//! Invariant: of the records numbered `from + 1 ..= to` each is in a block or in the snapshot. `from` is where the generation
//! began; records above `to` may be in it in part, which does no harm: a record that is replayed twice changes nothing. Writes
//! go on while it is taken. The file is written under another name and renamed when it is durable, so it is whole or not there;
//! a damaged frame costs what it holds and is reported.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::block::sync_dir;
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::generation::{SignalStore, blocking};
use crate::signal::Head;

const MAGIC: &[u8; 8] = b"TRILOSNP";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 36;
/// No frame of ours is longer; a length beyond it is damage.
const MAX_FRAME: usize = 64 << 20;
/// So much of the log is always left to a replay: it takes some tenths of a second.
const MIN_LOG_BYTES: u64 = 16 << 20;

/// A snapshot file, named by what it covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SnapshotFile {
    /// Where its generation began: the last record before it.
    pub(crate) from: u64,
    /// The last record of which it holds everything.
    pub(crate) to: u64,
    pub(crate) path: PathBuf,
}

impl SnapshotFile {
    /// Whether a record is in it (or in a block that was visible when it was taken).
    pub(crate) const fn covers(&self, seq: u64) -> bool {
        self.from < seq && seq <= self.to
    }
}

/// What was found in a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Frames that could not be read.
    pub(crate) corrupt: u64,
    /// Time of the first write in it.
    pub(crate) oldest_write_ms: i64,
}

/// The snapshots of a folder, in the order of what they cover. Unfinished ones are removed.
///
/// # Errors
/// `Io`.
pub(crate) fn list(dir: &Path) -> Result<Vec<SnapshotFile>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("snapshot") => {}
            Some("snapshot-new") => {
                std::fs::remove_file(&path).map_err(Error::io(&path))?;
                continue;
            }
            _ => continue,
        }
        let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or("");
        let numbers = name.split_once('-');
        if let Some((Ok(from), Ok(to))) = numbers.map(|(a, b)| (a.parse(), b.parse())) {
            found.push(SnapshotFile { from, to, path });
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a snapshot and hands each whole frame to `each`.
///
/// # Errors
/// `Io`; `Corrupt` when it is no snapshot of ours; `NotOurs` when a newer version wrote it. A damaged frame is counted, not an error.
pub(crate) fn load(
    file: &SnapshotFile,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Loaded> {
    let path = &file.path;
    let mut input = BufReader::with_capacity(1 << 20, File::open(path).map_err(Error::io(path))?);
    let mut header = [0; HEADER_LEN];
    input.read_exact(&mut header).map_err(Error::io(path))?;
    let corrupt = |reason: &str| Error::Corrupt {
        file: path.display().to_string(),
        offset: 0,
        reason: reason.to_owned(),
    };
    if !header.starts_with(MAGIC) {
        return Err(corrupt("it does not begin as a snapshot does"));
    }
    let version = u32::from_le_bytes(field(&header, 8));
    if version > VERSION {
        return Err(Error::NotOurs(format!(
            "{} was written by a newer version: start the newer program again",
            path.display()
        )));
    }
    if u64::from_le_bytes(field(&header, 12)) != file.from
        || u64::from_le_bytes(field(&header, 20)) != file.to
    {
        return Err(corrupt("its name and its header do not agree"));
    }
    let mut loaded = Loaded {
        corrupt: 0,
        oldest_write_ms: i64::from_le_bytes(field(&header, 28)),
    };
    let mut payload = Vec::new();
    loop {
        let mut prefix = [0; 8];
        if input.read_exact(&mut prefix).is_err() {
            // Its end was cut off.
            loaded.corrupt += 1;
            return Ok(loaded);
        }
        let len = u32::from_le_bytes(field(&prefix, 0)) as usize;
        if len == 0 {
            return Ok(loaded);
        }
        payload.resize(len.min(MAX_FRAME), 0);
        if len > MAX_FRAME || input.read_exact(&mut payload).is_err() {
            // Where the next frame begins is not known any more.
            loaded.corrupt += 1;
            return Ok(loaded);
        }
        if crc32c::crc32c(&payload) != u32::from_le_bytes(field(&prefix, 4))
            || each(&payload).is_err()
        {
            loaded.corrupt += 1;
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        out.copy_from_slice(found);
    }
    out
}

/// Writes a snapshot; it is durable when this returns, and its size in bytes is the answer.
fn write<H: Head>(
    dir: &Path,
    head: &H,
    from: u64,
    to: u64,
    oldest_write_ms: i64,
) -> Result<(SnapshotFile, u64)> {
    let path = dir.join(format!("{from:020}-{to:020}.snapshot"));
    let draft = path.with_extension("snapshot-new");
    let file = File::create(&draft).map_err(Error::io(&draft))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut bytes = HEADER_LEN as u64;
    let mut header = Vec::with_capacity(HEADER_LEN);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&from.to_le_bytes());
    header.extend_from_slice(&to.to_le_bytes());
    header.extend_from_slice(&oldest_write_ms.to_le_bytes());
    let mut finish = || -> Result<()> {
        out.write_all(&header).map_err(Error::io(&draft))?;
        head.snapshot(&mut |payload| {
            fail_point::reach(FailPoint::HeadSnapshotMidst);
            let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            bytes += 8 + u64::from(len);
            out.write_all(&len.to_le_bytes())
                .and_then(|()| out.write_all(&crc32c::crc32c(payload).to_le_bytes()))
                .and_then(|()| out.write_all(payload))
                .map_err(Error::io(&draft))
        })?;
        out.write_all(&[0; 8])
            .and_then(|()| out.flush())
            .and_then(|()| out.get_ref().sync_data())
            .inspect(|()| fail_point::reach(FailPoint::HeadSnapshotBeforeRename))
            .and_then(|()| std::fs::rename(&draft, &path))
            .map_err(Error::io(&draft))?;
        sync_dir(dir)
    };
    let result = finish();
    if result.is_err() {
        // A full disk has a use for the room.
        let _ = std::fs::remove_file(&draft);
    }
    result.map(|()| (SnapshotFile { from, to, path }, bytes))
}

impl<H: Head> SignalStore<H> {
    /// Whether so much was logged since the last snapshot that another one pays: as much as that one was large, so that writing them costs no
    /// more than the log itself.
    pub(crate) fn wants_snapshot(&self) -> bool {
        let since = self
            .wal
            .appended_bytes()
            .saturating_sub(self.snapshot_mark.load(Ordering::Relaxed));
        H::SNAPSHOTS && since >= MIN_LOG_BYTES.max(self.snapshot_bytes.load(Ordering::Relaxed))
    }

    /// Writes down the active generation and lets the log go up to there. Waits while a cut is under way.
    ///
    /// # Errors
    /// `Io`; the log then stays as it is.
    pub(crate) async fn snapshot(self: &Arc<Self>) -> Result<()> {
        let pending = self.cutting.lock().await;
        let mark = self.wal.appended_bytes();
        let (head, from, to) = self.settled();
        if to <= from || head.is_empty() {
            self.snapshot_mark.store(mark, Ordering::Relaxed);
            return Ok(());
        }
        self.keep_remembered(&head).await?;
        let dir = self.wal_dir();
        let oldest_ms = self.oldest_write_ms.load(Ordering::Relaxed);
        let (written, bytes) = blocking({
            let dir = dir.clone();
            move || write(&dir, &*head, from, to, oldest_ms)
        })
        .await?;
        self.snapshot_mark.store(mark, Ordering::Relaxed);
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
        self.counters.snapshots.fetch_add(1, Ordering::Relaxed);
        fail_point::reach(FailPoint::HeadSnapshotBeforeLog);
        // Of a frozen generation snapshot and log are needed until it is in blocks.
        let keep_frozen = pending.is_some();
        for old in list(&dir)? {
            if old != written && (old.from == from || !keep_frozen) {
                remove(&old.path)?;
                fail_point::reach(FailPoint::HeadSnapshotOldRemoved);
            }
        }
        if keep_frozen {
            return Ok(());
        }
        self.wal.drop_through(to)
    }

    /// Removes the snapshots of which everything is in blocks.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn drop_snapshots_through(&self, seq: u64) -> Result<()> {
        if !H::SNAPSHOTS {
            return Ok(());
        }
        for old in list(&self.wal_dir())? {
            if old.to <= seq {
                remove(&old.path)?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(Error::io(path)),
    }
}
