//! Names, values and label sets of the series that a view holds within a range of time.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashSet;
use roaring::RoaringBitmap;

use super::entries::DRAW_BYTES;
use super::{Source, sources};
use crate::budget::Budget;
use crate::error::Result;
use crate::index::Index;
use crate::metrics::MetricsHead;
use crate::metrics::block::{OpenBlock, SeriesEntry};
use crate::metrics::head::TenantHead;
use crate::model::{ExemplarSeries, Labels, Matcher, Metadata, MsRange, Tenant};
use crate::signal::View;

/// See [`crate::Storage::series_labels`].
pub(crate) async fn series_labels(
    view: Arc<View<MetricsHead>>,
    budget: &Arc<Budget>,
    tenant: &Tenant,
    any_of: &[Vec<Matcher>],
    range: MsRange,
    limit: usize,
) -> Result<Vec<Labels>> {
    let mut found = HashSet::new();
    let mut held = budget.reserve("query", 0)?;
    for source in sources(&view, tenant, range).await? {
        let mut drawn = Ok(());
        let mut bytes = 0;
        let mut add = |labels: Labels| {
            if drawn.is_err() {
                return;
            }
            bytes += labels.as_bytes().len() as u64 + 48;
            found.insert(labels);
            if bytes > DRAW_BYTES {
                drawn = held.grow("query", std::mem::take(&mut bytes));
            }
        };
        match source {
            Source::Block(block) => {
                let each = |entry: &SeriesEntry| add(entry.labels.clone());
                block.select_any(any_of, range, each).await?;
            }
            Source::Head(head) => head.with_ids(any_of, range, |index, ids| {
                ids.iter().for_each(|id| add(index.labels(id)));
            }),
        }
        drawn?;
        held.grow("query", bytes)?;
    }
    let mut found: Vec<Labels> = found.into_iter().collect();
    found.sort_unstable();
    if limit > 0 {
        found.truncate(limit);
    }
    Ok(found)
}

/// See [`crate::Storage::label_names`].
pub(crate) async fn label_names(
    view: Arc<View<MetricsHead>>,
    _budget: &Arc<Budget>,
    tenant: &Tenant,
    any_of: &[Vec<Matcher>],
    range: MsRange,
) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for source in sources(&view, tenant, range).await? {
        match source {
            Source::Block(block) => {
                if any_of.is_empty()
                    && let Some(names) = block.names_in(range).await?
                {
                    found.extend(names);
                    continue;
                }
                let each = |entry: &SeriesEntry| {
                    for (name, _) in entry.labels.iter() {
                        if !found.contains(name) {
                            found.insert(name.to_owned());
                        }
                    }
                };
                block.select_any(any_of, range, each).await?;
            }
            Source::Head(head) => head.with_ids(any_of, range, |index, ids| {
                let mut names: HashSet<&str> = HashSet::new();
                if ids.len() == index.len() as u64 {
                    names.extend(index.names());
                } else {
                    for id in ids {
                        names.extend(index.iter_labels(id).map(|(name, _)| name));
                    }
                }
                found.extend(names.into_iter().map(str::to_owned));
            }),
        }
    }
    Ok(found.into_iter().collect())
}

/// See [`crate::Storage::label_values`].
pub(crate) async fn label_values(
    view: Arc<View<MetricsHead>>,
    _budget: &Arc<Budget>,
    tenant: &Tenant,
    name: &str,
    any_of: &[Vec<Matcher>],
    range: MsRange,
) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for source in sources(&view, tenant, range).await? {
        match source {
            Source::Block(block) => {
                if any_of.is_empty()
                    && let Some(values) = block.values_in(name, range).await?
                {
                    found.extend(values);
                } else {
                    let mut values = BTreeSet::new();
                    let each = |entry: &SeriesEntry| {
                        if let Some(value) = entry.labels.get(name)
                            && !values.contains(value)
                        {
                            values.insert(value.to_owned());
                        }
                    };
                    block.select_any(any_of, range, each).await?;
                    found.extend(values);
                }
            }
            Source::Head(head) => head.with_ids(any_of, range, |index, ids| {
                let mut values: HashSet<&str> = HashSet::new();
                if ids.len() == index.len() as u64 {
                    values.extend(index.values(name));
                } else {
                    values.extend(ids.iter().filter_map(|id| index.value(id, name)));
                }
                let mut values: Vec<&str> = values.into_iter().collect();
                values.sort_unstable();
                found.extend(values.into_iter().map(str::to_owned));
            }),
        }
        // Runs that are sorted already: this sort compares their values about once.
        found.sort();
        found.dedup();
    }
    Ok(found)
}

/// See [`crate::Storage::metadata`].
pub(crate) fn metadata(
    view: &View<MetricsHead>,
    tenant: &Tenant,
    family: Option<&str>,
) -> Vec<Metadata> {
    view.active.carried.metadata(tenant, family)
}

/// See [`crate::Storage::exemplars`].
pub(crate) fn exemplars(
    view: &View<MetricsHead>,
    tenant: &Tenant,
    any_of: &[Vec<Matcher>],
    range: MsRange,
) -> Vec<ExemplarSeries> {
    view.active.carried.exemplars(tenant, any_of, range)
}

impl OpenBlock {
    /// The names of labels of series with a sample in a range, told by the index alone but for the series in doubt; `None` where these
    /// are most.
    async fn names_in(&self, range: MsRange) -> Result<Option<Vec<String>>> {
        let names_of = |labels: &Labels| -> Vec<String> {
            let names = labels.iter().map(|(name, _)| name.to_owned());
            names.collect()
        };
        let Some((gone, theirs)) = self.gone(range, names_of).await? else {
            return Ok(None);
        };
        let mut lost = HashSet::new();
        for name in theirs.into_iter().flatten().collect::<HashSet<_>>() {
            if self.ids_with_name(&name)?.is_subset(&gone) {
                lost.insert(name);
            }
        }
        let names = self.names().filter(|name| !lost.contains(*name));
        Ok(Some(names.map(str::to_owned).collect()))
    }

    /// As [`Self::names_in`], the values of a label.
    async fn values_in(&self, name: &str, range: MsRange) -> Result<Option<Vec<String>>> {
        let value_of = |labels: &Labels| labels.get(name).map(str::to_owned);
        let Some((gone, theirs)) = self.gone(range, value_of).await? else {
            return Ok(None);
        };
        let mut lost = HashSet::new();
        for value in theirs.into_iter().flatten().collect::<HashSet<_>>() {
            let ids = self.ids_with_value(name, &value).await?;
            if ids.is_subset(&gone) {
                lost.insert(value);
            }
        }
        let mut values = Vec::new();
        let each = |value: &str| {
            if !lost.contains(value) {
                values.push(value.to_owned());
            }
        };
        self.values(name, each).await?;
        Ok(Some(values))
    }

    /// Calls a function with the series that pass all matchers of any of the lists (all series without a list) and may have
    /// a sample in the range; more than once with one that passes several.
    async fn select_any(
        &self,
        any_of: &[Vec<Matcher>],
        range: MsRange,
        mut f: impl FnMut(&SeriesEntry),
    ) -> Result<()> {
        if any_of.is_empty() {
            return self.select(&[], range, |_, entry| f(entry)).await;
        }
        for matchers in any_of {
            self.select(matchers, range, |_, entry| f(entry)).await?;
        }
        Ok(())
    }
}

impl TenantHead {
    /// Calls a function with the ids that pass all matchers of any of the lists (all ids without a list) and may have a
    /// sample in the range, and the index they belong to.
    fn with_ids(
        &self,
        any_of: &[Vec<Matcher>],
        range: MsRange,
        f: impl FnOnce(&Index, RoaringBitmap),
    ) {
        let ids = match any_of {
            [] => self.select_ids(&[], range),
            lists => lists
                .iter()
                .map(|matchers| {
                    self.sort_for(matchers);
                    self.select_ids(matchers, range)
                })
                .fold(RoaringBitmap::new(), |all, ids| all | ids),
        };
        f(&self.catalog.read().index, ids);
    }
}
