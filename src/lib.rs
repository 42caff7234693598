//! The program: listeners, protocols, APIs, configuration. It joins `storage`, `promql` and
//! `logql`, and knows nothing of how bytes are laid out.
//!
//! ```text
//!  senders ─▶ ingest: bytes → batch ─▶ storage.append_*
//!  readers ─▶ api: parameters → promql | logql | trace search ─▶ storage.select_*
//! ```

pub mod allocator;
pub mod api;
pub mod app;
pub mod body;
pub mod cli;
pub mod config;
mod discovery;
#[doc(hidden)]
pub mod fuzz;
mod http_client;
pub mod ingest;
pub mod notify;
pub mod query;
pub mod query_log;
pub mod relabel;
pub mod rules;
pub mod scrape;
pub mod server;
mod starting;
pub mod telemetry;
pub mod template;
pub mod tenant;
mod warm_up;
pub mod wire;
