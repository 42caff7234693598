//! Adjusters: what every read but a raw one does to a trace before it is shown.
//!
//! Their order matters and is Jaeger's: shared ids apart, attributes sorted, copies dropped, clocks
//! aligned, numeric addresses spelled, library attributes moved, broken links removed.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use storage::model::{AnyValue, Attribute, Resource, Span, SpanId, SpanKind, Trace, TraceId};

use super::go;
use crate::ingest::spans::warn;

/// Settings of the adjusters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Largest shift of a span in nanoseconds; 0 shifts nothing.
    pub(super) max_skew_ns: i64,
    /// Most spans of a trace; 0 cuts nothing.
    pub(super) max_spans: usize,
}

/// Adjusts a trace.
pub(super) fn adjust(trace: &mut Trace, limits: Limits) {
    cut(trace, limits.max_spans);
    part_shared_ids(&mut trace.spans);
    sort(&mut trace.spans);
    drop_copies(&mut trace.spans);
    Skew::new(limits.max_skew_ns).adjust(&mut trace.spans);
    spell_addresses(&mut trace.spans);
    move_library_attributes(&mut trace.spans);
    remove_broken_links(&mut trace.spans);
}

fn cut(trace: &mut Trace, max_spans: usize) {
    if max_spans == 0 || trace.spans.len() <= max_spans {
        return;
    }
    trace.spans.truncate(max_spans);
    if let Some(first) = trace.spans.first_mut() {
        warn(
            first,
            format!("trace has more than {max_spans} spans, showing first {max_spans} spans only"),
        );
    }
}

/// Zipkin lets the two sides of a call share an id: the server's span becomes the client's child.
fn part_shared_ids(spans: &mut [Span]) {
    let clients: HashSet<SpanId> = spans
        .iter()
        .filter(|s| s.kind == SpanKind::CLIENT)
        .map(|s| s.span_id)
        .collect();
    let mut used: HashSet<SpanId> = spans.iter().map(|s| s.span_id).collect();
    let mut renamed: HashMap<SpanId, SpanId> = HashMap::new();
    let mut next = 0u64;
    for span in spans.iter_mut() {
        if span.kind != SpanKind::SERVER || !clients.contains(&span.span_id) {
            continue;
        }
        let id = loop {
            next += 1;
            let id = SpanId(next.to_be_bytes());
            if used.insert(id) {
                break id;
            }
        };
        renamed.insert(span.span_id, id);
        span.parent_span_id = span.span_id;
        span.span_id = id;
    }
    for span in spans {
        if let Some(id) = renamed.get(&span.parent_span_id)
            && span.span_id != *id
        {
            span.parent_span_id = *id;
        }
    }
}

fn sort(spans: &mut [Span]) {
    // Of a key that comes twice the last value stays.
    let by_key = |list: &mut Vec<Attribute>| {
        list.reverse();
        list.sort_by(|a, b| a.key.cmp(&b.key));
        list.dedup_by(|later, kept| later.key == kept.key);
    };
    each_resource(spans, |resource| by_key(&mut resource.attributes));
    for span in spans.iter_mut() {
        if !span.scope.attributes.is_sorted_by(|a, b| a.key < b.key) {
            by_key(&mut Arc::make_mut(&mut span.scope).attributes);
        }
        by_key(&mut span.attributes);
        for event in &mut span.events {
            by_key(&mut event.attributes);
        }
        span.events.sort_by(|a, b| a.name.cmp(&b.name));
        for link in &mut span.links {
            by_key(&mut link.attributes);
        }
    }
}

/// Changes each resource of the spans once; spans that shared one share its successor.
fn each_resource(spans: &mut [Span], change: impl Fn(&mut Resource)) {
    let mut changed: Vec<(Arc<Resource>, Arc<Resource>)> = Vec::new();
    for span in spans {
        let known = changed
            .iter()
            .find(|(old, _)| Arc::ptr_eq(old, &span.resource));
        let new = match known {
            Some((_, new)) => Arc::clone(new),
            None => {
                let mut resource = Resource::clone(&span.resource);
                change(&mut resource);
                // Resources of one content are one, wherever they came from.
                let equal = changed.iter().find(|(_, new)| **new == resource);
                let new = equal.map_or_else(|| Arc::new(resource), |(_, new)| Arc::clone(new));
                changed.push((Arc::clone(&span.resource), Arc::clone(&new)));
                new
            }
        };
        span.resource = new;
    }
}

fn drop_copies(spans: &mut Vec<Span>) {
    let mut by_id: HashMap<SpanId, Vec<usize>> = HashMap::new();
    let mut kept: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans.drain(..) {
        let places = by_id.entry(span.span_id).or_default();
        if places.iter().any(|&at| kept[at] == span) {
            continue;
        }
        places.push(kept.len());
        kept.push(span);
    }
    *spans = kept;
}

/// Aligns the clocks of hosts, from parent to child.
struct Skew {
    max_ns: i64,
}

impl Skew {
    fn new(max_ns: i64) -> Self {
        Self { max_ns }
    }

    fn adjust(&self, spans: &mut [Span]) {
        let mut by_id: HashMap<SpanId, usize> = HashMap::new();
        let mut nodes = Vec::with_capacity(spans.len());
        for (at, span) in spans.iter_mut().enumerate() {
            if by_id.contains_key(&span.span_id) {
                warn(
                    span,
                    "duplicate span IDs; skipping clock skew adjustment".to_owned(),
                );
                continue;
            }
            by_id.insert(span.span_id, at);
            nodes.push(at);
        }
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut work: Vec<(usize, Option<usize>, String, i64)> = Vec::new();
        for at in nodes {
            let parent = spans[at].parent_span_id;
            if parent.is_zero() {
                work.push((at, None, host(&spans[at]), 0));
                continue;
            }
            match by_id.get(&parent) {
                // A span that is its own parent is nobody's child.
                Some(&p) if p == at => {}
                Some(&p) => children.entry(p).or_default().push(at),
                None => {
                    let warning = format!(
                        "parent span ID={parent} is not in the trace; skipping clock skew adjustment"
                    );
                    work.push((at, None, host(&spans[at]), 0));
                    warn(&mut spans[at], warning);
                }
            }
        }
        // Depth first without recursion: a trace may be as deep as it is long. Spans in a ring have no root and are
        // never reached.
        while let Some((at, parent, host_of_skew, delta)) = work.pop() {
            let own = host(&spans[at]);
            let (own_host, delta) = match parent {
                Some(parent) if own != host_of_skew || own.is_empty() => {
                    let delta = delta_of(&spans[at], &spans[parent]);
                    (own, delta)
                }
                _ => (host_of_skew, delta),
            };
            self.shift(&mut spans[at], delta);
            for &child in children.get(&at).map_or(&[][..], Vec::as_slice) {
                work.push((child, Some(at), own_host.clone(), delta));
            }
        }
    }

    fn shift(&self, span: &mut Span, delta: i64) {
        if delta == 0 {
            return;
        }
        if delta.saturating_abs() > self.max_ns {
            let warning = if self.max_ns == 0 {
                format!(
                    "clock skew adjustment disabled; not applying calculated delta of {}",
                    go::duration(delta)
                )
            } else {
                format!(
                    "max clock skew adjustment delta of {} exceeded; not applying calculated delta of {}",
                    go::duration(self.max_ns),
                    go::duration(delta)
                )
            };
            warn(span, warning);
            return;
        }
        span.start_ns = span.start_ns.wrapping_add_signed(delta);
        span.end_ns = span.end_ns.wrapping_add_signed(delta);
        for event in &mut span.events {
            event.time_ns = event.time_ns.wrapping_add_signed(delta);
        }
        warn(
            span,
            format!(
                "This span's timestamps were adjusted by {}",
                go::duration(delta)
            ),
        );
    }
}

/// What tells a span's host from others; empty where nothing does.
fn host(span: &Span) -> String {
    let find = |key: &str| span.resource.attributes.iter().find(|a| a.key == key);
    let text = |a: &Attribute| match &a.value {
        AnyValue::Array(items) => items.first().map(AnyValue::to_text),
        value => Some(value.to_text()),
    };
    ["host.id", "host.ip", "host.name"]
        .iter()
        .find_map(|key| find(key).and_then(text).filter(|t| !t.is_empty()))
        .unwrap_or_default()
}

/// By how much a child must move to lie within its parent.
fn delta_of(child: &Span, parent: &Span) -> i64 {
    let difference = |a: u64, b: u64| a.wrapping_sub(b).cast_signed();
    let (own, its) = (child.duration_ns(), parent.duration_ns());
    if own > its {
        // It outlives its parent: a late or an asynchronous call, of which only the start is known.
        return if child.start_ns < parent.start_ns {
            difference(parent.start_ns, child.start_ns)
        } else {
            0
        };
    }
    if child.start_ns >= parent.start_ns && child.end_ns <= parent.end_ns {
        return 0;
    }
    // The way there took as long as the way back.
    let latency = (its - own) / 2;
    difference(parent.start_ns.wrapping_add(latency), child.start_ns)
}

fn spell_addresses(spans: &mut [Span]) {
    let needs = |list: &[Attribute]| {
        list.iter().any(|a| {
            matches!(a.key.as_str(), "ip" | "peer.ipv4")
                && matches!(a.value, AnyValue::Int(_) | AnyValue::Double(_))
        })
    };
    let spell = |list: &mut Vec<Attribute>| {
        for a in list {
            if !matches!(a.key.as_str(), "ip" | "peer.ipv4") {
                continue;
            }
            let number = match a.value {
                AnyValue::Int(n) => n as u32,
                AnyValue::Double(n) => n as i64 as u32,
                _ => continue,
            };
            a.value = AnyValue::String(Ipv4Addr::from_bits(number).to_string());
        }
    };
    if spans.iter().any(|s| needs(&s.resource.attributes)) {
        each_resource(spans, |resource| spell(&mut resource.attributes));
    }
    for span in spans {
        spell(&mut span.attributes);
    }
}

const LIBRARY_KEYS: [&str; 5] = [
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "telemetry.distro.name",
    "telemetry.distro.version",
];

fn move_library_attributes(spans: &mut [Span]) {
    for at in 0..spans.len() {
        for key in LIBRARY_KEYS {
            let found = spans[at].attributes.iter().position(|a| a.key == key);
            let Some(found) = found else {
                continue;
            };
            let shared = Arc::clone(&spans[at].resource);
            match shared.attributes.iter().find(|a| a.key == key) {
                Some(there) if there.value != spans[at].attributes[found].value => {
                    let warning =
                        format!("conflicting values between Span and Resource for attribute {key}");
                    warn(&mut spans[at], warning);
                }
                Some(_) => {
                    spans[at].attributes.remove(found);
                }
                None => {
                    let moved = spans[at].attributes.remove(found);
                    let mut resource = Resource::clone(&shared);
                    resource.attributes.push(moved);
                    let resource = Arc::new(resource);
                    for span in spans.iter_mut() {
                        if Arc::ptr_eq(&span.resource, &shared) {
                            span.resource = Arc::clone(&resource);
                        }
                    }
                }
            }
        }
    }
}

fn remove_broken_links(spans: &mut [Span]) {
    for span in spans {
        let before = span.links.len();
        span.links.retain(|l| l.trace_id != TraceId::default());
        for _ in span.links.len()..before {
            warn(span, "Invalid span link removed".to_owned());
        }
    }
}
