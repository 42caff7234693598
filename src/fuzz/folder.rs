//! Files of the storage folder that a start reads: a segment of the write-ahead log, and what the metrics head remembers.
//! They are put into a folder of their own, and storage is opened on it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use storage::{Options, Storage};
use tokio::runtime::Runtime;

use crate::ingest::record::Decoder;

/// A segment with one record for each signal's log, as a start finds it. The first byte of the data says which log.
pub fn wal_segment(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    let signal = ["metrics", "logs", "traces"][usize::from(which % 3)];
    open_with(&format!("wal/{signal}/00000000000000000001.wal"), bytes);
}

/// `remembered` beside the log, its checksum made right.
pub fn remembered(data: &[u8]) {
    let mut bytes = crc32c::crc32c(data).to_le_bytes().to_vec();
    bytes.extend_from_slice(data);
    open_with("wal/metrics/remembered", &bytes);
}

fn open_with(file: &str, bytes: &[u8]) {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().ok()).as_ref();
    let folder = std::env::temp_dir().join(format!("trilobite-fuzz-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    if let Some(runtime) = runtime {
        let written = runtime.block_on(prepare(&folder)) && write(&folder.join(file), bytes);
        assert!(written, "{} cannot be prepared", folder.display());
        // Damaged files are skipped or refused; both are answers.
        let _ = runtime.block_on(open(&folder));
    }
    let _ = std::fs::remove_dir_all(&folder);
}

/// Makes an empty storage folder.
async fn prepare(folder: &Path) -> bool {
    std::fs::create_dir_all(folder).is_ok() && open(folder).await
}

async fn open(folder: &Path) -> bool {
    let mut options = Options::new(folder);
    options.min_free_bytes = 0;
    match Storage::open(options, Arc::new(Decoder)).await {
        Ok(storage) => storage.close().await.is_ok(),
        Err(_) => false,
    }
}

fn write(path: &Path, bytes: &[u8]) -> bool {
    let folder = path.parent().map(std::fs::create_dir_all);
    folder.is_some_and(|made| made.is_ok()) && std::fs::write(path, bytes).is_ok()
}
