//! The compatibility suite: it starts Trilobite (or takes the addresses of a running server), sends
//! data as genuine clients do, asks what was recorded from the real upstreams, and counts equal
//! answers.
//!
//! ```text
//! dataset ─▶ feed ─▶ server ─▶ replay (cases) ─▶ compare ─▶ report, expected.toml
//!                       └────▶ promqltest (scripts)
//! ```
//!
//! It knows the wire only: nothing here uses a type of the server.

pub mod case;
pub mod compare;
pub mod differences;
pub mod differential;
pub mod feed;
pub mod grpc;
pub mod http;
pub mod live;
pub mod paths;
pub mod process;
pub mod promqltest;
pub mod replay;
pub mod rules;
pub mod sample;
pub mod scrape_target;
pub mod server;
pub mod suite;
pub mod wire;
