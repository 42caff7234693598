//! What local disk has of its own: files are moved into place, names are made durable, and reads end where a file does.

use std::fs::File;
use std::io::ErrorKind;
#[cfg(target_os = "linux")]
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
#[cfg(target_os = "linux")]
use rustix::io::{ReadWriteFlags, preadv2};

use super::BlockStore;
use crate::block::checksum::whole_pieces;
use crate::block::manifest::ManifestFile;
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::generation::blocking;

/// Most bytes that a thread of the runtime copies itself: more would keep other tasks waiting for longer than a change of threads takes.
#[cfg(target_os = "linux")]
const COPIED_AT_ONCE_BYTES: u64 = 1 << 20;

/// Reads ranges of a file, and as much around them as their checksums want to see.
pub(super) async fn read(
    store: &BlockStore,
    path: &ObjectPath,
    file: &ManifestFile,
    ranges: Vec<Range<u64>>,
) -> Result<Vec<Bytes>> {
    if file.crc32c_128k.is_empty() {
        return fetch(store, path, ranges).await;
    }
    let mut spans: Vec<Range<u64>> = ranges
        .iter()
        .filter(|r| !r.is_empty())
        .map(|r| whole_pieces(r, file.bytes))
        .collect();
    spans.sort_unstable_by_key(|span| span.start);
    spans.dedup_by(|next, span| {
        let joined = next.start <= span.end;
        if joined {
            span.end = span.end.max(next.end);
        }
        joined
    });
    let fetched = fetch(store, path, spans.clone()).await?;
    for (span, bytes) in std::iter::zip(&spans, &fetched) {
        file.crc32c_128k
            .verify(span.start, bytes)
            .map_err(|at| store.corrupt(path, at, "its checksum does not match"))?;
    }
    let part = |range: Range<u64>| {
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let at = spans.partition_point(|span| span.end <= range.start);
        let (span, bytes) = (spans.get(at)?, fetched.get(at)?);
        let start = (range.start - span.start) as usize;
        let end = (range.end - span.start) as usize;
        (end <= bytes.len()).then(|| bytes.slice(start..end))
    };
    ranges
        .into_iter()
        .map(|range| {
            let start = range.start;
            part(range).ok_or_else(|| store.corrupt(path, start, "the file ends too early"))
        })
        .collect()
}

async fn fetch(
    store: &BlockStore,
    path: &ObjectPath,
    ranges: Vec<Range<u64>>,
) -> Result<Vec<Bytes>> {
    let Some(file_path) = store.local_path(path) else {
        return Err(store.corrupt(path, 0, "there cannot be a file of this name"));
    };
    #[cfg(target_os = "linux")]
    if let Some(fetched) = from_page_cache(&file_path, &ranges) {
        return Ok(fetched);
    }
    let read = blocking(move || {
        let failed = |e: std::io::Error| match e.kind() {
            ErrorKind::NotFound => Ok(Err((0, "the file is not there"))),
            _ => Err(Error::io(&file_path)(e)),
        };
        let file = match File::open(&file_path) {
            Ok(file) => file,
            Err(e) => return failed(e),
        };
        let mut fetched = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut content = vec![0; (range.end - range.start) as usize];
            match file.read_exact_at(&mut content, range.start) {
                Ok(()) => fetched.push(Bytes::from(content)),
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    let size = file.metadata().map_or(range.start, |m| m.len());
                    return Ok(Err((size, "the file ends too early")));
                }
                Err(e) => return failed(e),
            }
        }
        Ok(Ok(fetched))
    });
    read.await?
        .map_err(|(offset, reason)| store.corrupt(path, offset, reason))
}

/// Ranges that the system has in its page cache, copied without a detour over another thread; `None` where it has not, or cannot tell.
#[cfg(target_os = "linux")]
fn from_page_cache(path: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
    let bytes: u64 = ranges.iter().map(|r| r.end - r.start).sum();
    if bytes > COPIED_AT_ONCE_BYTES {
        return None;
    }
    let file = File::open(path).ok()?;
    let copy = |range: &Range<u64>| {
        let mut content = vec![0; (range.end - range.start) as usize];
        let mut buffers = [IoSliceMut::new(&mut content)];
        let copied = preadv2(&file, &mut buffers, range.start, ReadWriteFlags::NOWAIT).ok()?;
        (copied == content.len()).then(|| Bytes::from(content))
    };
    ranges.iter().map(copy).collect()
}

/// Moves a file so that a power loss leaves it whole at one of the two places.
pub(super) fn move_durably(from: &Path, to: &Path) -> Result<()> {
    let file = match File::open(from) {
        // An earlier attempt has moved it.
        Err(e) if e.kind() == ErrorKind::NotFound && to.exists() => return Ok(()),
        result => result.map_err(Error::io(from))?,
    };
    file.sync_all().map_err(Error::io(from))?;
    let dir = to.parent().unwrap_or(to);
    create_dirs_durably(dir)?;
    std::fs::rename(from, to).map_err(Error::io(to))?;
    sync_dir(dir)
}

fn create_dirs_durably(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else {
        return Ok(());
    };
    create_dirs_durably(parent)?;
    match std::fs::create_dir(dir) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        result => result.map_err(Error::io(dir))?,
    }
    sync_dir(parent)
}

/// Puts a small file in place of what is there, so that a power loss leaves one of the two whole.
///
/// # Errors
/// `Io`.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    create_dirs_durably(dir)?;
    let draft = path.with_extension("new");
    std::fs::write(&draft, content).map_err(Error::io(&draft))?;
    File::open(&draft)
        .and_then(|f| f.sync_all())
        .map_err(Error::io(&draft))?;
    fail_point::reach(FailPoint::FileBeforeRename);
    std::fs::rename(&draft, path).map_err(Error::io(path))?;
    sync_dir(dir)
}

/// Removes a folder if it is there and empty. What a crash left half-written in it is in no listing, and stays.
pub(super) fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir(dir) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Ok(()),
        result => result.map_err(Error::io(dir)),
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// `Io`.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(Error::io(dir))
}
