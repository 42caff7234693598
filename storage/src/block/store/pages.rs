//! Reads of remote files by pages of fixed size, which memory and local disk keep. Missing pages that follow each
//! other are fetched in one request.
//!
//! Nothing is kept or answered before its length and its checksums were looked at: a body that broke off, or was
//! changed on its way, is fetched again; only where that does not help the object itself is at fault.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{Error as StoreError, ObjectStoreExt};
use ulid::Ulid;

use super::health::Operation;
use super::retry::Patience;
use super::{BlockStore, part_of};
use crate::block::cache::{Key, Slot};
use crate::block::checksum::PIECE_BYTES;
use crate::block::manifest::ManifestFile;
use crate::error::{Error, Result};

/// Size of a page: below it a request costs more than its bytes.
const PAGE_BYTES: u64 = 8 * PIECE_BYTES;

/// How often bytes are fetched that are not what was written.
const ATTEMPTS: u32 = 3;

/// Requests on their way at once, of one read.
const FETCHES_AT_ONCE: usize = 4;

pub(super) async fn read(
    store: &BlockStore,
    (block, number): (Ulid, u16),
    path: &ObjectPath,
    file: &ManifestFile,
    ranges: Vec<Range<u64>>,
) -> Result<Vec<Bytes>> {
    let key = |page| Key {
        block,
        slot: Slot::Page(number, page),
    };
    let mut pages: BTreeMap<u64, Bytes> = BTreeMap::new();
    let mut missing: Vec<u64> = Vec::new();
    let mut wanted: Vec<u64> = ranges
        .iter()
        .filter(|r| !r.is_empty())
        .flat_map(|r| r.start / PAGE_BYTES..=(r.end - 1) / PAGE_BYTES)
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    for page in wanted {
        let kept = store.cache().get(&key(page)).map(Arc::downcast::<Bytes>);
        match kept {
            Some(Ok(bytes)) => drop(pages.insert(page, Bytes::clone(&bytes))),
            _ => missing.push(page),
        }
    }
    let mut found = from_disk(store, (block, number), file, missing.clone()).await;
    missing.retain(|page| !found.contains_key(page));
    let mut runs: Vec<Range<u64>> = Vec::new();
    for page in missing {
        match runs.last_mut() {
            Some(run) if run.end == page => run.end += 1,
            _ => runs.push(page..page + 1),
        }
    }
    let bytes_of =
        |run: &Range<u64>| run.start * PAGE_BYTES..(run.end * PAGE_BYTES).min(file.bytes);
    let spans: Vec<Range<u64>> = runs.iter().map(bytes_of).collect();
    let mut fetched = BTreeMap::new();
    for (run, content) in std::iter::zip(runs, fetch(store, path, file, &spans).await?) {
        for page in run.clone() {
            let start = ((page - run.start) * PAGE_BYTES) as usize;
            let end = (start + PAGE_BYTES as usize).min(content.len());
            // A copy, so that a page which stays does not keep its whole run alive.
            let bytes = Bytes::copy_from_slice(content.get(start..end).unwrap_or_default());
            fetched.insert(page, bytes);
        }
    }
    to_disk(store, (block, number), file, fetched.clone()).await;
    found.append(&mut fetched);
    for (page, bytes) in found {
        let held = bytes.len() as u64;
        store
            .cache()
            .put(key(page), Arc::new(Bytes::clone(&bytes)), held);
        pages.insert(page, bytes);
    }
    ranges
        .into_iter()
        .map(|range| assemble(&pages, &range).ok_or_else(|| short(store, path, range.start)))
        .collect()
}

/// Those pages that local disk has.
async fn from_disk(
    store: &BlockStore,
    (block, number): (Ulid, u16),
    file: &ManifestFile,
    pages: Vec<u64>,
) -> BTreeMap<u64, Bytes> {
    let Some(disk) = store.disk().map(Arc::clone).filter(|_| !pages.is_empty()) else {
        return BTreeMap::new();
    };
    let file = file.clone();
    let read = move || {
        let read = |page: u64| {
            let range = page * PAGE_BYTES..((page + 1) * PAGE_BYTES).min(file.bytes);
            Some((page, disk.read(block, number, (page, range), &file)?))
        };
        pages.into_iter().filter_map(read).collect()
    };
    // It fails only where the process ends.
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

async fn to_disk(
    store: &BlockStore,
    (block, number): (Ulid, u16),
    file: &ManifestFile,
    pages: BTreeMap<u64, Bytes>,
) {
    let Some(disk) = store.disk().map(Arc::clone).filter(|_| !pages.is_empty()) else {
        return;
    };
    let file = file.clone();
    let keep = move || {
        for (page, bytes) in pages {
            disk.put(block, number, page, &file, &bytes);
        }
    };
    let _ = tokio::task::spawn_blocking(keep).await;
}

/// Fetches spans, and answers them when they are what was written.
async fn fetch(
    store: &BlockStore,
    path: &ObjectPath,
    file: &ManifestFile,
    spans: &[Range<u64>],
) -> Result<Vec<Bytes>> {
    // Boxed: the compiler does not see through futures that borrow within a stream.
    let mut fetches = Vec::with_capacity(spans.len());
    for span in spans {
        fetches.push(fetch_one(store, path, file, span).boxed());
    }
    futures::stream::iter(fetches)
        .buffered(FETCHES_AT_ONCE)
        .try_collect()
        .await
}

async fn fetch_one(
    store: &BlockStore,
    path: &ObjectPath,
    file: &ManifestFile,
    span: &Range<u64>,
) -> Result<Bytes> {
    let mut attempt = 1;
    loop {
        let fetched = store.fetch(path, span).await?;
        match check(store, path, file, span, &fetched) {
            Ok(()) => return Ok(fetched),
            Err(e) if attempt < ATTEMPTS => {
                tracing::warn!(file = %path, error = %e, attempt, "a read was not what was written; trying again");
            }
            Err(e) => return Err(e),
        }
        attempt += 1;
    }
}

fn check(
    store: &BlockStore,
    path: &ObjectPath,
    file: &ManifestFile,
    span: &Range<u64>,
    fetched: &Bytes,
) -> Result<()> {
    let read = fetched.len() as u64;
    if read != span.end - span.start {
        return Err(short(store, path, span.start + read));
    }
    file.crc32c_32k
        .verify(span.start, fetched)
        .map_err(|at| store.corrupt(path, at, "its checksum does not match"))
}

impl BlockStore {
    /// A range of an object, of whatever length was answered.
    async fn fetch(&self, path: &ObjectPath, span: &Range<u64>) -> Result<Bytes> {
        let get = || async move {
            match self.store.get_range(path, span.clone()).await {
                // What an object ends before is not to be had, however often it is asked for.
                Err(e @ StoreError::Generic { .. }) => match self.store.head(path).await {
                    Ok(found) if found.size < span.end => Ok(Err(found.size)),
                    _ => Err(e),
                },
                result => result.map(Ok),
            }
        };
        let result = self.ask(Operation::Get, path, Patience::Query, get).await;
        match result {
            Ok(Ok(fetched)) => {
                let bytes = fetched.len() as u64;
                let counter = &self.health.fetched_bytes;
                counter.fetch_add(bytes, Ordering::Relaxed);
                Ok(fetched)
            }
            Ok(Err(size)) => Err(short(self, path, size)),
            Err(Error::ObjectStore(StoreError::NotFound { .. })) => {
                Err(self.corrupt(path, 0, "the file is not there"))
            }
            Err(e) => Err(e),
        }
    }
}

fn assemble(pages: &BTreeMap<u64, Bytes>, range: &Range<u64>) -> Option<Bytes> {
    if range.is_empty() {
        return Some(Bytes::new());
    }
    let (first, last) = (range.start / PAGE_BYTES, (range.end - 1) / PAGE_BYTES);
    let part = |page: u64| {
        let base = page * PAGE_BYTES;
        let bytes = pages.get(&page)?;
        let start = range.start.saturating_sub(base) as usize;
        let end = (range.end - base).min(PAGE_BYTES) as usize;
        (start <= end && end <= bytes.len()).then(|| part_of(bytes, start..end))
    };
    if first == last {
        return part(first);
    }
    let mut whole = BytesMut::with_capacity((range.end - range.start) as usize);
    for page in first..=last {
        whole.extend_from_slice(&part(page)?);
    }
    Some(whole.freeze())
}

fn short(store: &BlockStore, path: &ObjectPath, offset: u64) -> Error {
    store.corrupt(path, offset, "the file ends too early")
}
