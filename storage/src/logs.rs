//! Logs: the head, its blocks, and what a query sees of both.
//!
//! ```text
//!  append ─▶ stream's open page ─ 128 KiB ─▶ sealed pages ─ cut ─▶ entries.parquet
//!  select ─▶ pages of head and blocks in the asked order, each entry once
//! ```

mod block;
mod head;
mod page;
mod select;

pub(crate) use head::{LogsHead, append, replay};
pub(crate) use select::{log_stats, log_stream_stats, log_streams, select_logs};
