//! Asking a bucket again after failures that may pass, with growing pauses, until the time for it is up.
//!
//! The object store's own client retries inside of each attempt, briefly; here are the failures that it gives up at: an
//! answer that was lost, a body that broke off.

use std::time::Duration;

use object_store::Error as StoreError;
use object_store::path::Path as ObjectPath;
use rand::Rng;
use tokio::time::Instant;

use super::BlockStore;
use super::health::Operation;
use crate::error::{Error, Result};

/// Pause before the second attempt; it doubles. Tests do not wait.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 100 });

/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(3);

/// Most attempts, for a store that fails faster than time passes.
const MAX_ATTEMPTS: u32 = if cfg!(test) { 3 } else { 20 };

/// How long a failure is worth trying again. A single attempt may take as long as the client's own time limits let it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// One attempt, also where the bucket is known to be away: it finds out whether that is still so.
    Probe,
    /// Somebody waits for an answer.
    Query,
    /// Nobody waits; what was done so far would have to be done again.
    Upload,
}

impl Patience {
    const fn limit(self) -> Duration {
        match self {
            Self::Probe => Duration::ZERO,
            Self::Query => Duration::from_secs(10),
            Self::Upload => Duration::from_secs(30),
        }
    }
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The store has answered: there is no such object, or there is one.
    Answer,
    /// It may pass: overload, a broken connection, an inner error.
    Passing,
    /// It stays as long as credentials or settings do.
    Denied,
}

fn verdict(e: &StoreError) -> Verdict {
    match e {
        StoreError::NotFound { .. }
        | StoreError::AlreadyExists { .. }
        | StoreError::Precondition { .. }
        | StoreError::NotModified { .. }
        | StoreError::InvalidPath { .. }
        | StoreError::NotSupported { .. }
        | StoreError::NotImplemented { .. }
        | StoreError::UnknownConfigurationKey { .. } => Verdict::Answer,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Verdict::Denied,
        _ => Verdict::Passing,
    }
}

fn pause(attempt: u32) -> Duration {
    let longest = (FIRST_PAUSE * (1 << (attempt - 1).min(10))).min(MAX_PAUSE);
    // Spread out, so that many who failed together do not come back together.
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}

impl BlockStore {
    /// Does something with the store, and again where that may help.
    ///
    /// # Errors
    /// `Unavailable` when the bucket gave no answer; `ObjectStore` with the answer that it gave.
    pub(super) async fn ask<T, F>(
        &self,
        operation: Operation,
        path: &ObjectPath,
        patience: Patience,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        if !self.is_remote() {
            return Ok(attempt().await?);
        }
        if patience != Patience::Probe
            && let Some(outage) = self.health().outage()
        {
            return Err(self.unavailable(outage.reason));
        }
        let deadline = Instant::now() + patience.limit();
        for n in 1.. {
            let result = attempt().await;
            let failure = match result {
                Ok(value) => {
                    self.health().count(operation, false);
                    self.health().answered();
                    return Ok(value);
                }
                Err(e) if verdict(&e) == Verdict::Answer => {
                    self.health().count(operation, false);
                    self.health().answered();
                    return Err(e.into());
                }
                Err(e) => e,
            };
            self.health().count(operation, true);
            let pause = pause(n);
            let is_last = n >= MAX_ATTEMPTS
                || verdict(&failure) == Verdict::Denied
                || Instant::now() + pause >= deadline;
            if is_last {
                self.health().silent(failure.to_string());
                return Err(self.unavailable(failure.to_string()));
            }
            tracing::warn!(
                file = %path, operation = operation.as_str(), attempt = n, error = %failure,
                "the bucket failed; trying again"
            );
            tokio::time::sleep(pause).await;
        }
        Err(self.unavailable(String::new()))
    }

    pub(super) fn unavailable(&self, reason: String) -> Error {
        Error::Unavailable {
            bucket: self.name().to_owned(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for attempt in 1..40 {
            assert!(pause(attempt) <= MAX_PAUSE);
        }
    }

    #[test]
    fn an_answer_is_no_failure() {
        let source = || "x".into();
        let path = String::new;
        let not_found = StoreError::NotFound {
            path: path(),
            source: source(),
        };
        assert_eq!(verdict(&not_found), Verdict::Answer);
        let denied = StoreError::PermissionDenied {
            path: path(),
            source: source(),
        };
        assert_eq!(verdict(&denied), Verdict::Denied);
        let generic = StoreError::Generic {
            store: "S3",
            source: source(),
        };
        assert_eq!(verdict(&generic), Verdict::Passing);
    }
}
