//! Where blocks lie: an object store below a prefix, local disk or bucket, and the cache in front of it.

mod pages;
mod remote;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};
use tokio::io::AsyncReadExt;
use ulid::Ulid;

use super::cache::Cache;
use super::manifest::Manifest;
use super::{BlockWriter, READER_VERSION};
use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::signal::SignalKind;

const MANIFEST: &str = "manifest.json";
const OWNER: &str = "owner.json";

/// Files up to this size go up in one request, larger ones in parts of it.
const PART_BYTES: usize = 8 << 20;

/// Pause before the second attempt; it doubles. Tests do not wait.
const FIRST_PAUSE_MS: u64 = if cfg!(test) { 0 } else { 100 };

/// Manifests fetched at once when the store is opened.
const OPEN_FETCHES: usize = 16;

/// How often a read or write is tried beyond the retries of the object store's own client.
const ATTEMPTS: u32 = 3;

/// The object store of all blocks.
#[derive(Debug)]
pub(crate) struct BlockStore {
    store: Arc<dyn ObjectStore>,
    /// Set when `store` is local disk: files are then moved into place and not copied.
    local: Option<Arc<LocalFileSystem>>,
    prefix: ObjectPath,
    cache: Cache,
}

/// What lies in the store of one signal.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Manifests in no order, replaced blocks included.
    pub(crate) manifests: Vec<Manifest>,
    /// Folders without a manifest, with the time of their newest file in milliseconds.
    pub(crate) orphans: Vec<(ObjectPath, i64)>,
}

impl BlockStore {
    /// Opens the store that the options name.
    ///
    /// # Errors
    /// `BadInput` when the URL is none that is known; `Io`, `ObjectStore`.
    pub(crate) fn open(options: &Options, budget: &Arc<Budget>) -> Result<Arc<Self>> {
        let cache = Cache::new(options.memory_limit_bytes / 8, budget);
        if let Some(url) = &options.bucket {
            let (store, prefix) = remote::open(url)?;
            return Ok(Arc::new(Self {
                store,
                local: None,
                prefix,
                cache,
            }));
        }
        let local = LocalFileSystem::new_with_prefix(&options.path)?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        let local = Arc::new(local);
        let store: Arc<LocalFileSystem> = Arc::clone(&local);
        Ok(Arc::new(Self {
            store,
            local: Some(local),
            prefix: ObjectPath::default(),
            cache,
        }))
    }

    /// A store over any object store, taken for a remote one.
    #[cfg(test)]
    pub(crate) fn over(store: Arc<dyn ObjectStore>, budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            store,
            local: None,
            prefix: ObjectPath::default(),
            cache: Cache::new(budget.limit() / 8, budget),
        })
    }

    pub(crate) const fn is_remote(&self) -> bool {
        self.local.is_none()
    }

    pub(super) const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The folder of a block.
    pub(crate) fn folder(&self, signal: &str, tenant: &str, ulid: &str) -> ObjectPath {
        self.signal_folder(signal).join(tenant).join(ulid)
    }

    fn signal_folder(&self, signal: &str) -> ObjectPath {
        self.prefix.clone().join("blocks").join(signal)
    }

    /// Puts a bucket's owner record, or compares it: blocks of two storage folders must not mix.
    ///
    /// # Errors
    /// `NotOurs` when another folder owns the prefix.
    pub(crate) async fn claim(&self, owner: &str) -> Result<()> {
        if !self.is_remote() {
            return Ok(());
        }
        let path = self.prefix.clone().join(OWNER);
        let record = serde_json::json!({ "owner": owner, "format_version": super::FORMAT_VERSION });
        match self.put_new(&path, record.to_string().into_bytes()).await {
            Ok(()) => return Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        let found = self.store.get(&path).await?.bytes().await?;
        let found: serde_json::Value = serde_json::from_slice(&found).unwrap_or_default();
        if found.get("owner").and_then(serde_json::Value::as_str) == Some(owner) {
            return Ok(());
        }
        Err(Error::NotOurs(format!(
            "the bucket prefix {:?} belongs to another storage folder ({path} says owner {}, this folder is {owner}): \
             use another prefix in --storage.bucket, or, if that folder is gone for good, delete {path}",
            self.prefix.as_ref(),
            found.get("owner").unwrap_or(&serde_json::Value::Null),
        )))
    }

    /// Everything that lies there of a signal.
    ///
    /// # Errors
    /// `ObjectStore`; `NotOurs` when a newer version wrote a block.
    pub(crate) async fn list(&self, signal: SignalKind) -> Result<Listing> {
        let root = self.signal_folder(signal.as_str());
        let mut folders: BTreeMap<ObjectPath, (bool, i64)> = BTreeMap::new();
        let mut objects = self.store.list(Some(&root));
        while let Some(object) = objects.try_next().await? {
            let mut parts: Vec<_> = object.location.parts().collect();
            let name = parts.pop();
            let folder: ObjectPath = parts.into_iter().collect();
            let entry = folders.entry(folder).or_insert((false, i64::MIN));
            entry.0 |= name.is_some_and(|n| n.as_ref() == MANIFEST);
            entry.1 = entry.1.max(object.last_modified.timestamp_millis());
        }
        let mut listing = Listing::default();
        let mut visible = Vec::new();
        for (folder, (has_manifest, newest_ms)) in folders {
            if has_manifest {
                visible.push(folder);
            } else {
                listing.orphans.push((folder, newest_ms));
            }
        }
        let fetched: Vec<Result<Option<Manifest>>> = futures::stream::iter(visible)
            .map(|folder| self.fetch_manifest(folder))
            .buffer_unordered(OPEN_FETCHES)
            .collect()
            .await;
        for manifest in fetched {
            listing.manifests.extend(manifest?);
        }
        Ok(listing)
    }

    async fn fetch_manifest(&self, folder: ObjectPath) -> Result<Option<Manifest>> {
        let path = folder.join(MANIFEST);
        let bytes = self.store.get(&path).await?.bytes().await?;
        let manifest: Manifest = match serde_json::from_slice(&bytes) {
            Ok(manifest) => manifest,
            Err(e) => {
                tracing::error!(file = %path, error = %e, "a block's manifest cannot be read; the block is left out");
                return Ok(None);
            }
        };
        if manifest.min_reader_version > READER_VERSION {
            return Err(Error::NotOurs(format!(
                "{path} was written by a newer version (it asks for reader version {}, this program knows {READER_VERSION}): \
                 start the newer program again",
                manifest.min_reader_version,
            )));
        }
        Ok(Some(manifest))
    }

    /// Brings the files of a finished block to their place. The block is not visible yet.
    ///
    /// # Errors
    /// `Io`, `ObjectStore`.
    pub(crate) async fn put_files(&self, writer: &BlockWriter, manifest: &Manifest) -> Result<()> {
        let folder = self.folder(&manifest.signal, &manifest.tenant, &manifest.ulid);
        for file in &manifest.files {
            let from = writer.path_of(&file.name);
            let to = folder.clone().join(file.name.as_str());
            match &self.local {
                Some(local) => {
                    let to = local.path_to_filesystem(&to)?;
                    tokio::task::spawn_blocking(move || move_durably(&from, &to))
                        .await
                        .map_err(|e| Error::io(&self.label())(e.into()))??;
                }
                None => self.put_file(&from, &to, file.bytes).await?,
            }
        }
        Ok(())
    }

    async fn put_file(&self, from: &Path, to: &ObjectPath, bytes: u64) -> Result<()> {
        for attempt in 1.. {
            match self.try_put_file(from, to, bytes).await {
                Err(Error::ObjectStore(e)) if attempt < ATTEMPTS => {
                    tracing::warn!(file = %to, error = %e, attempt, "an upload failed; trying again");
                    tokio::time::sleep(pause(attempt)).await;
                }
                result => return result,
            }
        }
        Ok(())
    }

    async fn try_put_file(&self, from: &Path, to: &ObjectPath, bytes: u64) -> Result<()> {
        let mut file = tokio::fs::File::open(from).await.map_err(Error::io(from))?;
        if bytes <= PART_BYTES as u64 {
            let mut content = Vec::with_capacity(bytes as usize);
            file.read_to_end(&mut content)
                .await
                .map_err(Error::io(from))?;
            self.store.put(to, content.into()).await?;
            return Ok(());
        }
        let mut upload =
            WriteMultipart::new_with_chunk_size(self.store.put_multipart(to).await?, PART_BYTES);
        let mut buffer = vec![0; PART_BYTES];
        loop {
            let n = file.read(&mut buffer).await.map_err(Error::io(from))?;
            if n == 0 {
                break;
            }
            upload.wait_for_capacity(2).await?;
            upload.write(buffer.get(..n).unwrap_or_default());
        }
        upload.finish().await?;
        Ok(())
    }

    /// Makes a block visible. Its files must be in place. Doing it twice is fine.
    ///
    /// # Errors
    /// `ObjectStore`.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<()> {
        let folder = self.folder(&manifest.signal, &manifest.tenant, &manifest.ulid);
        let path = folder.join(MANIFEST);
        let mut text = serde_json::to_vec_pretty(manifest).map_err(|e| Error::Corrupt {
            file: path.to_string(),
            offset: 0,
            reason: e.to_string(),
        })?;
        text.push(b'\n');
        for attempt in 1.. {
            match self.put_new(&path, text.clone()).await {
                // An answer may be lost after the object was written: names are random, so it is ours.
                Ok(()) | Err(object_store::Error::AlreadyExists { .. }) => break,
                Err(e) if attempt < ATTEMPTS => {
                    tracing::warn!(file = %path, error = %e, attempt, "an upload failed; trying again");
                    tokio::time::sleep(pause(attempt)).await;
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Puts an object that does not exist yet. A store that knows no conditional put is asked first.
    async fn put_new(&self, path: &ObjectPath, content: Vec<u8>) -> object_store::Result<()> {
        let payload = PutPayload::from(content);
        let options = PutOptions::from(PutMode::Create);
        match self.store.put_opts(path, payload.clone(), options).await {
            Err(object_store::Error::NotImplemented { .. }) => {}
            result => return result.map(drop),
        }
        match self.store.head(path).await {
            Err(object_store::Error::NotFound { .. }) => {
                self.store.put(path, payload).await.map(drop)
            }
            Ok(_) => Err(object_store::Error::AlreadyExists {
                path: path.to_string(),
                source: "it is there".into(),
            }),
            Err(e) => Err(e),
        }
    }

    /// Takes a block's manifest away; it is then no block any more.
    ///
    /// # Errors
    /// `ObjectStore`. That it is gone already is no error.
    pub(crate) async fn delete_manifest(&self, folder: &ObjectPath) -> Result<()> {
        self.delete(&folder.clone().join(MANIFEST)).await
    }

    /// Removes whatever lies in a folder.
    ///
    /// # Errors
    /// `ObjectStore`.
    pub(crate) async fn delete_folder(&self, folder: &ObjectPath, id: Option<Ulid>) -> Result<()> {
        if let Some(id) = id {
            self.cache.forget(id);
        }
        let objects: Vec<_> = self.store.list(Some(folder)).try_collect().await?;
        for object in objects {
            self.delete(&object.location).await?;
        }
        Ok(())
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Ranges of a file of `size` bytes. Local files are read as they are (the system keeps their pages),
    /// remote ones by whole pages, which are kept.
    pub(super) async fn read_ranges(
        &self,
        file: (Ulid, u16),
        path: &ObjectPath,
        size: u64,
        ranges: Vec<Range<u64>>,
    ) -> Result<Vec<Bytes>> {
        if self.is_remote() {
            return pages::read(self, file, path, size, ranges).await;
        }
        self.fetch_ranges(path, &ranges).await
    }

    async fn fetch_ranges(&self, path: &ObjectPath, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if ranges.iter().all(Range::is_empty) {
            return Ok(vec![Bytes::new(); ranges.len()]);
        }
        for attempt in 1.. {
            match self.store.get_ranges(path, ranges).await {
                Err(e @ object_store::Error::NotFound { .. }) => return Err(e.into()),
                Err(e) if self.is_remote() && attempt < ATTEMPTS => {
                    tracing::warn!(file = %path, error = %e, attempt, "a read failed; trying again");
                    tokio::time::sleep(pause(attempt)).await;
                }
                result => return Ok(result?),
            }
        }
        Ok(Vec::new())
    }

    fn label(&self) -> String {
        self.store.to_string()
    }
}

fn pause(attempt: u32) -> Duration {
    Duration::from_millis(FIRST_PAUSE_MS << (attempt - 1).min(6))
}

/// Moves a file so that a power loss leaves it whole at one of the two places.
fn move_durably(from: &Path, to: &Path) -> Result<()> {
    let file = match File::open(from) {
        // An earlier attempt has moved it.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && to.exists() => return Ok(()),
        result => result.map_err(Error::io(from))?,
    };
    file.sync_all().map_err(Error::io(from))?;
    let dir = to.parent().unwrap_or(to);
    create_dirs_durably(dir)?;
    std::fs::rename(from, to).map_err(Error::io(to))?;
    sync_dir(dir)
}

fn create_dirs_durably(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else {
        return Ok(());
    };
    create_dirs_durably(parent)?;
    match std::fs::create_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        result => result.map_err(Error::io(dir))?,
    }
    sync_dir(parent)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// `Io`.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(Error::io(dir))
}
