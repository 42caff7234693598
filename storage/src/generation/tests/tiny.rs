//! The smallest head: a list of numbered items a tenant. Every item counts, so a loss and a double both show.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::block::Block;
use crate::error::{Error, Result};
use crate::model::Tenant;
use crate::signal::{
    Applied, BlockFiles, BlockStats, DaySet, Head, HeadOptions, SignalKind, TimeSpan, View,
};
use crate::storage::HeadStats;
use crate::tombstone::Tombstones;

const FILE: &str = "items";

/// Time and number.
pub(super) type Item = (i64, u64);

/// A number of which no more than two blocks can be merged at once: memory runs short.
pub(super) const HEAVY: u64 = 1 << 40;

#[derive(Default)]
pub(super) struct TinyHead {
    items: Mutex<BTreeMap<Tenant, (DaySet, Vec<Item>)>>,
    /// What no block holds.
    note: Mutex<Option<String>>,
}

pub(super) fn encode(items: &[Item]) -> Vec<u8> {
    items
        .iter()
        .flat_map(|(t, n)| t.to_le_bytes().into_iter().chain(n.to_le_bytes()))
        .collect()
}

pub(super) fn decode(bytes: &[u8]) -> Vec<Item> {
    bytes
        .chunks_exact(16)
        .map(|c| {
            let (t, n) = c.split_at(8);
            (
                i64::from_le_bytes(t.try_into().unwrap()),
                u64::from_le_bytes(n.try_into().unwrap()),
            )
        })
        .collect()
}

impl TinyHead {
    /// Takes everything but odd numbers above a thousand.
    pub(super) fn append(&self, tenant: &Tenant, batch: &[Item]) -> Applied<usize> {
        let is_refused = |n: u64| n > 1000 && n % 2 == 1;
        let refused: Vec<u32> = (0u32..)
            .zip(batch)
            .filter(|(_, (_, n))| is_refused(*n))
            .map(|(i, _)| i)
            .collect();
        self.replay(tenant, batch, &refused);
        let taken = batch.len() - refused.len();
        Applied {
            report: taken,
            refused,
            taken: taken as u64,
            changed: taken > 0,
        }
    }

    pub(super) fn replay(&self, tenant: &Tenant, batch: &[Item], refused: &[u32]) {
        let mut items = self.items.lock();
        let (days, list) = items.entry(tenant.clone()).or_default();
        for (i, item) in (0u32..).zip(batch) {
            if !refused.contains(&i) {
                days.add(SignalKind::Metrics, item.0);
                list.push(*item);
            }
        }
    }

    pub(super) fn set_note(&self, note: &str) {
        *self.note.lock() = Some(note.to_owned());
    }

    pub(super) fn note(&self) -> Option<String> {
        self.note.lock().clone()
    }
}

/// All items of a tenant in a view, sorted.
pub(super) async fn items(view: &View<TinyHead>, tenant: &Tenant) -> Vec<Item> {
    try_items(view, tenant).await.unwrap()
}

pub(super) async fn try_items(view: &View<TinyHead>, tenant: &Tenant) -> Result<Vec<Item>> {
    let mut all = Vec::new();
    for head in view.generations() {
        if let Some((_, list)) = head.items.lock().get(tenant) {
            all.extend(list);
        }
    }
    let ever = TimeSpan {
        min: i64::MIN,
        max: i64::MAX,
    };
    for block in view.blocks_of(tenant, ever) {
        all.extend(block_items(&block).await?);
    }
    all.sort_unstable();
    Ok(all)
}

async fn block_items(block: &Block) -> Result<Vec<Item>> {
    let bytes = block.read(FILE, 0..block.file_size(FILE)?).await?;
    Ok(decode(&bytes))
}

fn write(items: &[Item], files: &mut dyn BlockFiles) -> Result<Option<BlockStats>> {
    let (Some(min), Some(max)) = (
        items.iter().map(|i| i.0).min(),
        items.iter().map(|i| i.0).max(),
    ) else {
        return Ok(None);
    };
    let mut file = files.create(FILE)?;
    file.write_all(&encode(items)).map_err(Error::io(FILE))?;
    Ok(Some(BlockStats {
        rows: items.len() as u64,
        groups: 1,
        min_time: min,
        max_time: max,
        raw_bytes: items.len() as u64 * 16,
    }))
}

#[async_trait]
impl Head for TinyHead {
    const SIGNAL: SignalKind = SignalKind::Metrics;

    fn new(_options: HeadOptions, before: Option<&Self>) -> Self {
        Self {
            items: Mutex::default(),
            note: Mutex::new(before.and_then(Self::note)),
        }
    }

    fn is_empty(&self) -> bool {
        self.items.lock().is_empty()
    }

    fn held_bytes(&self) -> u64 {
        self.items
            .lock()
            .values()
            .map(|(_, list)| list.len() as u64 * 1000)
            .sum()
    }

    fn tenants(&self) -> Vec<Tenant> {
        self.items.lock().keys().cloned().collect()
    }

    fn days(&self, tenant: &Tenant) -> Vec<i64> {
        let items = self.items.lock();
        items
            .get(tenant)
            .map(|(days, _)| days.to_vec())
            .unwrap_or_default()
    }

    fn stats(&self, _tenant: Option<&Tenant>) -> HeadStats {
        HeadStats::default()
    }

    fn remembered(&self) -> Option<Vec<u8>> {
        self.note().map(String::into_bytes)
    }

    fn remember(&self, bytes: &[u8]) -> Result<()> {
        self.set_note(std::str::from_utf8(bytes).unwrap());
        Ok(())
    }

    const SNAPSHOTS: bool = true;

    fn snapshot(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for (tenant, (_, list)) in self.items.lock().iter() {
            let mut frame = vec![tenant.as_str().len() as u8];
            frame.extend_from_slice(tenant.as_str().as_bytes());
            frame.extend_from_slice(&encode(list));
            each(&frame)?;
        }
        Ok(())
    }

    fn restore(&self, frame: &[u8], wanted: &dyn Fn(&Tenant) -> bool) -> Result<()> {
        let (name, items) = frame[1..].split_at(usize::from(frame[0]));
        let tenant = Tenant::new(std::str::from_utf8(name).unwrap()).unwrap();
        if wanted(&tenant) {
            self.replay(&tenant, &decode(items), &[]);
        }
        Ok(())
    }

    fn write_block(
        &self,
        tenant: &Tenant,
        span: TimeSpan,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>> {
        let items = self.items.lock();
        let list = items.get(tenant).map(|(_, list)| list.as_slice());
        let within: Vec<Item> = list
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|(t, _)| span.min <= *t && *t <= span.max)
            .collect();
        write(&within, files)
    }

    const MERGE_BYTES: u64 = 12_000;

    async fn merge_blocks(
        blocks: &[Arc<Block>],
        drop_before: Option<i64>,
        _tombstones: &Tombstones,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>> {
        let mut all = Vec::new();
        for block in blocks {
            all.extend(block_items(block).await?);
        }
        if blocks.len() > 2 && all.iter().any(|(_, number)| *number == HEAVY) {
            return Err(Error::MemoryLimit {
                what: "compaction",
                used_bytes: 2,
                limit_bytes: 1,
            });
        }
        all.retain(|(t, _)| drop_before.is_none_or(|cutoff| *t >= cutoff));
        write(&all, files)
    }
}
