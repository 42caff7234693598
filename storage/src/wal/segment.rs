//! A segment file: its name, its header, and how its records are read.
//!
//! Reading goes from record to record. Where one is damaged, the next one is looked for: first where the damaged
//! one's length points to, then byte by byte. Nothing found means that the rest was never acknowledged
//! (a torn write, or zeros allocated ahead).

use std::path::{Path, PathBuf};

use super::record::{self, WalRecord};
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"TRILOWAL";
const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_LEN: usize = 20;

/// A gap in sequence numbers up to which a record behind a damaged place is believed.
const MAX_GAP: u64 = 1 << 24;

/// How a segment ended, and what was wrong on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Whole records.
    pub(super) records: u64,
    /// Damaged places with records behind them.
    pub(super) corrupt: u64,
    /// Where the last whole record ends.
    pub(super) end: usize,
    /// Bytes that are not zero lie behind.
    pub(super) torn: bool,
}

/// The file's name.
pub(super) fn path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.wal"))
}

/// The bytes a segment begins with.
pub(super) fn header(first_seq: u64) -> [u8; SEGMENT_HEADER_LEN] {
    let mut bytes = [0; SEGMENT_HEADER_LEN];
    let parts = MAGIC
        .iter()
        .copied()
        .chain(VERSION.to_le_bytes())
        .chain(first_seq.to_le_bytes());
    for (place, byte) in bytes.iter_mut().zip(parts) {
        *place = byte;
    }
    bytes
}

/// The segments of a folder: first sequence number and path, ascending.
///
/// # Errors
/// `Io`.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let first_seq = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix(".wal"))
            .and_then(|n| n.parse().ok());
        if let Some(first_seq) = first_seq {
            segments.push((first_seq, path));
        }
    }
    segments.sort();
    Ok(segments)
}

/// Whether a segment's version is one this program can read. A damaged header passes: its records are
/// looked for nevertheless.
pub(super) fn is_known(bytes: &[u8]) -> bool {
    let version = bytes.get(8..12).and_then(|v| v.try_into().ok());
    let newer = version.is_some_and(|v| u32::from_le_bytes(v) > VERSION);
    !newer || bytes.get(..8) != Some(MAGIC.as_slice())
}

/// Hands each whole record to `each`, in order. `after` is the last sequence number before this segment: records
/// up to it are none of this segment's.
///
/// # Errors
/// What `each` says.
pub(super) fn scan<'a>(
    bytes: &'a [u8],
    after: u64,
    each: &mut dyn FnMut(WalRecord<'a>) -> Result<()>,
) -> Result<Scan> {
    let mut found = Scan::default();
    let mut at = SEGMENT_HEADER_LEN.min(bytes.len());
    let mut last_seq = after;
    found.end = at;
    while at < bytes.len() {
        if let Some((record, len)) = believable(bytes, at, last_seq) {
            last_seq = record.seq;
            at += len;
            found.end = at;
            found.records += 1;
            each(record)?;
            continue;
        }
        let Some(next) = resync(bytes, at, last_seq) else {
            let rest = bytes.get(at..).unwrap_or_default();
            found.torn = rest.iter().any(|&b| b != 0);
            break;
        };
        found.corrupt += 1;
        at = next;
    }
    Ok(found)
}

fn believable(bytes: &[u8], at: usize, last_seq: u64) -> Option<(WalRecord<'_>, usize)> {
    let rest = bytes.get(at..)?;
    let (seq, _) = record::peek(rest)?;
    if seq <= last_seq || seq - last_seq > MAX_GAP {
        return None;
    }
    record::parse(rest)
}

fn resync(bytes: &[u8], at: usize, last_seq: u64) -> Option<usize> {
    let pointed = bytes
        .get(at..)
        .and_then(record::peek)
        .map(|(_, len)| at + len)
        .filter(|&next| believable(bytes, next, last_seq).is_some());
    pointed.or_else(|| (at + 1..bytes.len()).find(|&i| believable(bytes, i, last_seq).is_some()))
}
