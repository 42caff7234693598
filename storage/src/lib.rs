//! Bytes that survive: write-ahead log, heads and Parquet blocks for metrics, logs and traces.
//!
//! ```text
//!  append_*  ─▶ head (admission) ─▶ write-ahead log ─▶ report
//!                 │ cut by age or size
//!                 ▼
//!             Parquet block on object_store ─▶ compaction ─▶ retention
//!  select_*  ─▶ one view of heads and blocks ─▶ read::{Series, LogPage} | Trace
//! ```
//!
//! Knows nothing of HTTP, protocols or query languages: what a log record means is told by the
//! [`RecordDecoder`] that the program hands to [`Storage::open`].

#[doc(hidden)]
pub mod bench;
mod block;
mod bucket;
mod budget;
mod clock;
#[doc(hidden)]
pub mod codec;
mod compact;
mod context;
mod deletion;
mod disk;
mod error;
mod fail_point;
mod folder;
#[doc(hidden)]
pub mod fuzz;
mod generation;
mod head_snapshot;
#[doc(hidden)]
pub mod index;
mod logs;
mod maintenance;
mod metrics;
pub mod model;
mod options;
mod progress;
pub mod read;
mod recover;
mod replay;
mod retention;
mod signal;
mod snapshot;
mod storage;
mod tail;
mod tombstone;
mod traces;
mod turns;
mod upload;
mod wal;
mod warm_up;

pub use block::{Block, Manifest, ManifestFile, PieceSums};
pub use bucket::BucketStatus;
pub use budget::{MemoryUse, RequestMemory};
pub use error::{Error, Result};
pub use fail_point::{FailAt, FailPoint};
pub use options::Options;
pub use progress::ReplayProgress;
pub use signal::SignalKind;
pub use storage::{
    DamageStats, Dependency, HeadStats, LogPages, LogStats, Operation, RecordDecoder, RecordSink,
    SeriesSet, SignalStats, Storage, TailEntries,
};
pub use warm_up::Newest;
