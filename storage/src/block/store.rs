//! Where blocks lie: an object store below a prefix, local disk or bucket, and the cache in front of it.

mod health;
mod listing;
mod local;
mod pages;
mod remote;
mod retry;
mod upload;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use ulid::Ulid;

use super::BlockWriter;
use super::cache::Cache;
use super::damage::Damage;
use super::disk_cache::DiskCache;
use super::manifest::{MANIFEST, MANIFEST_COPY, Manifest, ManifestFile};
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::options::Options;

pub(crate) use health::{Health, Operation, Outage};
pub(crate) use listing::Listing;
pub(crate) use local::{sync_dir, write_durably};
pub(crate) use retry::Patience;

/// The object store of blocks at one place.
#[derive(Debug)]
pub(crate) struct BlockStore {
    store: Arc<dyn ObjectStore>,
    /// Set when `store` is local disk: files are then moved into place and not copied.
    local: Option<Arc<LocalFileSystem>>,
    /// For messages: the bucket's URL.
    name: String,
    prefix: ObjectPath,
    cache: Arc<Cache>,
    /// Only in front of a bucket.
    disk: Option<Arc<DiskCache>>,
    health: Health,
    damage: Arc<Damage>,
}

/// A small object, and what to say when it is to be replaced as it was found.
#[derive(Debug)]
pub(crate) struct Small {
    pub(crate) bytes: Bytes,
    version: UpdateVersion,
}

impl BlockStore {
    /// Opens the blocks of the storage folder.
    ///
    /// # Errors
    /// `ObjectStore` when the folder is not there.
    pub(crate) fn open_local(
        options: &Options,
        cache: Arc<Cache>,
        damage: Arc<Damage>,
    ) -> Result<Arc<Self>> {
        // Its own cleanup would take empty folders away from under a cut that is about to move a block there.
        let local = LocalFileSystem::new_with_prefix(&options.path)?.with_fsync(true);
        let local = Arc::new(local);
        let store: Arc<LocalFileSystem> = Arc::clone(&local);
        Ok(Arc::new(Self {
            store,
            local: Some(local),
            name: options.path.display().to_string(),
            prefix: ObjectPath::default(),
            cache,
            disk: None,
            health: Health::default(),
            damage,
        }))
    }

    /// Opens a bucket; nothing is asked of it yet.
    ///
    /// # Errors
    /// `BadInput` when the URL is none that is known, or the environment lacks something.
    pub(crate) fn open_bucket(
        url: &str,
        cache: Arc<Cache>,
        disk: DiskCache,
        damage: Arc<Damage>,
    ) -> Result<Arc<Self>> {
        let (store, prefix) = remote::open(url)?;
        let disk = Some(Arc::new(disk));
        Ok(Self::remote(store, url, prefix, cache, disk, damage))
    }

    fn remote(
        store: Arc<dyn ObjectStore>,
        name: &str,
        prefix: ObjectPath,
        cache: Arc<Cache>,
        disk: Option<Arc<DiskCache>>,
        damage: Arc<Damage>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            local: None,
            name: name.to_owned(),
            prefix,
            cache,
            disk,
            health: Health::default(),
            damage,
        })
    }

    /// Local blocks with a cache of their own.
    #[cfg(test)]
    pub(crate) fn open(
        options: &Options,
        budget: &Arc<crate::budget::Budget>,
    ) -> Result<Arc<Self>> {
        let cache = Arc::new(Cache::new(options.memory_limit_bytes / 8, budget));
        Self::open_local(options, cache, Arc::default())
    }

    /// A bucket over any object store.
    #[cfg(test)]
    pub(crate) fn over(store: Arc<dyn ObjectStore>, cache: Arc<Cache>) -> Arc<Self> {
        Self::remote(
            store,
            "memory://test",
            ObjectPath::default(),
            cache,
            None,
            Arc::default(),
        )
    }

    pub(crate) const fn is_remote(&self) -> bool {
        self.local.is_none()
    }

    /// The bucket's URL, or the storage folder.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub(crate) const fn disk(&self) -> Option<&Arc<DiskCache>> {
        self.disk.as_ref()
    }

    pub(crate) const fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) const fn damage(&self) -> &Arc<Damage> {
        &self.damage
    }

    /// The folder of a block.
    pub(crate) fn folder(&self, signal: &str, tenant: &str, ulid: &str) -> ObjectPath {
        self.signal_folder(signal).join(tenant).join(ulid)
    }

    fn signal_folder(&self, signal: &str) -> ObjectPath {
        self.object("blocks").join(signal)
    }

    /// The path of an object that belongs to no block.
    pub(crate) fn object(&self, name: &str) -> ObjectPath {
        self.prefix.clone().join(name)
    }

    /// Where a file lies on local disk.
    pub(crate) fn local_path(&self, path: &ObjectPath) -> Option<PathBuf> {
        self.local.as_ref()?.path_to_filesystem(path).ok()
    }

    /// What a file is called in messages.
    pub(crate) fn label(&self, path: &ObjectPath) -> String {
        match &self.local {
            Some(_) => path.to_string(),
            None => {
                let below = path.as_ref().strip_prefix(self.prefix.as_ref());
                let below = below.unwrap_or(path.as_ref()).trim_start_matches('/');
                format!("{}/{below}", self.name.trim_end_matches('/'))
            }
        }
    }

    pub(super) fn corrupt(&self, path: &ObjectPath, offset: u64, reason: &str) -> Error {
        Error::Corrupt {
            file: self.label(path),
            offset,
            reason: reason.to_owned(),
        }
    }

    /// A whole object, `None` when it is not there.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`.
    pub(crate) async fn get_small(
        &self,
        path: &ObjectPath,
        patience: Patience,
    ) -> Result<Option<Small>> {
        let get = || async move {
            let found = self.store.get(path).await?;
            let version = UpdateVersion {
                e_tag: found.meta.e_tag.clone(),
                version: found.meta.version.clone(),
            };
            let bytes = found.bytes().await?;
            Ok(Small { bytes, version })
        };
        match self.ask(Operation::Get, path, patience, get).await {
            Err(Error::ObjectStore(StoreError::NotFound { .. })) => Ok(None),
            result => result.map(Some),
        }
    }

    /// Puts an object in place of what is there.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`.
    pub(crate) async fn put_small(&self, path: &ObjectPath, content: Bytes) -> Result<()> {
        let put = || self.store.put(path, PutPayload::from(content.clone()));
        self.ask(Operation::Put, path, Patience::Upload, put)
            .await?;
        Ok(())
    }

    /// Puts an object in place of exactly this one; answers whether it was still that one. A store that cannot tell
    /// replaces it.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`.
    pub(crate) async fn replace_small(
        &self,
        path: &ObjectPath,
        found: &Small,
        content: Bytes,
    ) -> Result<bool> {
        let put = || {
            let options = PutOptions::from(PutMode::Update(found.version.clone()));
            let payload = PutPayload::from(content.clone());
            self.store.put_opts(path, payload, options)
        };
        match self.ask(Operation::Put, path, Patience::Upload, put).await {
            Ok(_) => Ok(true),
            Err(Error::ObjectStore(StoreError::Precondition { .. })) => Ok(false),
            Err(Error::ObjectStore(
                StoreError::NotImplemented { .. } | StoreError::NotSupported { .. },
            )) => self.put_small(path, content).await.map(|()| true),
            Err(e) => Err(e),
        }
    }

    /// Puts an object that does not exist yet; answers whether it did not. After a lost answer it may be our own that is
    /// there: compare. A store that knows no conditional put is asked first.
    ///
    /// # Errors
    /// `Unavailable`, also when the bucket itself is not there; `ObjectStore`.
    pub(crate) async fn put_new(
        &self,
        path: &ObjectPath,
        content: &Bytes,
        patience: Patience,
    ) -> Result<bool> {
        let put = || {
            let payload = PutPayload::from(content.clone());
            let options = PutOptions::from(PutMode::Create);
            self.store.put_opts(path, payload, options)
        };
        let result = self.ask(Operation::Put, path, patience, put).await;
        match result {
            Ok(_) => return Ok(true),
            Err(Error::ObjectStore(StoreError::AlreadyExists { .. })) => return Ok(false),
            Err(Error::ObjectStore(StoreError::NotImplemented { .. })) => {}
            // Something new is not found only where there is nothing to put it into.
            Err(Error::ObjectStore(StoreError::NotFound { .. })) if self.is_remote() => {
                let reason = "there is no such bucket; create it, or name another one";
                self.health().silent(reason.to_owned());
                return Err(self.unavailable(reason.to_owned()));
            }
            Err(e) => return Err(e),
        }
        if self.size_of(path).await?.is_some() {
            return Ok(false);
        }
        self.put_small(path, content.clone()).await.map(|()| true)
    }

    /// Size of an object in bytes, `None` when it is not there.
    async fn size_of(&self, path: &ObjectPath) -> Result<Option<u64>> {
        let head = || self.store.head(path);
        match self.ask(Operation::Get, path, Patience::Upload, head).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::ObjectStore(StoreError::NotFound { .. })) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Brings the files of a finished block to their place. The block is not visible yet.
    ///
    /// # Errors
    /// `Io`, `Unavailable`, `ObjectStore`.
    pub(crate) async fn put_files(&self, writer: &BlockWriter, manifest: &Manifest) -> Result<()> {
        let folder = self.folder(&manifest.signal, &manifest.tenant, &manifest.ulid);
        for file in &manifest.files {
            let from = writer.path_of(&file.name);
            let to = folder.clone().join(file.name.as_str());
            match self.local_path(&to) {
                Some(to) => {
                    let moved =
                        tokio::task::spawn_blocking(move || local::move_durably(&from, &to));
                    moved.await.map_err(|e| Error::io(&self.name)(e.into()))??;
                }
                None => self.upload(&from, &to, file).await?,
            }
            fail_point::reach(FailPoint::BlockFilePut);
        }
        Ok(())
    }

    /// Makes a block visible. Its files must be in place. Doing it twice is fine.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`; `Corrupt` when another block of this name is there.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<()> {
        let folder = self.folder(&manifest.signal, &manifest.tenant, &manifest.ulid);
        let path = folder.clone().join(MANIFEST);
        let content = Bytes::from(manifest.encode());
        self.put_small(&folder.join(MANIFEST_COPY), content.clone())
            .await?;
        fail_point::reach(FailPoint::BlockManifestCopy);
        if self.put_new(&path, &content, Patience::Upload).await? {
            return Ok(());
        }
        // Names are random, so it is ours, from a try whose answer was lost. One look is cheap.
        match self.read_manifest(&path).await? {
            Some(found) if found == *manifest => Ok(()),
            Some(_) => Err(self.corrupt(&path, 0, "another block of this name is there")),
            None => Err(self.unavailable("it says that a manifest is there and is not".to_owned())),
        }
    }

    /// Takes a block's manifest away; it is then no block any more.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`, `Io`. That it is gone already is no error.
    pub(crate) async fn delete_manifest(&self, folder: &ObjectPath) -> Result<()> {
        self.delete(&folder.clone().join(MANIFEST)).await?;
        // After a power loss it must not be back: what replaces the block may be on its way out by then.
        match self.local_path(folder) {
            Some(dir) if dir.is_dir() => sync_dir(&dir),
            _ => Ok(()),
        }
    }

    /// Removes a block's folder and whatever lies in it. The folders above stay, empty or not: a cut may be about to use
    /// them.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`, `Io`.
    pub(crate) async fn delete_folder(&self, folder: &ObjectPath) -> Result<()> {
        for object in self.objects(folder, Patience::Query).await? {
            self.delete(&object.location).await?;
            fail_point::reach(FailPoint::RemovalFile);
        }
        if let Some(dir) = self.local_path(folder) {
            let removed = tokio::task::spawn_blocking(move || local::remove_dir(&dir));
            removed
                .await
                .map_err(|e| Error::io(&self.name)(e.into()))??;
        }
        self.damage.forget(&self.label(folder));
        Ok(())
    }

    /// Lets go of what is kept of a block, in memory and on disk.
    pub(crate) async fn forget(&self, id: Ulid) {
        self.cache.forget(id);
        if let Some(disk) = self.disk.as_ref().map(Arc::clone) {
            // It fails only where the process ends.
            let _ = tokio::task::spawn_blocking(move || disk.forget(id)).await;
        }
    }

    /// Keeps files of a block that were on local disk until now; what is not taken stays there.
    pub(crate) async fn adopt(&self, id: Ulid, files: Vec<(u16, ManifestFile, PathBuf)>) {
        if let Some(disk) = self.disk.as_ref().map(Arc::clone) {
            let adopt = move || {
                for (number, file, path) in &files {
                    disk.adopt(id, *number, path, file);
                }
            };
            // It fails only where the process ends.
            let _ = tokio::task::spawn_blocking(adopt).await;
        }
    }

    /// Removes an object. That it is gone already is no error.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`.
    pub(crate) async fn delete(&self, path: &ObjectPath) -> Result<()> {
        let delete = || self.store.delete(path);
        match self
            .ask(Operation::Delete, path, Patience::Query, delete)
            .await
        {
            Err(Error::ObjectStore(StoreError::NotFound { .. })) => Ok(()),
            result => result,
        }
    }

    /// Ranges of a file. Local files are read as they are (the system keeps their pages), remote ones by whole pages,
    /// which are kept. What was summed when it was written is compared with its sums.
    ///
    /// # Errors
    /// `Corrupt` when bytes are not what was written, or missing; `Unavailable`, `ObjectStore`.
    pub(super) async fn read_ranges(
        &self,
        key: (Ulid, u16),
        path: &ObjectPath,
        file: &ManifestFile,
        ranges: Vec<Range<u64>>,
    ) -> Result<Vec<Bytes>> {
        if self.is_remote() {
            pages::read(self, key, path, file, ranges).await
        } else {
            local::read(self, path, file, ranges).await
        }
    }
}

/// A part of what was read. One of less than half of it has memory of its own: whoever keeps it would hold all the rest with it.
fn part_of(read: &Bytes, part: Range<usize>) -> Bytes {
    if part.len() < read.len() / 2 {
        Bytes::copy_from_slice(&read[part])
    } else {
        read.slice(part)
    }
}
