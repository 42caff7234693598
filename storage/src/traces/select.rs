//! What a query sees of head and blocks: traces by id, searches, lists, dependencies.
//!
//! Invariant: an answer depends on what was received and in which order, not on where it lies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::block;
use super::filter::{SpanFilter, service_of};
use super::head::{CallRow, TracesHead};
use crate::block::Block;
use crate::budget::{Budget, Reservation};
use crate::error::{Error, Result};
use crate::model::{AnyValue, Attribute, NsRange, Span, SpanKind, Tenant, Trace, TraceId};
use crate::read::TraceSelect;
use crate::signal::{TimeSpan, View};
use crate::storage::{Dependency, Operation};

const ALL_TIME: TimeSpan = TimeSpan {
    min: i64::MIN,
    max: i64::MAX,
};
/// Traces of a dependency graph's range are looked at this far beyond it, so that one that reaches
/// out of the range is known to.
const CALL_SLACK_NS: i64 = 3_600_000_000_000;

/// See [`crate::Storage::trace`].
pub(crate) async fn trace(
    view: Arc<View<TracesHead>>,
    budget: &Arc<Budget>,
    tenant: &Tenant,
    id: TraceId,
) -> Result<Option<Trace>> {
    let mut budget = budget.reserve("trace query", 0)?;
    let mut found = load(&view, &mut budget, tenant, &[id]).await?;
    Ok(found.remove(&id).map(|(_, trace)| trace))
}

/// See [`crate::Storage::search_traces`].
pub(crate) async fn search_traces(
    view: Arc<View<TracesHead>>,
    budget: &Arc<Budget>,
    tenant: &Tenant,
    select: &TraceSelect,
) -> Result<Vec<Trace>> {
    let filter = SpanFilter::new(select);
    if select.limit == 0 || filter.is_never() {
        return Ok(Vec::new());
    }
    let mut budget = budget.reserve("trace search", 0)?;
    // Of each trace the number is an upper bound of its first reception: another place may hold earlier spans.
    // More candidates than wanted are kept, for those that turn out to be older.
    let enough = select.limit.saturating_mul(2).saturating_add(64);
    let mut bounds: HashMap<TraceId, u64> = HashMap::new();
    for generation in view.generations() {
        if let Some(held) = generation.tenant(tenant) {
            let filter = filter.clone();
            let found = blocking(move || Ok(held.search(&filter, enough)?)).await?;
            for (received, id) in found {
                lower(&mut bounds, id, received);
            }
        }
    }
    let span = TimeSpan {
        min: select.start_min_ns.unwrap_or(i64::MIN),
        max: select.start_max_ns.unwrap_or(i64::MAX),
    };
    let mut blocks: Vec<(u64, Arc<Block>)> = Vec::new();
    for block in view.blocks_of(tenant, span) {
        blocks.push((block::index(&block).await?.max_received, block));
    }
    blocks.sort_by_key(|(received, _)| std::cmp::Reverse(*received));
    for (newest, block) in blocks {
        if bounds.values().filter(|b| **b > newest).count() >= enough {
            break;
        }
        for (id, received) in block::search(&block, &filter).await? {
            lower(&mut bounds, id, received);
        }
        budget.set(bounds.len() as u64 * 48);
    }
    let mut candidates: Vec<(u64, TraceId)> = bounds.into_iter().map(|(id, r)| (r, id)).collect();
    candidates.sort_unstable_by(|a, b| b.cmp(a));

    let mut loaded: Vec<(u64, Trace)> = Vec::new();
    let mut next = 0;
    loop {
        loaded.sort_by_key(|(received, trace)| std::cmp::Reverse((*received, trace.trace_id)));
        let settled = loaded.get(select.limit - 1).map(|(received, _)| *received);
        let bound = candidates.get(next).map(|(received, _)| *received);
        match (settled, bound) {
            (_, None) => break,
            (Some(last), Some(bound)) if last >= bound => break,
            _ => {}
        }
        let count = select.limit.min(candidates.len() - next);
        let mut ids: Vec<TraceId> = candidates[next..next + count]
            .iter()
            .map(|(_, id)| *id)
            .collect();
        next += count;
        ids.sort_unstable();
        loaded.extend(load(&view, &mut budget, tenant, &ids).await?.into_values());
    }
    loaded.truncate(select.limit);
    Ok(loaded.into_iter().map(|(_, trace)| trace).collect())
}

/// See [`crate::Storage::services`].
pub(crate) async fn services(
    view: Arc<View<TracesHead>>,
    _budget: &Arc<Budget>,
    tenant: &Tenant,
) -> Result<Vec<String>> {
    let mut out = BTreeSet::new();
    for generation in view.generations() {
        if let Some(held) = generation.tenant(tenant) {
            held.services(&mut out);
        }
    }
    for block in view.blocks_of(tenant, ALL_TIME) {
        let index = block::index(&block).await?;
        for (service, ..) in &index.operations {
            if !service.is_empty() && !out.contains(service) {
                out.insert(service.clone());
            }
        }
    }
    Ok(out.into_iter().collect())
}

/// See [`crate::Storage::operations`].
pub(crate) async fn operations(
    view: Arc<View<TracesHead>>,
    _budget: &Arc<Budget>,
    tenant: &Tenant,
    service: &str,
) -> Result<Vec<Operation>> {
    let mut out = BTreeSet::new();
    for generation in view.generations() {
        if let Some(held) = generation.tenant(tenant) {
            held.operations(service, &mut out);
        }
    }
    for block in view.blocks_of(tenant, ALL_TIME) {
        let index = block::index(&block).await?;
        for (owner, name, kind) in &index.operations {
            if service.is_empty() || owner == service {
                out.insert(Operation {
                    name: name.clone(),
                    span_kind: SpanKind(*kind).as_str().to_owned(),
                });
            }
        }
    }
    Ok(out.into_iter().collect())
}

/// A trace while its calls are counted.
#[derive(Default)]
struct Calls {
    outside: bool,
    /// Id, parent and service of each span.
    spans: Vec<([u8; 8], [u8; 8], u32)>,
}

/// See [`crate::Storage::dependencies`].
pub(crate) async fn dependencies(
    view: Arc<View<TracesHead>>,
    budget: &Arc<Budget>,
    tenant: &Tenant,
    range: NsRange,
) -> Result<Vec<Dependency>> {
    let mut budget = budget.reserve("trace dependencies", 0)?;
    let mut names: Vec<String> = Vec::new();
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut traces: HashMap<TraceId, Calls> = HashMap::new();
    let mut take = |call: CallRow| -> Result<()> {
        let service = service_of(&call.service);
        let number = match numbers.get(service) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(names.len()).expect("fewer services than spans");
                names.push(service.to_owned());
                numbers.insert(service.to_owned(), number);
                number
            }
        };
        let trace = traces.entry(call.trace_id).or_default();
        if trace.spans.is_empty() {
            budget.grow("trace dependencies", 96)?;
        }
        trace.outside |= call.start_ns <= range.start_ns || call.end_ns >= range.end_ns;
        trace.spans.push((call.span_id, call.parent, number));
        budget.grow("trace dependencies", 32)
    };
    let span = TimeSpan {
        min: range.start_ns.saturating_sub(CALL_SLACK_NS),
        max: range.end_ns.saturating_add(CALL_SLACK_NS),
    };
    for generation in view.generations() {
        if let Some(held) = generation.tenant(tenant) {
            held.calls(span.min, span.max, &mut take)?;
        }
    }
    for block in view.blocks_of(tenant, span) {
        block::calls(&block, span.min, span.max, &mut take).await?;
    }
    let mut counts: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for trace in traces.into_values().filter(|t| !t.outside) {
        // Of spans that share an id, the one that came first is the parent.
        let services: HashMap<[u8; 8], u32> = trace
            .spans
            .iter()
            .rev()
            .map(|(id, _, s)| (*id, *s))
            .collect();
        for (_, parent, service) in &trace.spans {
            if let Some(caller) = services.get(parent)
                && *parent != [0; 8]
            {
                *counts.entry((*caller, *service)).or_default() += 1;
            }
        }
    }
    let name = |number: u32| names[number as usize].clone();
    let mut out: Vec<Dependency> = counts
        .into_iter()
        .map(|((parent, child), call_count)| Dependency {
            parent: name(parent),
            child: name(child),
            call_count,
        })
        .collect();
    out.sort_unstable();
    Ok(out)
}

/// Whole traces by their (sorted) ids, with their first reception.
///
/// Every block is asked, as any may hold a part of a trace. One that cannot be read now is done without where it lies
/// more than [`CALL_SLACK_NS`] from all spans that were found: damage to an old block, or a bucket that is away, must not
/// hide the traces of today.
async fn load(
    view: &Arc<View<TracesHead>>,
    budget: &mut Reservation,
    tenant: &Tenant,
    ids: &[TraceId],
) -> Result<HashMap<TraceId, (u64, Trace)>> {
    let mut parts: HashMap<TraceId, Vec<(u64, Span)>> = HashMap::new();
    let mut unread: Vec<(TimeSpan, Error)> = Vec::new();
    for block in view.blocks_of(tenant, ALL_TIME) {
        let read = block::traces(&block, ids, |received, span| {
            budget.grow("trace query", held_bytes(&span))?;
            parts
                .entry(span.trace_id)
                .or_default()
                .push((received, span));
            Ok(())
        });
        match read.await {
            Err(e) if e.is_of_storage() => {
                let m = block.manifest();
                let span = TimeSpan {
                    min: m.min_time.saturating_sub(CALL_SLACK_NS),
                    max: m.max_time.saturating_add(CALL_SLACK_NS),
                };
                unread.push((span, e));
            }
            read => read?,
        }
    }
    for generation in view.generations() {
        let Some(held) = generation.tenant(tenant) else {
            continue;
        };
        for id in ids {
            let mut spans = Vec::new();
            held.trace(*id, &mut spans)?;
            if !spans.is_empty() {
                let bytes = spans.iter().map(|(_, span)| held_bytes(span)).sum();
                budget.grow("trace query", bytes)?;
                parts.entry(*id).or_default().append(&mut spans);
            }
        }
    }
    for id in ids {
        let found = parts.get(id).map_or(&[][..], Vec::as_slice);
        let may_miss = |(span, _): &(TimeSpan, Error)| {
            let time = |t: u64| i64::try_from(t).unwrap_or(i64::MAX);
            let far = |s: &Span| time(s.end_ns) < span.min || span.max < time(s.start_ns);
            // A trace that was not found may be there as a whole.
            found.is_empty() || !found.iter().all(|(_, s)| far(s))
        };
        if let Some(at) = unread.iter().position(may_miss) {
            return Err(unread.swap_remove(at).1);
        }
    }
    Ok(parts
        .into_iter()
        .map(|(trace_id, mut spans)| {
            spans.sort_by_key(|(received, _)| *received);
            let first = spans.first().map_or(0, |(received, _)| *received);
            let spans = spans.into_iter().map(|(_, span)| span).collect();
            (trace_id, (first, Trace { trace_id, spans }))
        })
        .collect())
}

fn lower(bounds: &mut HashMap<TraceId, u64>, id: TraceId, received: u64) {
    bounds
        .entry(id)
        .and_modify(|r| *r = received.min(*r))
        .or_insert(received);
}

/// Runs what computes for long beside the threads that serve requests.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

/// Bytes of memory of a decoded span, roughly.
fn held_bytes(span: &Span) -> u64 {
    let attributes = |list: &[Attribute]| -> usize { list.iter().map(attribute_bytes).sum() };
    let events: usize = span
        .events
        .iter()
        .map(|e| 96 + e.name.len() + attributes(&e.attributes))
        .sum();
    let links: usize = span
        .links
        .iter()
        .map(|l| 112 + attributes(&l.attributes))
        .sum();
    (size_of::<Span>() + span.name.len() + attributes(&span.attributes) + events + links) as u64
}

fn attribute_bytes(attribute: &Attribute) -> usize {
    let value = match &attribute.value {
        AnyValue::String(s) => s.len(),
        AnyValue::Bytes(b) => b.len(),
        AnyValue::Array(items) => items.len() * 64,
        AnyValue::Map(pairs) => pairs.iter().map(attribute_bytes).sum(),
        _ => 0,
    };
    size_of::<Attribute>() + attribute.key.len() + value
}
