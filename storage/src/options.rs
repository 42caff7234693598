//! Settings of storage, as plain data. The program's `config` fills them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fail_point::FailAt;
use crate::progress::ReplayProgress;

/// Settings of [`crate::Storage`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of log, head and local blocks or the cache of remote ones.
    pub path: PathBuf,
    /// URL of the object store for blocks; `None` keeps them below `path`.
    pub bucket: Option<String>,
    /// Name of the storage folder whose place this one takes as the bucket's owner, if it still is that one's.
    pub bucket_take_over: Option<String>,
    /// Most bytes of local disk that keep what lies in the bucket.
    pub cache_bytes: u64,
    /// How long samples are kept; `None` for ever.
    pub metrics_retention: Option<Duration>,
    /// How long log entries are kept; `None` for ever.
    pub logs_retention: Option<Duration>,
    /// How long spans are kept; `None` for ever.
    pub traces_retention: Option<Duration>,
    /// Bytes that the blocks of the three signals may take together; `None` for no limit.
    pub retention_bytes: Option<u64>,
    /// How far behind the newest of its series or stream a write may lie; `None` takes everything.
    pub out_of_order_window: Option<Duration>,
    /// Longest time between an acknowledged write and its fsync; zero syncs before each answer.
    pub wal_sync_interval: Duration,
    /// Free bytes on disk below which writes are refused.
    pub min_free_bytes: u64,
    /// Budget for heads, caches, queries and compaction together.
    pub memory_limit_bytes: u64,
    /// Age of the oldest write in a head at which it is cut into blocks.
    pub head_max_age: Duration,
    /// Number of newest exemplars kept for all tenants together.
    pub max_exemplars: usize,
    /// Where a test wants the process to end; `None` everywhere else.
    pub fail_at: Option<FailAt>,
    /// Told how far the replay is.
    pub progress: Arc<ReplayProgress>,
}

impl Options {
    /// Defaults of the program, for a folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            path: path.into(),
            bucket: None,
            bucket_take_over: None,
            cache_bytes: 5 << 30,
            metrics_retention: Some(30 * DAY),
            logs_retention: Some(31 * DAY),
            traces_retention: Some(7 * DAY),
            retention_bytes: None,
            out_of_order_window: None,
            wal_sync_interval: Duration::from_millis(100),
            min_free_bytes: 1 << 30,
            memory_limit_bytes: 4 << 30,
            head_max_age: Duration::from_secs(2 * 3600),
            max_exemplars: 100_000,
            fail_at: None,
            progress: Arc::default(),
        }
    }
}
