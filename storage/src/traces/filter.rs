//! A search's conditions on one span.
//!
//! Everything a condition says holds for the same span; the cheap ones come first, and only
//! [`SpanFilter::needs_span`] conditions want the span decoded.

use std::collections::HashMap;

use crate::model::{Attribute, Resource, Span, SpanKind, StatusCode};
use crate::read::{SpanMatch, TraceSelect};

/// A compiled [`TraceSelect`].
#[derive(Clone, Debug)]
pub(super) struct SpanFilter {
    select: TraceSelect,
}

impl SpanFilter {
    pub(super) fn new(select: &TraceSelect) -> Self {
        Self {
            select: select.clone(),
        }
    }

    /// Whether nothing can pass.
    pub(super) fn is_never(&self) -> bool {
        self.select.matches.contains(&SpanMatch::Never)
            || matches!(
                (self.select.start_min_ns, self.select.start_max_ns),
                (Some(min), Some(max)) if min > max
            )
    }

    pub(super) fn operation(&self) -> Option<&str> {
        self.select.operation.as_deref()
    }

    pub(super) fn times(&self, start_ns: i64, duration_ns: u64) -> bool {
        self.select.start_min_ns.is_none_or(|min| min <= start_ns)
            && self.select.start_max_ns.is_none_or(|max| start_ns <= max)
            && self
                .select
                .duration_min_ns
                .is_none_or(|min| min <= duration_ns)
            && self
                .select
                .duration_max_ns
                .is_none_or(|max| duration_ns <= max)
    }

    /// Whether the service is the wanted one. A resource without the name is nobody's.
    pub(super) fn service(&self, resource: &Resource) -> bool {
        match &self.select.service {
            Some(wanted) => resource.service_name() == Some(wanted),
            None => true,
        }
    }

    /// Conditions on kind and status.
    pub(super) fn numbers(&self, kind: SpanKind, status: StatusCode) -> bool {
        self.select.matches.iter().all(|m| match m {
            SpanMatch::StatusIn(codes) => codes.contains(&status.0),
            SpanMatch::Kind(wanted) => *wanted == kind,
            SpanMatch::Never => false,
            _ => true,
        })
    }

    /// Whether [`Self::rest`] says more than the checks above.
    pub(super) fn needs_span(&self) -> bool {
        self.select.matches.iter().any(|m| {
            !matches!(
                m,
                SpanMatch::StatusIn(_) | SpanMatch::Kind(_) | SpanMatch::Never
            )
        })
    }

    /// Whether all further conditions hold.
    pub(super) fn rest(&self, span: &Span) -> bool {
        self.select.matches.iter().all(|m| matches(m, span))
    }
}

fn matches(m: &SpanMatch, span: &Span) -> bool {
    match m {
        SpanMatch::StatusIn(codes) => codes.contains(&span.status_code.0),
        SpanMatch::Kind(kind) => *kind == span.kind,
        SpanMatch::ScopeName(name) => span.scope.name == *name,
        SpanMatch::ScopeVersion(version) => span.scope.version == *version,
        SpanMatch::ResourceAttribute(key, value) => has(&span.resource.attributes, key, value),
        SpanMatch::Attribute(key, value) => {
            has(&span.attributes, key, value)
                || has(&span.scope.attributes, key, value)
                || has(&span.resource.attributes, key, value)
                || span.events.iter().any(|e| has(&e.attributes, key, value))
                || span.links.iter().any(|l| has(&l.attributes, key, value))
        }
        SpanMatch::Never => false,
        SpanMatch::AnyOf(any) => any.iter().any(|m| matches(m, span)),
    }
}

/// Whether the first attribute of this key has this text.
fn has(attributes: &[Attribute], key: &str, value: &str) -> bool {
    attributes
        .iter()
        .find(|a| a.key == key)
        .is_some_and(|a| a.value.text_is(value))
}

/// Answers of [`SpanFilter::service`] by resource number, each asked once.
#[derive(Default)]
pub(super) struct ServiceMemo(HashMap<u32, bool>);

impl ServiceMemo {
    pub(super) fn check(&mut self, filter: &SpanFilter, id: u32, resource: &Resource) -> bool {
        *self.0.entry(id).or_insert_with(|| filter.service(resource))
    }
}

/// The name under which spans of a resource are listed.
pub(super) fn service_of(resource: &Resource) -> &str {
    resource.service_name().unwrap_or_default()
}
