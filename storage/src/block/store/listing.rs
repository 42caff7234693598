//! What lies in a store: folders with a manifest are blocks, others are unfinished work or on their way out.

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore};

use super::BlockStore;
use super::health::Operation;
use super::retry::Patience;
use crate::block::READER_VERSION;
use crate::block::manifest::{MANIFEST, MANIFEST_COPY, Manifest};
use crate::error::{Error, Result};
use crate::signal::SignalKind;

/// Manifests fetched at once when the store is opened.
const OPEN_FETCHES: usize = 16;

/// How often a manifest whose bytes make no sense is fetched again: the fault may be the way's.
const MANIFEST_FETCHES: u32 = 3;

/// What lies in the store of one signal.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Manifests in no order, replaced blocks included.
    pub(crate) manifests: Vec<Manifest>,
    /// Stand-ins for those that cannot be read, see [`Manifest::unreadable`].
    pub(crate) unreadable: Vec<Manifest>,
    /// Folders without a manifest, with the time of their newest file in milliseconds.
    pub(crate) orphans: Vec<(ObjectPath, i64)>,
}

enum Fetched {
    Manifest(Box<Manifest>),
    /// Neither the manifest nor its copy says what the block is.
    Unreadable(Box<Manifest>),
    /// It was removed meanwhile.
    Gone,
}

impl BlockStore {
    /// Everything that lies there of a signal. Manifests that are known already are not fetched: they never change.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`; `NotOurs` when a newer version wrote a block.
    pub(crate) async fn list(
        &self,
        signal: SignalKind,
        known: &HashMap<String, Manifest>,
    ) -> Result<Listing> {
        let root = self.signal_folder(signal.as_str());
        let mut folders: BTreeMap<ObjectPath, (bool, i64)> = BTreeMap::new();
        for object in self.objects(&root, Patience::Upload).await? {
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
            let name = folder.parts().next_back();
            if !has_manifest {
                listing.orphans.push((folder, newest_ms));
            } else if let Some(manifest) = name.and_then(|n| known.get(n.as_ref())) {
                listing.manifests.push(manifest.clone());
            } else {
                visible.push(folder);
            }
        }
        let fetched: Vec<Result<Fetched>> = futures::stream::iter(visible)
            .map(|folder| self.fetch_manifest(folder))
            .buffer_unordered(OPEN_FETCHES)
            .collect()
            .await;
        for fetched in fetched {
            match fetched? {
                Fetched::Manifest(manifest) => listing.manifests.push(*manifest),
                Fetched::Unreadable(manifest) => listing.unreadable.push(*manifest),
                Fetched::Gone => {}
            }
        }
        Ok(listing)
    }

    /// The objects below a path.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`.
    pub(crate) async fn objects(
        &self,
        root: &ObjectPath,
        patience: Patience,
    ) -> Result<Vec<ObjectMeta>> {
        let list = || self.store.list(Some(root)).try_collect::<Vec<_>>();
        self.ask(Operation::List, root, patience, list).await
    }

    async fn fetch_manifest(&self, folder: ObjectPath) -> Result<Fetched> {
        let path = folder.clone().join(MANIFEST);
        let manifest = match self.read_manifest(&path).await {
            Ok(None) => return Ok(Fetched::Gone),
            Ok(Some(manifest)) => manifest,
            Err(e @ Error::Corrupt { .. }) => {
                self.damage.note(&self.label(&path), &e);
                let copy = self
                    .read_manifest(&folder.clone().join(MANIFEST_COPY))
                    .await;
                match copy {
                    Ok(Some(manifest)) => manifest,
                    Ok(None) | Err(Error::Corrupt { .. }) => {
                        let mut parts = folder.parts().rev();
                        let mut part = || {
                            parts
                                .next()
                                .map_or_else(String::new, |p| p.as_ref().to_owned())
                        };
                        // Of the characters of a tenant's name paths encode this one only.
                        let (ulid, tenant, signal) = (part(), part().replace("%2A", "*"), part());
                        let stand_in = Manifest::unreadable(&signal, &tenant, &ulid);
                        return Ok(Fetched::Unreadable(Box::new(stand_in)));
                    }
                    Err(e) => return Err(e),
                }
            }
            Err(e) => return Err(e),
        };
        if manifest.min_reader_version > READER_VERSION {
            return Err(Error::NotOurs(format!(
                "{} was written by a newer version (it asks for reader version {}, this program knows {READER_VERSION}): \
                 start the newer program again",
                self.label(&path),
                manifest.min_reader_version,
            )));
        }
        Ok(Fetched::Manifest(Box::new(manifest)))
    }

    /// A manifest, `None` when there is none.
    pub(super) async fn read_manifest(&self, path: &ObjectPath) -> Result<Option<Manifest>> {
        for n in 1.. {
            let Some(found) = self.get_small(path, Patience::Upload).await? else {
                return Ok(None);
            };
            match Manifest::decode(&found.bytes) {
                Ok(manifest) => return Ok(Some(manifest)),
                Err(_) if self.is_remote() && n < MANIFEST_FETCHES => {}
                Err(reason) => return Err(self.corrupt(path, 0, &reason)),
            }
        }
        Ok(None)
    }
}
