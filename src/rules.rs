//! Recording and alerting rules: evaluated by timers, their results stored like any other samples, their alerts handed to the
//! notifier.
//!
//! ```text
//!  rule file ─ config ─▶ Group ─ timer: a slot of time ─▶ Group::evaluate, one rule after the other
//!                                                            │ Store::query ─▶ recording | alerting ─▶ Store::append
//!                                                            └ alerts ─▶ notify
//! ```
//!
//! Evaluation knows neither clock nor server: [`Store`] is what it reads from and writes to, [`Moment`] says when. The server's
//! timers and the unit tests of rule files run the same code. Semantics are those of Prometheus 3.

mod alerting;
mod figures;
mod group;
pub mod memory;
mod recording;
mod restore;
mod rule;
mod server;
mod store;
mod timer;

pub use alerting::{Alert, Alerting, State};
pub use figures::{Figures, Summary};
pub use group::{Group, Moment};
pub use rule::{Health, Kind, Outcome, Rule};
pub use server::{Rules, run};
pub use store::{Appended, Newest, Store};
