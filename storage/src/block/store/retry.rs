//! Asking a bucket again after failures that may pass, with growing pauses, until the time for it is up.
//!
//! The object store's own client retries inside of each attempt, briefly; here are the failures that it gives up at: an
//! answer that was lost, a body that broke off.

use std::time::Duration;

use object_store::Error as StoreError;
use object_store::path::Path as ObjectPath;
use rand::Rng;
use tokio::time::{Instant, timeout_at};

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
    /// A start waits, and can do without where it knows the bucket: the time limit is kept whatever the client's own are.
    Start,
    /// Somebody waits for an answer.
    Query,
    /// Nobody waits; what was done so far would have to be done again.
    Upload,
}

impl Patience {
    const fn limit(self) -> Duration {
        match self {
            Self::Probe => Duration::ZERO,
            Self::Start if cfg!(test) => Duration::from_millis(50),
            Self::Start => Duration::from_secs(6),
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

/// What failed, down to what the system said of it: a refused connection is not a name that is not known.
fn full_text(e: &StoreError) -> String {
    let mut text = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = inner.source();
    }
    text
}

fn no_answer(limit: Duration) -> StoreError {
    StoreError::Generic {
        store: "bucket",
        source: format!("no answer within {} s", limit.as_secs()).into(),
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
        let mut before = None;
        for n in 1.. {
            let result = match patience {
                // What an earlier attempt was told says more than that this one was broken off.
                Patience::Start => timeout_at(deadline, attempt()).await.unwrap_or_else(|_| {
                    Err(before.take().unwrap_or_else(|| no_answer(patience.limit())))
                }),
                _ => attempt().await,
            };
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
                self.health().silent(full_text(&failure));
                return Err(self.unavailable(full_text(&failure)));
            }
            tracing::warn!(
                file = %path, operation = operation.as_str(), attempt = n, error = %failure,
                "the bucket failed; trying again"
            );
            before = Some(failure);
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
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for attempt in 1..40 {
            assert!(pause(attempt) <= MAX_PAUSE);
        }
    }

    fn store() -> Arc<BlockStore> {
        let budget = crate::budget::Budget::new(1 << 20);
        let cache = Arc::new(crate::block::Cache::new(1 << 20, &budget));
        BlockStore::over(Arc::new(InMemory::new()), cache)
    }

    #[tokio::test]
    async fn a_start_that_breaks_off_an_attempt_tells_what_the_one_before_was_told() {
        let (store, path) = (store(), ObjectPath::default());
        let mut is_first = true;
        let attempt = || {
            let refused = std::mem::take(&mut is_first);
            async move {
                match refused {
                    true => Err::<(), _>(StoreError::Generic {
                        store: "S3",
                        source: "connection refused".into(),
                    }),
                    false => std::future::pending().await,
                }
            }
        };
        let asked = store.ask(Operation::Get, &path, Patience::Start, attempt);
        let refusal = asked.await.unwrap_err().to_string();
        assert!(refusal.contains("connection refused"), "{refusal}");
    }

    #[tokio::test]
    async fn a_start_does_not_wait_for_a_bucket_that_says_nothing() {
        let (store, path) = (store(), ObjectPath::default());
        let silence = std::future::pending::<object_store::Result<()>>;
        let asked = store.ask(Operation::Get, &path, Patience::Start, silence);
        let refusal = asked.await.unwrap_err().to_string();
        assert!(
            refusal.contains("memory://test cannot be reached"),
            "{refusal}"
        );
        assert!(refusal.contains("no answer within"), "{refusal}");
        assert!(store.health().outage().is_some());
    }

    #[test]
    fn a_failure_is_told_with_all_its_causes_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("no request was sent")]
        struct Unsent(#[source] std::io::Error);

        let failure = StoreError::Generic {
            store: "S3",
            source: Unsent(std::io::Error::other("connection refused")).into(),
        };
        assert_eq!(
            full_text(&failure),
            "Generic S3 error: no request was sent: connection refused"
        );
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
