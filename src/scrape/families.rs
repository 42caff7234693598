//! Type, help and unit of the families that a target shows.

use std::collections::BTreeMap;

use storage::model::{Metadata, MetricType};

use super::exposition::Entry;

/// Pages without a family after which it is forgotten.
const KEPT_PAGES: u64 = 10;

/// What a target said of its families.
#[derive(Debug, Default)]
pub(crate) struct Families(BTreeMap<Box<[u8]>, Known>);

#[derive(Debug)]
struct Known {
    metadata: Metadata,
    seen: u64,
}

impl Families {
    /// Takes a line of metadata. Allocates where it says something new.
    pub(super) fn note(&mut self, entry: &Entry<'_>, page: u64) {
        let (Entry::Type(family, _) | Entry::Help(family, _) | Entry::Unit(family, _)) = entry
        else {
            return;
        };
        if !self.0.contains_key(*family) {
            let Ok(name) = std::str::from_utf8(family) else {
                return;
            };
            let metadata = Metadata {
                family: name.to_owned(),
                metric_type: MetricType::Unknown,
                ..Metadata::default()
            };
            let known = Known {
                metadata,
                seen: page,
            };
            self.0.insert((*family).into(), known);
        }
        let Some(known) = self.0.get_mut(*family) else {
            return;
        };
        known.seen = page;
        match entry {
            Entry::Type(_, metric_type) => known.metadata.metric_type = *metric_type,
            Entry::Help(_, help) => set(&mut known.metadata.help, help),
            Entry::Unit(_, unit) => {
                set(&mut known.metadata.unit, &String::from_utf8_lossy(unit));
            }
            Entry::Sample(_) => {}
        }
    }

    /// Forgets what was not there for some pages.
    pub(super) fn forget_unseen(&mut self, page: u64) {
        self.0.retain(|_, known| page - known.seen <= KEPT_PAGES);
    }

    /// One family.
    pub(crate) fn get(&self, family: &str) -> Option<&Metadata> {
        Some(&self.0.get(family.as_bytes())?.metadata)
    }

    /// All families, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Metadata> {
        self.0.values().map(|known| &known.metadata)
    }
}

fn set(target: &mut String, text: &str) {
    if target != text {
        text.clone_into(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_kept_for_some_pages_after_it_was_last_seen() {
        let mut families = Families::default();
        families.note(&Entry::Help(b"a", "Help.".into()), 1);
        families.note(&Entry::Type(b"a", MetricType::Gauge), 1);
        families.note(&Entry::Unit(b"b_s", b"s"), 1);
        families.note(&Entry::Help(b"b_s", "More.".into()), 5);
        families.forget_unseen(11);
        assert_eq!(families.get("a").unwrap().help, "Help.");
        assert_eq!(families.iter().count(), 2);
        families.forget_unseen(12);
        assert!(families.get("a").is_none());
        assert_eq!(families.iter().count(), 1);
    }
}
