//! What a query sees: pages of all generations of the head and all blocks of a view, in the asked order.
//!
//! Invariant: an entry comes once. Within a generation or block it is held once; where pages of a stream in two of them
//! overlap in time, the later one leaves out what the earlier one holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;

use super::LogsHead;
use super::block::{self, BlockPage, BlockReader};
use super::head::HeadPage;
use super::page::key;
use crate::budget::{Budget, Reservation};
use crate::error::Result;
use crate::model::{EntryBuf, Labels, Matcher, NsRange, Stream, StreamRef, Tenant};
use crate::read::{Direction, LogPage, LogSelect, ReadError};
use crate::signal::{TimeSpan, View};
use crate::storage::{LogPages, LogStats};

/// Where the entries of a page are.
#[derive(Clone)]
enum Place {
    Head(HeadPage),
    Block { at: usize, page: BlockPage },
}

/// A page that answers a selection.
#[derive(Clone)]
struct Candidate {
    stream: StreamRef,
    /// Rank of its generation or block, the oldest first.
    source: usize,
    min_ns: i64,
    max_ns: i64,
    place: Place,
    /// Candidates of older sources that may hold some of the same entries.
    older: Vec<usize>,
}

/// Bytes of text that are read from blocks at once: little at first, because a query with a limit may stop after a page; then more, because
/// pages of streams that lie side by side share what has to be decompressed.
const FIRST_READ_BYTES: usize = 256 << 10;
const MAX_READ_BYTES: usize = 8 << 20;

/// A page of an answer.
enum Content {
    Head(HeadPage),
    Read(EntryBuf),
}

struct SelectedPage {
    stream: StreamRef,
    bounds_ns: (i64, i64),
    range: NsRange,
    content: Content,
    /// Entries that an older page holds.
    hidden: HashSet<u64>,
    _held: Reservation,
}

impl LogPage for SelectedPage {
    fn stream(&self) -> &StreamRef {
        &self.stream
    }

    fn bounds_ns(&self) -> (i64, i64) {
        self.bounds_ns
    }

    fn entries(&self, out: &mut EntryBuf) -> Result<(), ReadError> {
        out.clear();
        let wanted = |t| self.range.contains(t);
        if self.hidden.is_empty()
            && let Content::Head(page) = &self.content
        {
            return page.read(wanted, out);
        }
        let mut read = EntryBuf::default();
        let all = match &self.content {
            Content::Head(page) => {
                page.read(wanted, &mut read)?;
                &read
            }
            Content::Read(buf) => buf,
        };
        for e in all.iter() {
            if !self.hidden.contains(&key(e.t_ns(), e.line())) {
                out.push(e.t_ns(), e.line(), e.metadata());
            }
        }
        Ok(())
    }

    fn held_bytes(&self) -> usize {
        self.content.held_bytes()
    }
}

impl Content {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Head(page) => page.held_bytes(),
            Self::Read(buf) => buf.text_bytes() + buf.len() * 32,
        }
    }
}

fn span_of(range: NsRange) -> TimeSpan {
    TimeSpan {
        min: range.start_ns,
        max: match range.end_ns {
            i64::MAX => i64::MAX,
            end => end.saturating_sub(1),
        },
    }
}

/// See [`crate::Storage::select_logs`].
pub(crate) async fn select_logs(
    view: Arc<View<LogsHead>>,
    budget: &Arc<Budget>,
    tenant: &Tenant,
    select: &LogSelect,
) -> Result<LogPages> {
    let range = select.range;
    let mut blocks = Vec::new();
    let mut streams: HashMap<Labels, StreamRef> = HashMap::new();
    let mut candidates = Vec::new();
    let mut source = 0;
    for block in view.blocks_of(tenant, span_of(range)) {
        let index = block::index(&block).await?;
        let found = index.index.select(&select.matchers);
        if found.is_empty() {
            continue;
        }
        let at = blocks.len();
        for id in &found {
            for page in index.pages(id) {
                if range.overlaps(page.min_ns, page.max_ns) {
                    candidates.push(Candidate {
                        stream: stream_of(&mut streams, &index.streams[id as usize]),
                        source,
                        min_ns: page.min_ns,
                        max_ns: page.max_ns,
                        place: Place::Block { at, page: *page },
                        older: Vec::new(),
                    });
                }
            }
        }
        blocks.push(BlockReader::open(&block).await?);
        source += 1;
    }
    for head in view.generations().filter_map(|g| g.tenant(tenant)) {
        for found in head.select(std::slice::from_ref(&select.matchers), range) {
            let stream = stream_of(&mut streams, &found.labels);
            for page in found.pages {
                let (min_ns, max_ns) = page.bounds_ns();
                candidates.push(Candidate {
                    stream: Arc::clone(&stream),
                    source,
                    min_ns,
                    max_ns,
                    place: Place::Head(page),
                    older: Vec::new(),
                });
            }
        }
        source += 1;
    }
    if source > 1 {
        find_older(&mut candidates);
    }
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    match select.direction {
        Direction::Forward => order.sort_by_key(|&i| candidates[i].min_ns),
        Direction::Backward => order.sort_by_key(|&i| std::cmp::Reverse(candidates[i].max_ns)),
    }
    let held = candidates.len() * (size_of::<Candidate>() + 16);
    let state = Selection {
        _held: budget.reserve("log query", held as u64)?,
        budget: Arc::clone(budget),
        _view: view,
        blocks,
        candidates,
        order: order.into_iter(),
        range,
        ready: HashMap::new(),
        read_bytes: FIRST_READ_BYTES,
    };
    let pages = futures::stream::try_unfold(state, |mut state| async move {
        let page = state.next_page().await?;
        Ok(page.map(|page| (page, state)))
    });
    Ok(LogPages(pages.boxed()))
}

fn stream_of(streams: &mut HashMap<Labels, StreamRef>, labels: &Labels) -> StreamRef {
    if let Some(known) = streams.get(labels) {
        return Arc::clone(known);
    }
    let made = Arc::new(Stream {
        labels: labels.clone(),
    });
    streams.insert(labels.clone(), Arc::clone(&made));
    made
}

/// Notes for each candidate those of older sources, of the same stream, that overlap with it in time.
fn find_older(candidates: &mut [Candidate]) {
    let mut by_stream: HashMap<*const Stream, Vec<usize>> = HashMap::new();
    for (i, c) in candidates.iter().enumerate() {
        by_stream.entry(Arc::as_ptr(&c.stream)).or_default().push(i);
    }
    for mut list in by_stream.into_values() {
        list.sort_by_key(|&i| candidates[i].min_ns);
        // The latest end of a candidate and all before it: where it lies before a page, nothing earlier overlaps.
        let mut ends = Vec::with_capacity(list.len());
        let mut end = i64::MIN;
        for &i in &list {
            end = end.max(candidates[i].max_ns);
            ends.push(end);
        }
        for &i in &list {
            let (source, min, max) = {
                let c = &candidates[i];
                (c.source, c.min_ns, c.max_ns)
            };
            let upto = list.partition_point(|&j| candidates[j].min_ns <= max);
            let mut older = Vec::new();
            for k in (0..upto).rev() {
                if ends[k] < min {
                    break;
                }
                let other = &candidates[list[k]];
                if other.source < source && other.max_ns >= min {
                    older.push(list[k]);
                }
            }
            candidates[i].older = older;
        }
    }
}

/// A selection that is being read.
struct Selection {
    _held: Reservation,
    budget: Arc<Budget>,
    /// Blocks are removed when no view holds them any more.
    _view: Arc<View<LogsHead>>,
    blocks: Vec<BlockReader>,
    candidates: Vec<Candidate>,
    order: std::vec::IntoIter<usize>,
    range: NsRange,
    /// Pages of blocks that were read ahead, by candidate.
    ready: HashMap<usize, (EntryBuf, Reservation)>,
    read_bytes: usize,
}

impl Selection {
    async fn next_page(&mut self) -> Result<Option<Box<dyn LogPage>>> {
        let Some(i) = self.order.next() else {
            return Ok(None);
        };
        let from_block = |c: &Candidate| matches!(c.place, Place::Block { .. });
        if self.candidates.get(i).is_some_and(from_block) && !self.ready.contains_key(&i) {
            self.read_ahead(i).await?;
        }
        let ready = self.ready.remove(&i);
        let Some(candidate) = self.candidates.get(i) else {
            return Ok(None);
        };
        let mut hidden = HashSet::new();
        for &older in &candidate.older {
            let within = NsRange::new(candidate.min_ns, candidate.max_ns.saturating_add(1));
            let buf = self.read(&self.candidates[older].place, within).await?;
            hidden.extend(buf.iter().map(|e| key(e.t_ns(), e.line())));
        }
        let (content, mut held) = match (&candidate.place, ready) {
            (_, Some((buf, held))) => (Content::Read(buf), held),
            (Place::Head(page), None) => {
                let content = Content::Head(page.clone());
                let bytes = content.held_bytes() as u64;
                (content, self.budget.reserve("log query", bytes)?)
            }
            (Place::Block { .. }, None) => return Ok(None),
        };
        held.grow("log query", (hidden.len() * 16) as u64)?;
        Ok(Some(Box::new(SelectedPage {
            stream: Arc::clone(&candidate.stream),
            bounds_ns: (candidate.min_ns, candidate.max_ns),
            range: self.range,
            content,
            hidden,
            _held: held,
        })))
    }

    /// Reads a candidate's page and those of blocks that come next.
    async fn read_ahead(&mut self, first: usize) -> Result<()> {
        let mut bytes = 0;
        let mut wanted: BTreeMap<usize, Vec<(BlockPage, usize)>> = BTreeMap::new();
        for &i in std::iter::once(&first).chain(self.order.as_slice()) {
            if bytes >= self.read_bytes {
                break;
            }
            if let Some(Place::Block { at, page }) = self.candidates.get(i).map(|c| &c.place) {
                bytes += page.line_bytes as usize;
                wanted.entry(*at).or_default().push((*page, i));
            }
        }
        self.read_bytes = (self.read_bytes * 4).min(MAX_READ_BYTES);
        for (at, mut list) in wanted {
            list.sort_unstable_by_key(|(page, _)| page.first_row);
            let pages: Vec<BlockPage> = list.iter().map(|(page, _)| *page).collect();
            let Some(block) = self.blocks.get(at) else {
                continue;
            };
            let bufs = block.read(&pages, |t| self.range.contains(t)).await?;
            for ((_, i), buf) in std::iter::zip(list, bufs) {
                let held = (buf.text_bytes() + buf.len() * 32) as u64;
                let held = self.budget.reserve("log query", held)?;
                self.ready.insert(i, (buf, held));
            }
        }
        Ok(())
    }

    async fn read(&self, place: &Place, range: NsRange) -> Result<EntryBuf> {
        let wanted = |t| range.contains(t);
        let mut out = EntryBuf::default();
        match place {
            Place::Head(page) => page.read(wanted, &mut out)?,
            Place::Block { at, page } => {
                if let Some(block) = self.blocks.get(*at) {
                    let mut read = block.read(std::slice::from_ref(page), wanted).await?;
                    out = read.pop().unwrap_or_default();
                }
            }
        }
        Ok(out)
    }
}

/// See [`crate::Storage::log_streams`].
pub(crate) async fn log_streams(
    view: Arc<View<LogsHead>>,
    _budget: &Arc<Budget>,
    tenant: &Tenant,
    any_of: &[Vec<Matcher>],
    range: NsRange,
) -> Result<Vec<Labels>> {
    let found = stream_stats(&view, tenant, any_of, range).await?;
    Ok(found.into_keys().collect())
}

/// See [`crate::Storage::log_stats`].
pub(crate) async fn log_stats(
    view: Arc<View<LogsHead>>,
    _budget: &Arc<Budget>,
    tenant: &Tenant,
    matchers: &[Matcher],
    range: NsRange,
) -> Result<LogStats> {
    let found = stream_stats(&view, tenant, &[matchers.to_vec()], range).await?;
    Ok(found.values().fold(LogStats::default(), |sum, s| LogStats {
        streams: sum.streams + s.streams,
        chunks: sum.chunks + s.chunks,
        bytes: sum.bytes + s.bytes,
        entries: sum.entries + s.entries,
    }))
}

/// See [`crate::Storage::log_stream_stats`].
pub(crate) async fn log_stream_stats(
    view: Arc<View<LogsHead>>,
    tenant: &Tenant,
    any_of: &[Vec<Matcher>],
    range: NsRange,
) -> Result<Vec<(Labels, LogStats)>> {
    let found = stream_stats(&view, tenant, any_of, range).await?;
    Ok(found.into_iter().collect())
}

/// The streams with a page in the range, and what their pages hold: of a page that lies partly in the range, its part by time.
async fn stream_stats(
    view: &View<LogsHead>,
    tenant: &Tenant,
    any_of: &[Vec<Matcher>],
    range: NsRange,
) -> Result<BTreeMap<Labels, LogStats>> {
    let everything = [Vec::new()];
    let any_of = if any_of.is_empty() {
        &everything
    } else {
        any_of
    };
    let mut found: BTreeMap<Labels, LogStats> = BTreeMap::new();
    let mut add = |labels: &Labels, bounds: (i64, i64), bytes: usize, entries: usize| {
        let part = share(bounds, range);
        let stats = match found.get_mut(labels) {
            Some(stats) => stats,
            None => found.entry(labels.clone()).or_default(),
        };
        stats.streams = 1;
        stats.chunks += 1;
        stats.bytes += (bytes as f64 * part) as u64;
        stats.entries += (entries as f64 * part).ceil() as u64;
    };
    for block in view.blocks_of(tenant, span_of(range)) {
        let index = block::index(&block).await?;
        let mut ids = BTreeSet::new();
        for matchers in any_of {
            ids.extend(&index.index.select(matchers));
        }
        for id in ids {
            let labels = &index.streams[id as usize];
            for page in index.pages(id) {
                if range.overlaps(page.min_ns, page.max_ns) {
                    let bounds = (page.min_ns, page.max_ns);
                    add(labels, bounds, page.line_bytes as usize, page.rows as usize);
                }
            }
        }
    }
    for head in view.generations().filter_map(|g| g.tenant(tenant)) {
        for stream in head.select(any_of, range) {
            for page in &stream.pages {
                let bounds = page.bounds_ns();
                add(&stream.labels, bounds, page.line_bytes(), page.len());
            }
        }
    }
    Ok(found)
}

fn share((min, max): (i64, i64), range: NsRange) -> f64 {
    if range.start_ns <= min && (max < range.end_ns || range.end_ns == i64::MAX) {
        return 1.0;
    }
    let length = (max as f64 - min as f64).max(1.0);
    let start = min.max(range.start_ns) as f64;
    let end = max.min(range.end_ns) as f64;
    ((end - start) / length).clamp(0.0, 1.0)
}
