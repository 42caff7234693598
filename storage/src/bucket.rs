//! The bucket of a storage folder: whose it is, and what it held when it was last reached.
//!
//! ```text
//!  cut ─▶ block on local disk ─▶ upload ─▶ block in the bucket ─▶ compaction, retention
//!                                   │
//!                                   └─▶ its manifest stays in the folder, so that a start without the bucket
//!                                       knows what it cannot answer
//! ```
//!
//! Invariant: nothing is written to or removed from a bucket whose owner record was not just seen to name this folder.

mod mirror;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::block::{
    BlockStore, Cache, Damage, DiskCache, FORMAT_VERSION, Operation, Outage, Patience, Small,
};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::signal::SignalKind;

pub(crate) use mirror::Mirror;

/// Says who writes below the prefix.
const OWNER: &str = "owner.json";

/// How often the owner record is looked at again when it changes meanwhile, or makes no sense.
const LOOKS: u32 = 3;

/// A bucket and its place in the storage folder.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) store: Arc<BlockStore>,
    pub(crate) mirror: Mirror,
    /// The storage folder's name.
    owner: String,
    /// Whether the folder knows what this bucket held when it was last reached.
    pub(crate) is_known: bool,
    /// Why nothing may be changed there: another folder has taken it over.
    lost: Mutex<Option<String>>,
}

/// How a bucket fares, for `/metrics` and `/-/ready`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketStatus {
    /// Its URL.
    pub url: String,
    /// How long it has not been reached, and what went wrong last; `None` while it is reached.
    pub outage: Option<(Duration, String)>,
    /// Why nothing is uploaded or removed although it is reached; `None` when all is well.
    pub refused: Option<String>,
    /// Blocks on local disk that wait for their upload.
    pub waiting_blocks: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Per kind of request: its name, attempts, and how many of them failed.
    pub requests: Vec<(&'static str, u64, u64)>,
    /// Bytes of files that went up.
    pub uploaded_bytes: u64,
    /// Bytes that were read, from the bucket and not from the cache.
    pub fetched_bytes: u64,
    /// Bytes of local disk that keep what lies in the bucket.
    pub cached_bytes: u64,
}

impl Bucket {
    /// Opens the bucket that the options name. One that cannot be reached is no reason to stay down where this folder has
    /// owned it before.
    ///
    /// # Errors
    /// `BadInput` when the URL is none; `NotOurs` when another folder owns the prefix, or when this folder has blocks in a
    /// bucket and none was named; `Unavailable`, `ObjectStore`, `Io`.
    pub(crate) async fn open(
        options: &Options,
        owner: &str,
        cache: Arc<Cache>,
        damage: Arc<Damage>,
    ) -> Result<Option<Arc<Self>>> {
        let mirror = Mirror::new(options.path.join("bucket"));
        let Some(url) = options.bucket.as_deref().map(|u| u.trim_end_matches('/')) else {
            return match mirror.url()? {
                Some(url) if !mirror.is_empty()? => Err(Error::NotOurs(format!(
                    "blocks of {} lie in {url}: start with --storage.bucket={url}, or, to go on without them, remove {}",
                    options.path.display(),
                    mirror.dir().display(),
                ))),
                _ => Ok(None),
            };
        };
        let disk = DiskCache::open(options.path.join("cache"), options.cache_bytes)?;
        let store = BlockStore::open_bucket(url, cache, disk, damage)?;
        let bucket = Self::new(store, mirror, owner)?;
        let take_over = options.bucket_take_over.as_deref();
        match bucket.claim(Patience::Start, take_over).await {
            Ok(()) => {}
            Err(e @ Error::NotOurs(_)) => return Err(e),
            Err(e) if bucket.is_known => {
                tracing::warn!(error = %e, "starting without the bucket: what lies in it only cannot be queried yet");
            }
            Err(Error::Unavailable { bucket, reason }) => {
                return Err(Error::Unavailable {
                    bucket,
                    reason: format!(
                        "{reason}. The first start of a storage folder needs its bucket: check --storage.bucket, and the \
                         endpoint and the credentials in the environment; or start without --storage.bucket for now, and \
                         blocks go up once it is named"
                    ),
                });
            }
            Err(e) => return Err(e),
        }
        Ok(Some(Arc::new(bucket)))
    }

    /// # Errors
    /// `Io`.
    pub(crate) fn new(store: Arc<BlockStore>, mirror: Mirror, owner: &str) -> Result<Self> {
        Ok(Self {
            is_known: mirror.url()?.as_deref() == Some(store.name()),
            store,
            mirror,
            owner: owner.to_owned(),
            lost: Mutex::new(None),
        })
    }

    /// Notes that the mirror has what the bucket has: from now on a start can do without it.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn set_known(&self) -> Result<()> {
        self.mirror.set_url(self.store.name())
    }

    /// Asks whether the bucket is reached and still ours, once.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`; `NotOurs` when another folder has taken it over.
    pub(crate) async fn check(&self) -> Result<()> {
        let result = self.claim(Patience::Probe, None).await;
        let lost = match &result {
            Ok(()) => None,
            Err(Error::NotOurs(text)) => Some(text.clone()),
            // Not known, so nothing new.
            Err(_) => return result,
        };
        let mut before = self.lost.lock();
        if before.is_none()
            && let Some(text) = &lost
        {
            tracing::error!(reason = text, "nothing goes up to the bucket any more");
        }
        *before = lost;
        result
    }

    /// Puts the owner record, or compares it: blocks of two storage folders must not mix. `take_over` names the owner
    /// whose place is taken.
    async fn claim(&self, patience: Patience, take_over: Option<&str>) -> Result<()> {
        let path = self.store.object(OWNER);
        let record = serde_json::json!({ "owner": self.owner, "format_version": FORMAT_VERSION });
        let record = Bytes::from(record.to_string());
        let mut found = None;
        for _ in 0..LOOKS {
            let Some(now) = self.store.get_small(&path, patience).await? else {
                // Where somebody else is quicker, or an answer of ours was lost, the next look tells.
                if self.store.put_new(&path, &record, patience).await? {
                    return Ok(());
                }
                continue;
            };
            found = owner_in(&now);
            if found.as_deref() == Some(self.owner.as_str()) {
                return Ok(());
            }
            if found.is_none() {
                continue;
            }
            if found.as_deref() != take_over {
                break;
            }
            if self
                .store
                .replace_small(&path, &now, record.clone())
                .await?
            {
                tracing::warn!(
                    before = found,
                    now = self.owner,
                    "took the bucket over from another storage folder"
                );
                return Ok(());
            }
        }
        let url = self.store.name();
        let path = self.store.label(&path);
        Err(Error::NotOurs(match found {
            Some(other) => format!(
                "--storage.bucket={url}: the blocks there belong to another storage folder ({path} names {other}, this \
                 folder is {}). If that folder is in use, name another prefix. If its disk is lost, take its blocks over: \
                 start once with --storage.bucket-take-over={other}",
                self.owner
            ),
            None => format!(
                "--storage.bucket={url}: {path} does not say who owns the blocks there; if no other storage folder does, \
                 delete it and start again"
            ),
        }))
    }

    /// What no block of a signal holds, as it was last put there.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`.
    pub(crate) async fn remembered(&self, signal: SignalKind) -> Result<Option<Bytes>> {
        let path = self.store.object("remembered").join(signal.as_str());
        let found = self.store.get_small(&path, Patience::Upload).await?;
        Ok(found.map(|f| f.bytes))
    }

    /// Puts what no block of a signal holds, so that it survives the loss of the disk too.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`.
    pub(crate) async fn remember(&self, signal: SignalKind, bytes: Bytes) -> Result<()> {
        let path = self.store.object("remembered").join(signal.as_str());
        self.store.put_small(&path, bytes).await
    }

    pub(crate) fn outage(&self) -> Option<Outage> {
        self.store.health().outage()
    }

    /// How it fares. What waits is filled in by the caller.
    pub(crate) fn status(&self) -> BucketStatus {
        let health = self.store.health();
        let load = |n: &std::sync::atomic::AtomicU64| n.load(std::sync::atomic::Ordering::Relaxed);
        let outage = self.outage();
        BucketStatus {
            url: self.store.name().to_owned(),
            outage: outage.map(|o| (o.since.elapsed(), o.reason)),
            refused: self.lost.lock().clone(),
            waiting_blocks: 0,
            waiting_bytes: 0,
            requests: Operation::ALL
                .iter()
                .map(|&o| (o.as_str(), health.tries(o)))
                .map(|(name, tries)| (name, load(&tries.all), load(&tries.failed)))
                .collect(),
            uploaded_bytes: load(&health.uploaded_bytes),
            fetched_bytes: load(&health.fetched_bytes),
            cached_bytes: self.store.disk().map_or(0, |disk| disk.bytes()),
        }
    }
}

fn owner_in(record: &Small) -> Option<String> {
    let record: serde_json::Value = serde_json::from_slice(&record.bytes).ok()?;
    Some(record.get("owner")?.as_str()?.to_owned())
}
