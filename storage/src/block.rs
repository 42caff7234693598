//! Blocks: immutable folders of Parquet files on an object store, visible through their manifests.
//!
//! ```text
//!  blocks/<signal>/<tenant>/<ulid>/   the files first, each complete, and a copy of the manifest
//!                           manifest.json   last, put-if-absent: from here on the block exists
//! ```
//!
//! Removal goes the other way: the manifest first, the files when no view holds the block any more.
//!
//! Invariant: what [`Block::read_ranges`] answers is what was written, or an error.

mod cache;
mod checksum;
mod damage;
mod disk_cache;
mod manifest;
mod parquet_file;
mod store;
pub(crate) mod summed_json;
mod writer;

use std::any::Any;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use ulid::Ulid;

use crate::error::{Error, Result};
use cache::Key;

pub(crate) use cache::{Cache, Slot};
pub use checksum::PieceSums;
pub(crate) use damage::Damage;
pub(crate) use disk_cache::DiskCache;
pub(crate) use manifest::{FORMAT_VERSION, MANIFEST, MANIFEST_COPY, READER_VERSION};
pub use manifest::{Manifest, ManifestFile};
pub(crate) use parquet_file::BlockFile;
pub(crate) use store::{
    BlockStore, Listing, Operation, Outage, Patience, Small, sync_dir, write_durably,
};
pub(crate) use writer::BlockWriter;

/// A visible block. Removal waits until nobody holds it.
#[derive(Debug)]
pub struct Block {
    manifest: Manifest,
    id: Ulid,
    folder: ObjectPath,
    store: Arc<BlockStore>,
    /// Whether a read has met damage.
    damaged: AtomicBool,
}

impl Block {
    /// # Errors
    /// `Corrupt` when the manifest's name is none.
    pub(crate) fn new(store: Arc<BlockStore>, manifest: Manifest) -> Result<Self> {
        let id = Ulid::from_string(&manifest.ulid).map_err(|e| Error::Corrupt {
            file: format!("manifest of block {}", manifest.ulid),
            offset: 0,
            reason: e.to_string(),
        })?;
        let folder = store.folder(&manifest.signal, &manifest.tenant, &manifest.ulid);
        Ok(Self {
            manifest,
            id,
            folder,
            store,
            damaged: AtomicBool::new(false),
        })
    }

    /// A block of which nothing is known but that it is there; see [`Manifest::unreadable`].
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn unreadable(store: Arc<BlockStore>, manifest: Manifest) -> Result<Self> {
        let block = Self::new(store, manifest)?;
        block.damaged.store(true, Ordering::Relaxed);
        Ok(block)
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Size of all its files in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|f| f.bytes).sum()
    }

    /// Whether it has a file of this name.
    #[must_use]
    pub fn has_file(&self, name: &str) -> bool {
        self.manifest.files.iter().any(|f| f.name == name)
    }

    /// Size of one of its files in bytes.
    ///
    /// # Errors
    /// `Corrupt` when the manifest does not list it.
    pub fn file_size(&self, name: &str) -> Result<u64> {
        Ok(self.file(name)?.1.bytes)
    }

    /// A range of bytes of one of its files, through the cache.
    ///
    /// # Errors
    /// What the object store says, after retries.
    pub async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let mut parts = self.read_ranges(name, vec![range]).await?;
        Ok(parts.pop().unwrap_or_default())
    }

    /// Several ranges of one of its files, adjacent ones fetched together.
    ///
    /// # Errors
    /// `Corrupt` when a range lies outside the file; what the object store says, after retries.
    pub async fn read_ranges(&self, name: &str, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
        let (index, file) = self.file(name)?;
        let path = self.folder.clone().join(name);
        let outside = |r: &&Range<u64>| r.start > r.end || r.end > file.bytes;
        let result = match ranges.iter().find(outside) {
            Some(bad) => {
                let reason = format!("asked for {bad:?} of {} bytes", file.bytes);
                Err(self.store.corrupt(&path, bad.start, &reason))
            }
            None => {
                let key = (self.id, index);
                self.store.read_ranges(key, &path, file, ranges).await
            }
        };
        if let Err(e @ Error::Corrupt { .. }) = &result {
            self.note_damage(name, e);
        }
        result
    }

    /// Notes that a file of it is not what was written.
    pub(crate) fn note_damage(&self, name: &str, error: &Error) {
        self.damaged.store(true, Ordering::Relaxed);
        let path = self.folder.clone().join(name);
        self.store.damage().note(&self.store.label(&path), error);
    }

    /// Whether some of it is known not to be what was written.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// One of its Parquet files, for parquet's asynchronous readers. The footer and page index are read
    /// once and kept while the cache has room.
    ///
    /// # Errors
    /// `Corrupt` when the manifest does not list it.
    pub(crate) fn parquet(self: &Arc<Self>, name: &str) -> Result<BlockFile> {
        let (index, file) = self.file(name)?;
        Ok(BlockFile::new(
            Arc::clone(self),
            name.to_owned(),
            index,
            file.bytes,
        ))
    }

    /// Something decoded from this block that is worth keeping (an index, a dictionary), from the cache or
    /// freshly loaded. `what` names it among all things kept of one block; `load` also tells its size in bytes.
    ///
    /// # Errors
    /// What `load` says.
    pub(crate) async fn cached<T: Any + Send + Sync>(
        &self,
        what: &'static str,
        load: impl Future<Output = Result<(T, u64)>>,
    ) -> Result<Arc<T>> {
        self.cached_slot(Slot::Decoded(what), load).await
    }

    /// Something decoded from this block, if the cache has it.
    pub(crate) fn kept<T: Any + Send + Sync>(&self, slot: Slot) -> Option<Arc<T>> {
        let key = self.key(slot);
        self.store.cache().get(&key)?.downcast::<T>().ok()
    }

    /// Keeps something of so many bytes while the cache has room.
    pub(crate) fn keep<T: Any + Send + Sync>(&self, slot: Slot, value: &Arc<T>, bytes: u64) {
        let kept: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(value);
        self.store.cache().put(self.key(slot), kept, bytes);
    }

    const fn key(&self, slot: Slot) -> Key {
        Key {
            block: self.id,
            slot,
        }
    }

    /// Bytes of samples that the cache keeps at most.
    pub(crate) fn samples_capacity_bytes(&self) -> u64 {
        self.store.cache().samples_capacity_bytes()
    }

    /// Bytes that the cache keeps at most of everything else.
    pub(crate) fn decoded_capacity_bytes(&self) -> u64 {
        self.store.cache().others_capacity_bytes()
    }

    async fn cached_slot<T: Any + Send + Sync>(
        &self,
        slot: Slot,
        load: impl Future<Output = Result<(T, u64)>>,
    ) -> Result<Arc<T>> {
        if let Some(kept) = self.kept(slot) {
            return Ok(kept);
        }
        let (value, bytes) = load.await?;
        let value = Arc::new(value);
        self.keep(slot, &value, bytes);
        Ok(value)
    }

    /// Its name.
    pub(crate) const fn id(&self) -> Ulid {
        self.id
    }

    /// Where its files lie.
    pub(crate) fn folder(&self) -> &ObjectPath {
        &self.folder
    }

    /// Its files by their positions, and where they lie on local disk, if they do.
    pub(crate) fn local_files(&self) -> Vec<(u16, ManifestFile, PathBuf)> {
        let files = (0u16..).zip(&self.manifest.files);
        let found = files.filter_map(|(number, file)| {
            let path = self.folder.clone().join(file.name.as_str());
            Some((number, file.clone(), self.store.local_path(&path)?))
        });
        found.collect()
    }

    /// Where it lies.
    pub(crate) const fn store(&self) -> &Arc<BlockStore> {
        &self.store
    }

    fn file(&self, name: &str) -> Result<(u16, &ManifestFile)> {
        self.manifest
            .files
            .iter()
            .zip(0u16..)
            .find(|(f, _)| f.name == name)
            .map(|(f, i)| (i, f))
            .ok_or_else(|| {
                let path = self.folder.clone().join(manifest::MANIFEST);
                let reason = format!("it lists no file {name}");
                self.store.corrupt(&path, 0, &reason)
            })
    }
}
