//! The manifest of a block: a small JSON file, written last, which makes the block visible. A copy lies beside it,
//! so that damage to these few bytes does not cost the block.

use serde::{Deserialize, Serialize};

use super::checksum::PieceSums;
use super::summed_json;

/// Version of the layout that is written. 2 has checksums of pieces of files, and one of the manifest.
pub(crate) const FORMAT_VERSION: u32 = 2;

/// Newest `min_reader_version` that is understood.
pub(crate) const READER_VERSION: u32 = 1;

/// First version whose manifests end with a checksum.
const SUMMED_SINCE: u32 = 2;

/// Name of the file within the block's folder.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Name of its copy.
pub(crate) const MANIFEST_COPY: &str = "manifest.copy.json";

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
    /// every record of this tenant up to `wal_seq_max` is in a block. On local disk the others count only together with
    /// it: where it never came, the cut was interrupted, they are removed, and the log is replayed. To a bucket go blocks of
    /// cuts that came to their end, so there each one counts.
    pub completes_cut: bool,
    /// ULIDs of the blocks it stands for.
    pub replaces: Vec<String>,
    /// Deletions up to this sequence number are done in it: its files hold nothing that one of them meant.
    #[serde(default)]
    pub deleted_through: u64,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Name within the block's folder.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// CRC-32C of the whole file.
    pub crc32c: u32,
    /// CRC-32C of each 32 KiB of it.
    #[serde(default)]
    pub crc32c_32k: PieceSums,
}

impl Manifest {
    /// The newest sequence number that it knows of. None up to it may be taken again.
    pub(crate) fn newest_number(&self) -> u64 {
        self.wal_seq_max.max(self.deleted_through)
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        summed_json::encode(self)
    }

    /// The manifest that these bytes say.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (manifest, is_summed): (Self, bool) = summed_json::decode(bytes)?;
        if !is_summed && manifest.format_version >= SUMMED_SINCE {
            return Err("it has no checksum".to_owned());
        }
        Ok(manifest)
    }

    /// Stands for a block whose manifest cannot be read: it may hold anything of its tenant, so every query of that
    /// tenant meets it, finds no file, and fails instead of answering less.
    pub(crate) fn unreadable(signal: &str, tenant: &str, ulid: &str) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            min_reader_version: READER_VERSION,
            ulid: ulid.to_owned(),
            tenant: tenant.to_owned(),
            signal: signal.to_owned(),
            min_time: i64::MIN,
            max_time: i64::MAX,
            resolution_ms: 0,
            level: 0,
            wal_seq_min: 0,
            wal_seq_max: 0,
            completes_cut: false,
            replaces: Vec::new(),
            deleted_through: 0,
            rows: 0,
            groups: 0,
            raw_bytes: 0,
            files: Vec::new(),
        }
    }

    /// Whether it stands for one that cannot be read.
    pub(crate) const fn is_stand_in(&self) -> bool {
        self.level == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            min_time: 5,
            max_time: 1_793_491_200_000,
            files: vec![ManifestFile {
                name: "samples.parquet".to_owned(),
                bytes: 77,
                ..ManifestFile::default()
            }],
            ..Manifest::unreadable("metrics", "anonymous", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest());
        let text = String::from_utf8(bytes).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = manifest().encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(read) = Manifest::decode(&damaged) {
                    // Only white space behind the checksum, or the case of a digit.
                    assert_eq!(read, manifest(), "byte {at}, bit {bit}");
                }
            }
            // Without its last byte, a line feed, it is still whole.
            if at + 1 < bytes.len() {
                assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn a_manifest_of_the_first_version_is_read() {
        let text = r#"{"format_version": 1, "min_reader_version": 1, "ulid": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "tenant": "anonymous", "signal": "metrics", "min_time": 5, "max_time": 6, "resolution_ms": 0, "level": 1,
            "wal_seq_min": 1, "wal_seq_max": 2, "completes_cut": true, "replaces": [], "rows": 1, "groups": 1,
            "raw_bytes": 16, "files": [{"name": "samples.parquet", "bytes": 77, "crc32c": 4}]}"#;
        let manifest = Manifest::decode(text.as_bytes()).unwrap();
        assert!(manifest.files[0].crc32c_32k.is_empty());
        let newer = text.replace("\"format_version\": 1", "\"format_version\": 2");
        assert!(
            Manifest::decode(newer.as_bytes()).is_err(),
            "its checksum is gone"
        );
    }
}
