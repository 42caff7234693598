//! Reads of remote files by pages of fixed size, which the cache keeps. Missing pages that follow each
//! other are fetched in one request.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::path::Path as ObjectPath;
use ulid::Ulid;

use super::BlockStore;
use crate::block::cache::{Key, Slot};
use crate::error::{Error, Result};

/// Size of a page: below it a request costs more than its bytes.
const PAGE_BYTES: u64 = 256 * 1024;

pub(super) async fn read(
    store: &BlockStore,
    (block, file): (Ulid, u16),
    path: &ObjectPath,
    size: u64,
    ranges: Vec<Range<u64>>,
) -> Result<Vec<Bytes>> {
    let key = |page| Key {
        block,
        slot: Slot::Page(file, page),
    };
    let mut pages: BTreeMap<u64, Bytes> = BTreeMap::new();
    let mut missing: Vec<Range<u64>> = Vec::new();
    let mut wanted: Vec<u64> = ranges
        .iter()
        .filter(|r| !r.is_empty())
        .flat_map(|r| r.start / PAGE_BYTES..=(r.end - 1) / PAGE_BYTES)
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    for page in wanted {
        let kept = store.cache().get(&key(page)).map(Arc::downcast::<Bytes>);
        if let Some(Ok(bytes)) = kept {
            pages.insert(page, Bytes::clone(&bytes));
            continue;
        }
        match missing.last_mut() {
            Some(run) if run.end == page => run.end += 1,
            _ => missing.push(page..page + 1),
        }
    }
    let bytes_of = |run: &Range<u64>| run.start * PAGE_BYTES..(run.end * PAGE_BYTES).min(size);
    let spans: Vec<Range<u64>> = missing.iter().map(bytes_of).collect();
    let fetched = store.fetch_ranges(path, &spans).await?;
    for (run, content) in missing.into_iter().zip(fetched) {
        for page in run.clone() {
            let start = ((page - run.start) * PAGE_BYTES) as usize;
            let end = (start + PAGE_BYTES as usize).min(content.len());
            if start > end {
                return Err(short(path, page * PAGE_BYTES));
            }
            // A copy, so that a page which stays does not keep its whole run alive.
            let bytes = Bytes::copy_from_slice(content.get(start..end).unwrap_or_default());
            let held = bytes.len() as u64;
            store
                .cache()
                .put(key(page), Arc::new(Bytes::clone(&bytes)), held);
            pages.insert(page, bytes);
        }
    }
    ranges
        .into_iter()
        .map(|range| assemble(&pages, &range).ok_or_else(|| short(path, range.start)))
        .collect()
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
        (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
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

fn short(path: &ObjectPath, offset: u64) -> Error {
    Error::Corrupt {
        file: path.to_string(),
        offset,
        reason: "the object is shorter than its manifest says".to_owned(),
    }
}
