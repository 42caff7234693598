//! One page of a target → samples of a write request, and the series whose end it shows.
//!
//! ```text
//! line ─ known by its bytes? ─▶ encoded labels ─▶ Writer
//!           └ no: labels, target labels, relabelling, limits ─ once, then it is known
//! ```
//! A known series costs one look-up and the bytes of its sample. What was written at the last page and is missing in this one
//! gets a staleness marker; after a page that failed, every series gets one.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;
use storage::model::{Labels, LabelsBuilder, NO_START_MS, STALE_NAN};
use xxhash_rust::xxh3::{Xxh3Builder, xxh3_64_with_seed};

use super::exposition::{Entry, Exposition, ParseError, TextLabels, Value};
use super::families::Families;
use crate::config::{NameScheme, ScrapeConfig};
use crate::relabel::{is_legacy_name, relabel_builder};
use crate::wire::remote_write::{Writer, encode_labels};

/// Known series that a run of failed pages may add before the unseen ones are forgotten.
const FAILED_GROWTH: usize = 1000;
/// Characters of a text that a message about a limit shows.
const SHOWN_CHARS: usize = 50;

/// What a page brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Samples on the page.
    pub(super) scraped: usize,
    /// Samples left by relabelling.
    pub(super) kept: usize,
    /// Series that were not known.
    pub(super) added: usize,
    /// Samples that repeat a series of the page.
    pub(super) duplicates: usize,
    /// Samples too far ahead of the clock.
    pub(super) out_of_bounds: usize,
}

/// Why a page was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PageError {
    /// It cannot be read.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A series that cannot be stored.
    #[error("{0}")]
    BadSeries(String),
    /// More samples than the job allows.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// Labels beyond what the job allows.
    #[error("{0}")]
    LabelLimit(String),
}

/// What is done to every series of a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'r> {
    /// The job.
    pub(super) config: &'r ScrapeConfig,
    /// Labels of the target that its series get.
    pub(super) target: &'r Labels,
    /// The time of samples that name none.
    pub(super) at_ms: i64,
    /// Samples after this are left out.
    pub(super) latest_ms: i64,
    /// Whether a counter that tells when it began gets a zero at that time.
    pub(super) zero_at_start: bool,
}

/// The series of a target, by the bytes under which it shows them.
#[derive(Debug, Default)]
pub(super) struct SeriesCache {
    entries: HashMap<Box<[u8]>, Known, Xxh3Builder>,
    /// Number of the page.
    page: u64,
    /// How many entries there were after the last good page.
    good_size: usize,
    /// Series written under rules that hold no longer.
    orphans: Vec<Box<[u8]>>,
}

#[derive(Debug)]
struct Known {
    /// As [`encode_labels`] writes them; none where relabelling drops the series.
    labels: Option<Box<[u8]>>,
    /// The last page that had it.
    seen: u64,
    /// The last page after which its absence means its end.
    tracked: u64,
    /// Whether its last sample in storage is no marker.
    alive: bool,
    /// Hash of the last exemplar's bytes; 0 before the first.
    exemplar: u64,
    /// When it began, as told last.
    start_ms: i64,
}

impl SeriesCache {
    /// Writes the samples of a page. After an error nothing of what was written may be stored, and [`Self::fail`] must follow.
    pub(super) fn page<'a>(
        &mut self,
        mut parser: impl Exposition<'a>,
        rules: &Rules<'_>,
        families: &mut Families,
        out: &mut Writer,
        counts: &mut Counts,
    ) -> Result<(), PageError> {
        self.page += 1;
        let limit = match rules.config.limits.samples {
            0 => usize::MAX,
            limit => limit,
        };
        let mut written = 0;
        let mut labels = TextLabels::new();
        while let Some(entry) = parser.next_entry()? {
            let sample = match entry {
                Entry::Sample(sample) => sample,
                metadata => {
                    families.note(&metadata, self.page);
                    continue;
                }
            };
            counts.scraped += 1;
            let explicit_ms = sample.t_ms.filter(|_| rules.config.honor_timestamps);
            let page = self.page;
            let known = self.entries.get_mut(parser.series());
            let is_new = known.is_none();
            let entry = match known {
                Some(entry) => entry,
                None => {
                    let resolved = resolve(&parser, rules, &mut labels)?;
                    // Beyond the limit nothing is remembered, because nothing will be stored.
                    if resolved.is_some() && written >= limit {
                        counts.kept += 1;
                        written += 1;
                        continue;
                    }
                    let entry = Known {
                        labels: resolved.map(|l| encode_labels(&l)),
                        seen: 0,
                        tracked: 0,
                        alive: false,
                        exemplar: 0,
                        start_ms: NO_START_MS,
                    };
                    self.entries.entry(parser.series().into()).or_insert(entry)
                }
            };
            let repeated = std::mem::replace(&mut entry.seen, page) == page;
            let Some(series) = &entry.labels else {
                continue;
            };
            counts.kept += 1;
            if repeated && explicit_ms.is_none() {
                counts.duplicates += 1;
                continue;
            }
            let t_ms = explicit_ms.unwrap_or(rules.at_ms);
            written += 1;
            if written > limit {
                continue;
            }
            if t_ms > rules.latest_ms {
                counts.out_of_bounds += 1;
                continue;
            }
            counts.added += usize::from(is_new);
            if explicit_ms.is_none() || rules.config.track_timestamps_staleness {
                entry.tracked = page;
            }
            out.series_encoded(series);
            let start_ms = parser.start_ms().filter(|start| *start < t_ms);
            let start_ms = start_ms.unwrap_or(NO_START_MS);
            let has_begun = std::mem::replace(&mut entry.start_ms, start_ms) != start_ms;
            let zero = has_begun && start_ms != NO_START_MS && rules.zero_at_start;
            match &sample.value {
                Value::Float(value) => {
                    if zero {
                        out.float(start_ms, 0.0, NO_START_MS);
                    }
                    out.float(t_ms, *value, start_ms);
                }
                Value::Histogram(histogram) => out.histogram(t_ms, histogram, start_ms),
            }
            let time = match &sample.value {
                Value::Float(_) => Some(t_ms),
                // Those of a native histogram have times of their own, or are left out.
                Value::Histogram(_) => None,
            };
            write_exemplars(&parser, time, &mut entry.exemplar, &mut labels, out)?;
        }
        if written > limit {
            return Err(PageError::SampleLimit);
        }
        Ok(())
    }

    /// After a page that is stored: ends what is missing in it.
    pub(super) fn succeed(&mut self, at_ms: i64, families: &mut Families, out: &mut Writer) {
        let page = self.page;
        let is_missing = |e: &Known| e.alive && e.tracked != page;
        let any_missing = !self.orphans.is_empty() || self.entries.values().any(is_missing);
        if any_missing {
            // The same series may stand on the page in another spelling.
            let present: HashSet<&[u8]> = self
                .entries
                .values()
                .filter(|e| e.tracked == page)
                .filter_map(|e| e.labels.as_deref())
                .collect();
            let missing = self.entries.values().filter(|e| is_missing(e));
            let missing = missing.filter_map(|e| e.labels.as_deref());
            let orphans = self.orphans.iter().map(|labels| &**labels);
            for labels in missing.chain(orphans) {
                if !present.contains(labels) {
                    mark(labels, at_ms, out);
                }
            }
            self.orphans.clear();
        }
        for entry in self.entries.values_mut() {
            entry.alive = entry.tracked == page;
        }
        self.forget_unseen();
        self.good_size = self.entries.len();
        families.forget_unseen(page);
    }

    /// After a page that was empty or could not be stored: ends every series. True where the cache had to be cut down.
    pub(super) fn fail(&mut self, at_ms: i64, out: &mut Writer) -> bool {
        self.end_all(at_ms, out);
        // Exemplars of the page were not stored either.
        self.entries.values_mut().for_each(|e| e.exemplar = 0);
        let grown = self.entries.len() > self.good_size * 2 + FAILED_GROWTH;
        if grown {
            self.forget_unseen();
        }
        grown
    }

    /// Ends every series.
    pub(super) fn end_all(&mut self, at_ms: i64, out: &mut Writer) {
        for labels in self.orphans.drain(..) {
            mark(&labels, at_ms, out);
        }
        for entry in self.entries.values_mut() {
            if let (true, Some(labels)) = (std::mem::take(&mut entry.alive), &entry.labels) {
                mark(labels, at_ms, out);
            }
        }
    }

    /// Forgets how series are shown, because they will be shown otherwise, but not that they are there.
    pub(super) fn start_over(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        let alive = entries.into_values().filter(|e| e.alive);
        self.orphans.extend(alive.filter_map(|e| e.labels));
    }

    fn forget_unseen(&mut self) {
        let page = self.page;
        self.entries.retain(|_, entry| entry.seen == page);
    }
}

fn mark(labels: &[u8], at_ms: i64, out: &mut Writer) {
    out.series_encoded(labels);
    out.float(at_ms, STALE_NAN, NO_START_MS);
}

/// Writes a sample's exemplars, unless they are those that the last page had. `t_ms` is the time of those that have none.
fn write_exemplars<'a>(
    parser: &impl Exposition<'a>,
    t_ms: Option<i64>,
    last: &mut u64,
    labels: &mut TextLabels<'a>,
    out: &mut Writer,
) -> Result<(), ParseError> {
    let exemplars = parser.exemplars();
    if exemplars.is_empty() {
        return Ok(());
    }
    let all = exemplars.iter();
    let hash = all.fold(1, |hash, e| xxh3_64_with_seed(e.text, hash));
    if std::mem::replace(last, hash) == hash {
        return Ok(());
    }
    // Storage takes them in order of time.
    let mut order: SmallVec<[(i64, usize); 4]> = SmallVec::new();
    for (i, exemplar) in exemplars.iter().enumerate() {
        order.extend(exemplar.t_ms.or(t_ms).map(|t_ms| (t_ms, i)));
    }
    order.sort_unstable();
    for (t_ms, i) in order {
        parser.exemplar_labels(i, labels)?;
        let labels = labels.iter().map(|(n, v)| (&**n, &**v));
        out.exemplar(labels, exemplars[i].value, t_ms);
    }
    Ok(())
}

/// The labels under which a sample is stored; none where relabelling drops it.
fn resolve<'a>(
    parser: &impl Exposition<'a>,
    rules: &Rules<'_>,
    written: &mut TextLabels<'a>,
) -> Result<Option<Labels>, PageError> {
    parser.labels(written)?;
    if let Some(name) = repeated_name(written) {
        return Err(PageError::BadSeries(format!(
            "label name {} is not unique: invalid sample",
            promql::lexer::quote(name)
        )));
    }
    let mut builder = LabelsBuilder::default();
    for (name, value) in written.iter() {
        builder.set(name, value);
    }
    add_target_labels(&mut builder, written, rules);
    if !relabel_builder(&rules.config.metric_relabel_configs, &mut builder) {
        return Ok(None);
    }
    let labels = builder.finish();
    // A rule that removes every label drops the series too.
    if labels.is_empty() {
        return Ok(None);
    }
    check(&labels, rules.config)?;
    Ok(Some(labels))
}

fn repeated_name<'l>(labels: &'l TextLabels<'_>) -> Option<&'l str> {
    let mut seen = labels.iter().enumerate();
    let repeated = seen.find(|(i, (name, _))| labels[..*i].iter().any(|(n, _)| n == name));
    repeated.map(|(_, (name, _))| &**name)
}

/// A conflict is the target's to win, unless the job honours what is written; then the other gets a prefix.
fn add_target_labels(builder: &mut LabelsBuilder, written: &TextLabels<'_>, rules: &Rules<'_>) {
    if rules.config.honor_labels {
        for (name, value) in rules.target {
            // An empty label, too, is one that was written.
            if !written.iter().any(|(n, _)| n == name) {
                builder.set(name, value);
            }
        }
        return;
    }
    let mut conflicts: Vec<(&str, Cow<'_, str>)> = Vec::new();
    for (name, value) in rules.target {
        let there = written.iter().find(|(n, _)| n == name);
        if let Some((_, there)) = there.filter(|(_, v)| !v.is_empty()) {
            conflicts.push((name, there.clone()));
        }
        builder.set(name, value);
    }
    conflicts.sort_by_key(|(name, _)| name.len());
    for (name, value) in conflicts {
        let mut name = format!("exported_{name}");
        while builder.get(&name).is_some() {
            name.insert_str(0, "exported_");
        }
        builder.set(&name, &value);
    }
}

fn check(labels: &Labels, config: &ScrapeConfig) -> Result<(), PageError> {
    let Some(metric) = labels.metric_name() else {
        let text = "missing metric name (__name__ label)";
        return Err(PageError::BadSeries(text.to_owned()));
    };
    let legacy = config.name_scheme == NameScheme::Legacy;
    let valid = |name: &str| !name.is_empty() && (!legacy || is_legacy_name(name));
    // A metric's name may have colons besides.
    let metric_valid = !legacy || is_legacy_name(&metric.replace(':', "_"));
    if !metric_valid || !labels.iter().all(|(name, _)| valid(name)) {
        return Err(PageError::BadSeries(format!(
            "invalid metric name or label names: {labels}"
        )));
    }
    check_limits(labels, metric, config).map_err(PageError::LabelLimit)
}

fn check_limits(labels: &Labels, metric: &str, config: &ScrapeConfig) -> Result<(), String> {
    let limits = &config.limits;
    let metric = shown(metric);
    if limits.labels > 0 && labels.len() > limits.labels {
        return Err(format!(
            "label_limit exceeded (metric: {metric}, number of labels: {}, limit: {})",
            labels.len(),
            limits.labels
        ));
    }
    for (name, value) in labels {
        let (name_limit, value_limit) = (limits.label_name_bytes, limits.label_value_bytes);
        if name_limit > 0 && name.len() > name_limit {
            return Err(format!(
                "label_name_length_limit exceeded (metric: {metric}, label name: {}, length: {}, limit: {name_limit})",
                shown(name),
                name.len()
            ));
        }
        if value_limit > 0 && value.len() > value_limit {
            return Err(format!(
                "label_value_length_limit exceeded (metric: {metric}, label name: {}, value: {}, length: {}, limit: {value_limit})",
                shown(name),
                promql::lexer::quote(shown(value)),
                value.len()
            ));
        }
    }
    Ok(())
}

fn shown(text: &str) -> &str {
    let end = text.char_indices().nth(SHOWN_CHARS);
    end.map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests;
