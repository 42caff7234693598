//! What a query sees: one label set once, over all generations of the head and all blocks of a view.
//!
//! Sources are asked from the oldest to the newest (blocks, frozen generations, the active one), and where two hold different values
//! for one time the older one wins.
//!
//! *Requests as a whole*: of a selection of up to [`WHOLE_SERIES`] series of a generation the open chunks are copied in one moment in which no
//! request is half applied. A larger selection is copied batch by batch, so that writers never wait long: there, series of different batches may see
//! a request that came in while the query ran, or not, and what a deletion takes out of the head meanwhile. Of blocks each query sees what its view
//! says, deletions included; [`crate::generation::SignalStore::select`] keeps a small selection from seeing half of one.

mod entries;
mod labels;

use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;
use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::MetricsHead;
use super::block::{Hidden, OpenBlock, Pages, SeriesEntry};
use super::head::TenantHead;
use super::runs::{Run, merge};
use crate::budget::{Budget, Reservation};
use crate::error::Result;
use crate::model::{Labels, Matcher, MsRange, SampleBuf, Tenant};
use crate::read::{ReadError, Series, SeriesBatch, SeriesSelect};
use crate::signal::{TimeSpan, View};
use crate::storage::SeriesSet;

use entries::{Drain, Entry};
pub(super) use entries::{Entries, Place};
pub(crate) use labels::{exemplars, label_names, label_values, metadata, series_labels};

/// Series of a batch, and rows of blocks after which a batch ends early.
const BATCH_SERIES: usize = 512;
const BATCH_ROWS: u64 = 1 << 20;
/// Rows of blocks that a selection may have for its pages to be kept.
const KEPT_ROWS: u64 = 1 << 19;
/// Series that a selection copies in one moment.
const WHOLE_SERIES: u64 = 4096;

/// A place that holds series.
#[derive(Debug)]
pub(super) enum Source {
    Head(Arc<TenantHead>),
    Block(OpenBlock),
}

/// Samples of a series that are at hand.
#[derive(Debug)]
enum Part {
    Run(Run),
    Rows {
        pages: Arc<Pages>,
        rows: Range<u64>,
    },
    /// Some of them are deleted.
    Partly(Box<Self>, Hidden),
}

/// One series of a selection.
#[derive(Debug)]
pub(super) struct Selected {
    labels: Labels,
    range: MsRange,
    parts: SmallVec<[Part; 1]>,
    /// Its share of the pages of its batch that nobody has unpacked yet.
    packed_bytes: usize,
    /// Of its batch; given back with the last of its series.
    reservation: Option<Arc<Reservation>>,
}

impl Selected {
    /// Its samples, in an empty buffer.
    pub(super) fn read(&self, out: &mut SampleBuf) -> Result<(), ReadError> {
        if let [part] = &self.parts[..] {
            return part.read(self.range, out);
        }
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut samples = SampleBuf::default();
            part.read(self.range, &mut samples)?;
            parts.push(samples);
        }
        merge(&mut parts, out);
        Ok(())
    }

    fn part_bytes(&self) -> usize {
        self.parts.iter().map(Part::held_bytes).sum()
    }
}

impl Part {
    /// Its samples, in an empty buffer.
    fn read(&self, range: MsRange, out: &mut SampleBuf) -> Result<(), ReadError> {
        match self {
            Self::Run(run) => run.read(range, out),
            Self::Rows { pages, rows } => pages.read(rows, range, out),
            Self::Partly(part, hidden) => {
                part.read(range, out)?;
                out.remove(hidden);
                Ok(())
            }
        }
    }

    fn hiding(self, hidden: Hidden) -> Self {
        match hidden.is_empty() {
            true => self,
            false => Self::Partly(Box::new(self), hidden),
        }
    }

    fn pages(&self) -> Option<&Arc<Pages>> {
        match self {
            Self::Run(_) => None,
            Self::Rows { pages, .. } => Some(pages),
            Self::Partly(part, _) => part.pages(),
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Self::Run(run) => run.held_bytes(),
            Self::Rows { rows, .. } => (rows.end - rows.start) as usize * 4,
            Self::Partly(part, hidden) => part.held_bytes() + size_of_val(&hidden[..]),
        }
    }
}

impl Series for Selected {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn samples(&self, out: &mut SampleBuf) -> Result<(), ReadError> {
        out.clear();
        self.read(out)
    }

    fn held_bytes(&self) -> usize {
        self.labels.as_bytes().len() + size_of::<Self>() + self.part_bytes()
    }

    fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }
}

/// See [`crate::Storage::select_series`].
pub(crate) async fn select_series(
    view: Arc<View<MetricsHead>>,
    budget: &Arc<Budget>,
    tenant: &Tenant,
    select: &SeriesSelect,
) -> Result<SeriesSet> {
    let range = select.range;
    let sources = sources(&view, tenant, range).await?;
    let mut entries = Entries::new(sources.len(), budget.reserve("query", 0)?);
    for (at, source) in sources.iter().enumerate() {
        match source {
            Source::Block(block) => {
                let mut pushed = Ok(());
                let push = |id, entry: &SeriesEntry| {
                    if pushed.is_ok() {
                        pushed = entries.push(entry.labels.clone(), Place::of_block(at, id, entry));
                    }
                };
                block.select(&select.matchers, range, push).await?;
                pushed?;
            }
            Source::Head(head) => head.select_into(&select.matchers, range, at, &mut entries)?,
        }
    }
    let rest = entries.drain()?;
    let state = Selection {
        // Blocks are removed when no view holds them any more.
        _view: view,
        budget: Arc::clone(budget),
        sources,
        keeps: rest.block_rows().is_some_and(|rows| rows <= KEPT_ROWS),
        rest,
        range,
    };
    let batches = futures::stream::try_unfold(state, |mut state| async move {
        let batch = state.next_batch().await?;
        Ok(batch.map(|batch| (batch, state)))
    });
    Ok(SeriesSet(batches.boxed()))
}

/// A selection that is being read.
struct Selection {
    _view: Arc<View<MetricsHead>>,
    budget: Arc<Budget>,
    sources: Vec<Source>,
    rest: Drain,
    range: MsRange,
    /// Whether pages of blocks are worth keeping for the next selection.
    keeps: bool,
}

impl Selection {
    async fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        let entries = self.rest.next(&self.sources, BATCH_SERIES, BATCH_ROWS);
        let entries = entries.await?;
        if entries.is_empty() {
            return Ok(None);
        }
        let mut batch = load(&self.sources, entries, self.range, self.keeps).await?;
        let pages = pages_of(&batch);
        let bytes: usize = batch.iter().map(Series::held_bytes).sum::<usize>()
            + pages.iter().map(|p| p.held_bytes()).sum::<usize>();
        let packed: usize = pages.iter().map(|p| p.packed_bytes()).sum();
        let reservation = Arc::new(self.budget.reserve("query", bytes as u64)?);
        let share = packed / batch.len().max(1);
        for series in &mut batch {
            series.packed_bytes = share;
            series.reservation = Some(Arc::clone(&reservation));
        }
        let boxed = |s: Selected| -> Box<dyn Series> { Box::new(s) };
        Ok(Some(batch.into_iter().map(boxed).collect()))
    }
}

/// The pages that the series of a batch share, each once.
fn pages_of(batch: &[Selected]) -> SmallVec<[Arc<Pages>; 2]> {
    let mut found: SmallVec<[Arc<Pages>; 2]> = SmallVec::new();
    for pages in batch.iter().flat_map(|s| &s.parts).filter_map(Part::pages) {
        if !found.iter().any(|f| Arc::ptr_eq(f, pages)) {
            found.push(Arc::clone(pages));
        }
    }
    found
}

/// The sources of a tenant's samples within a range, oldest first.
async fn sources(view: &View<MetricsHead>, tenant: &Tenant, range: MsRange) -> Result<Vec<Source>> {
    let span = TimeSpan {
        min: range.min_ms,
        max: range.max_ms,
    };
    let mut sources = Vec::new();
    for block in view.blocks_of(tenant, span) {
        sources.push(Source::Block(
            OpenBlock::open(block, &view.tombstones).await?,
        ));
    }
    let heads = view.generations().filter_map(|g| g.tenant(tenant));
    sources.extend(heads.map(Source::Head));
    Ok(sources)
}

/// Brings the samples of label sets together: copies chunks of heads and fetches pages of blocks, which are kept for the next
/// selection where `keeps` says so.
pub(super) async fn load(
    sources: &[Source],
    entries: impl IntoIterator<Item = Entry>,
    range: MsRange,
    keeps: bool,
) -> Result<Vec<Selected>> {
    // Per entry and place: ids are resolved source by source, so that each is asked once.
    let mut parts: Vec<SmallVec<[(usize, Part); 1]>> = Vec::new();
    let mut in_heads: Vec<Vec<(usize, u32)>> = sources.iter().map(|_| Vec::new()).collect();
    let mut in_blocks: Vec<Vec<WantedRows>> = sources.iter().map(|_| Vec::new()).collect();
    let mut labels = Vec::new();
    for (i, entry) in entries.into_iter().enumerate() {
        let mut own = SmallVec::new();
        for place in entry.places {
            match place {
                Place::Id { at, id } => {
                    if let Some(list) = in_heads.get_mut(at) {
                        list.push((i, id));
                    }
                }
                Place::Rows {
                    at,
                    id,
                    samples,
                    histograms,
                } => {
                    if let Some(list) = in_blocks.get_mut(at) {
                        list.push(WantedRows {
                            entry: i,
                            id,
                            samples,
                            histograms,
                        });
                    }
                }
                // Heads come after all blocks.
                Place::Copied { runs, .. } => {
                    own.extend(runs.into_iter().map(|r| (usize::MAX, Part::Run(r))));
                }
            }
        }
        parts.push(own);
        labels.push(entry.labels);
    }
    let wanted = std::iter::zip(in_heads, in_blocks);
    for (at, (source, (ids, rows))) in std::iter::zip(sources, wanted).enumerate() {
        match source {
            Source::Head(head) if !ids.is_empty() => head.copy_into(&ids, range, at, &mut parts),
            Source::Block(block) if !rows.is_empty() => {
                fetch_into(block, rows, at, keeps, &mut parts).await?;
            }
            _ => {}
        }
    }
    let selected = |(labels, mut parts): (Labels, SmallVec<[(usize, Part); 1]>)| {
        // Stable: several parts of one source stay in their order.
        parts.sort_by_key(|(at, _)| *at);
        Selected {
            labels,
            range,
            parts: parts.into_iter().map(|(_, part)| part).collect(),
            packed_bytes: 0,
            reservation: None,
        }
    };
    Ok(std::iter::zip(labels, parts).map(selected).collect())
}

/// Rows of a block that belong to an entry.
struct WantedRows {
    entry: usize,
    id: u32,
    samples: Range<u64>,
    histograms: Range<u64>,
}

async fn fetch_into(
    block: &OpenBlock,
    mut wanted: Vec<WantedRows>,
    at: usize,
    keeps: bool,
    parts: &mut [SmallVec<[(usize, Part); 1]>],
) -> Result<()> {
    // Ids ascend with rows.
    wanted.sort_unstable_by_key(|w| w.id);
    let rows: Vec<_> = wanted.iter().map(|w| w.samples.clone()).collect();
    if rows.iter().any(|r| !r.is_empty()) {
        let pages = block.pages(&rows, keeps).await?;
        for (w, rows) in std::iter::zip(&wanted, rows) {
            if let Some(list) = parts.get_mut(w.entry)
                && !rows.is_empty()
            {
                let pages = Arc::clone(&pages);
                let part = Part::Rows { pages, rows };
                list.push((at, part.hiding(block.hidden(w.id))));
            }
        }
    }
    let rows: Vec<_> = wanted.iter().map(|w| w.histograms.clone()).collect();
    if rows.iter().any(|r| !r.is_empty()) {
        let runs = block.histograms(&rows).await?;
        for (w, run) in std::iter::zip(&wanted, runs) {
            if let Some(list) = parts.get_mut(w.entry)
                && !run.0.is_empty()
            {
                list.push((at, Part::Run(run).hiding(block.hidden(w.id))));
            }
        }
    }
    Ok(())
}

impl TenantHead {
    /// The ids that pass all matchers and may have a sample in the range.
    fn select_ids(&self, matchers: &[Matcher], range: MsRange) -> RoaringBitmap {
        let catalog = self.catalog.read();
        let in_range = |id: &u32| {
            catalog
                .series
                .get(*id as usize)
                .is_some_and(|s| s.state.lock().overlaps(range))
        };
        let found = catalog.index.select(matchers);
        found.iter().filter(in_range).collect()
    }

    fn sort_for(&self, matchers: &[Matcher]) {
        // Sorting saves time and is not needed: nobody waits for it, and it waits for nobody.
        if self.catalog.read().index.wants_sort_for(matchers)
            && let Some(mut catalog) = self.catalog.try_write()
        {
            catalog.index.sort_for(matchers);
        }
    }

    /// Adds the series of a selection: with their samples where there are few, else by their ids.
    fn select_into(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        at: usize,
        out: &mut Entries,
    ) -> Result<()> {
        self.sort_for(matchers);
        let series_before = self.catalog.read().series.len();
        let mut ids = self.select_ids(matchers, range);
        let whole = (ids.len() <= WHOLE_SERIES).then(|| self.gate.write());
        if whole.is_some() {
            // The look-up was done while writers went on; what they added or widened since is looked up again.
            ids = self.refresh(ids, series_before, matchers, range);
        }
        let catalog = self.catalog.read();
        for id in &ids {
            let place = match (&whole, catalog.series.get(id as usize)) {
                (Some(_), Some(series)) => Place::Copied {
                    at,
                    id,
                    runs: series.state.lock().snapshot(range),
                },
                _ => Place::Id { at, id },
            };
            out.push(catalog.index.labels(id), place)?;
        }
        Ok(())
    }

    /// Brings a look-up up to date while no writer is at work.
    fn refresh(
        &self,
        ids: RoaringBitmap,
        series_before: usize,
        matchers: &[Matcher],
        range: MsRange,
    ) -> RoaringBitmap {
        let now = self.times();
        let all_in = range.min_ms <= now.min && now.max <= range.max_ms;
        let unchanged = self.catalog.read().series.len() == series_before;
        // With a range that ends in the midst of the head a known series may have got its first sample in it.
        if unchanged && (all_in || ids.len() >= self.catalog.read().series.len() as u64) {
            return ids;
        }
        self.select_ids(matchers, range)
    }

    /// Copies the samples of series, all in one moment.
    fn copy_into(
        &self,
        ids: &[(usize, u32)],
        range: MsRange,
        at: usize,
        parts: &mut [SmallVec<[(usize, Part); 1]>],
    ) {
        let _whole = self.gate.write();
        let catalog = self.catalog.read();
        for (i, id) in ids {
            if let (Some(series), Some(list)) =
                (catalog.series.get(*id as usize), parts.get_mut(*i))
            {
                let runs = series.state.lock().snapshot(range);
                list.extend(runs.into_iter().map(|r| (at, Part::Run(r))));
            }
        }
    }
}
