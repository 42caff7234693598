//! What local disk has of its own: files are moved into place, names are made durable, and reads end where a file does.

#[cfg(target_os = "linux")]
use std::cell::RefCell;
use std::fs::File;
use std::io::ErrorKind;
#[cfg(target_os = "linux")]
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
#[cfg(target_os = "linux")]
use rustix::io::{ReadWriteFlags, preadv2};

use super::{BlockStore, part_of};
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
    let Some(file_path) = store.local_path(path) else {
        return Err(store.corrupt(path, 0, "there cannot be a file of this name"));
    };
    let spans = spans_of(file, &ranges);
    let place = |read: &[&[u8]]| place(file, &spans, read, &ranges);
    let corrupt = |(at, reason)| store.corrupt(path, at, reason);
    #[cfg(target_os = "linux")]
    if let Some(placed) = COPIED.with_borrow_mut(|room| {
        let read = copy_from_page_cache(&file_path, &spans, room)?;
        let part =
            |(span, bytes): (usize, Range<usize>)| Bytes::copy_from_slice(&read[span][bytes]);
        Some(place(&read).map(|places| places.into_iter().map(part).collect()))
    }) {
        return placed.map_err(corrupt);
    }
    let read = fetch(file_path, spans.clone()).await?.map_err(corrupt)?;
    let all: Vec<&[u8]> = read.iter().map(|bytes| &bytes[..]).collect();
    let part = |(span, bytes): (usize, Range<usize>)| part_of(&read[span], bytes);
    let places = place(&all).map_err(corrupt)?;
    Ok(places.into_iter().map(part).collect())
}

/// Where a file is damaged, and how.
type Damage = (u64, &'static str);

const ENDS_EARLY: &str = "the file ends too early";

/// What has to be read for ranges of a file, in order.
fn spans_of(file: &ManifestFile, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let span = |range: &Range<u64>| match file.crc32c_32k.is_empty() {
        true => range.clone(),
        false => whole_pieces(range, file.bytes),
    };
    let mut spans: Vec<Range<u64>> = ranges.iter().map(span).collect();
    spans.sort_unstable_by_key(|span| span.start);
    spans.dedup_by(|next, span| {
        let joined = next.start <= span.end;
        if joined {
            span.end = span.end.max(next.end);
        }
        joined
    });
    spans
}

/// Where each range lies in the spans that were read, whose checksums are compared: in which one, and where in it.
fn place(
    file: &ManifestFile,
    spans: &[Range<u64>],
    read: &[&[u8]],
    ranges: &[Range<u64>],
) -> Result<Vec<(usize, Range<usize>)>, Damage> {
    for (span, bytes) in std::iter::zip(spans, read) {
        file.crc32c_32k
            .verify(span.start, bytes)
            .map_err(|at| (at, "its checksum does not match"))?;
    }
    let place = |range: &Range<u64>| {
        // Spans are apart: it lies in the last one that begins before it.
        let at = spans.partition_point(|span| span.start <= range.start);
        let at = at.checked_sub(1)?;
        let start = (range.start - spans.get(at)?.start) as usize;
        let end = start + (range.end - range.start) as usize;
        (end <= read.get(at)?.len()).then_some((at, start..end))
    };
    let place = |range: &Range<u64>| place(range).ok_or((range.start, ENDS_EARLY));
    ranges.iter().map(place).collect()
}

/// Reads spans of a file on a thread that may wait.
async fn fetch(path: PathBuf, spans: Vec<Range<u64>>) -> Result<Result<Vec<Bytes>, Damage>> {
    let read = move || {
        let failed = |e: std::io::Error| match e.kind() {
            ErrorKind::NotFound => Ok(Err((0, "the file is not there"))),
            _ => Err(Error::io(&path)(e)),
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => return failed(e),
        };
        let mut read = Vec::with_capacity(spans.len());
        for span in spans {
            let mut content = vec![0; (span.end - span.start) as usize];
            match file.read_exact_at(&mut content, span.start) {
                Ok(()) => read.push(Bytes::from(content)),
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    let size = file.metadata().map_or(span.start, |m| m.len());
                    return Ok(Err((size, ENDS_EARLY)));
                }
                Err(e) => return failed(e),
            }
        }
        Ok(Ok(read))
    };
    blocking(read).await
}

#[cfg(target_os = "linux")]
thread_local! {
    /// Room for what is copied at once. Fresh memory for each read would cost more than the copy.
    static COPIED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Spans that the system has in its page cache, copied without a detour over another thread; `None` where it has not, or cannot tell.
#[cfg(target_os = "linux")]
fn copy_from_page_cache<'r>(
    path: &Path,
    spans: &[Range<u64>],
    room: &'r mut Vec<u8>,
) -> Option<Vec<&'r [u8]>> {
    let bytes: u64 = spans.iter().map(|span| span.end - span.start).sum();
    if bytes > COPIED_AT_ONCE_BYTES {
        return None;
    }
    let bytes = usize::try_from(bytes).ok()?;
    if room.len() < bytes {
        room.resize(bytes, 0);
    }
    let file = File::open(path).ok()?;
    let mut rest = &mut room[..];
    let mut copied = Vec::with_capacity(spans.len());
    for span in spans {
        let (own, behind) = rest.split_at_mut((span.end - span.start) as usize);
        rest = behind;
        let mut buffers = [IoSliceMut::new(own)];
        let n = preadv2(&file, &mut buffers, span.start, ReadWriteFlags::NOWAIT).ok()?;
        if n < own.len() {
            return None;
        }
        copied.push(&*own);
    }
    Some(copied)
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
