//! Scripts of the Prometheus project's promqltest language: `load`, `clear`, `eval`, `expect`.
//!
//! [`script`] and [`histogram`] read the language and know no server; [`runner`] sends what is
//! loaded over the wire, asks over the HTTP API and judges the answers.

mod at;
pub mod histogram;
mod judge;
pub mod nhcb;
pub mod runner;
pub mod script;
mod values;
