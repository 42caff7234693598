//! The manifest of a block: a small JSON file, written last, which makes the block visible.

use serde::{Deserialize, Serialize};

/// Version of the layout that is written.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Newest `min_reader_version` that is understood.
pub(crate) const READER_VERSION: u32 = 1;

/// What a block is and holds. Times are in the signal's own unit (milliseconds for metrics,
/// nanoseconds for logs and traces).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the layout this block was written with.
    pub format_version: u32,
    /// Oldest version a reader must know to read it rightly.
    pub min_reader_version: u32,
    /// The block's name.
    pub ulid: String,
    /// Owner.
    pub tenant: String,
    /// `metrics`, `logs` or `traces`.
    pub signal: String,
    /// First time in the block.
    pub min_time: i64,
    /// Last time in the block.
    pub max_time: i64,
    /// Distance between samples in milliseconds after downsampling; 0 is raw data.
    pub resolution_ms: u64,
    /// Compaction level, 1 for a block cut from the head.
    pub level: u32,
    /// Sequence number of the first write-ahead-log record that may be in it.
    pub wal_seq_min: u64,
    /// Sequence number of the last one.
    pub wal_seq_max: u64,
    /// A cut writes one block a UTC day and makes the newest of them visible last; that one says so here, and means that
    /// every record of this tenant up to `wal_seq_max` is in a block. The others count only together with
    /// it: where it never came, the cut was interrupted, they are removed, and the log is replayed.
    pub completes_cut: bool,
    /// ULIDs of the blocks it stands for.
    pub replaces: Vec<String>,
    /// Samples, entries or spans.
    pub rows: u64,
    /// Series, streams or traces.
    pub groups: u64,
    /// Bytes of the items before any coding.
    pub raw_bytes: u64,
    /// Files of the block.
    pub files: Vec<ManifestFile>,
}

/// A file of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Name within the block's folder.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// CRC-32C of the whole file.
    pub crc32c: u32,
}
