//! Matchers → ids.
//!
//! Matchers that name their values (`=`, alternations of literals) come first: each reads the pages that hold these values. A pattern with
//! a literal prefix reads the pages of that prefix. A matcher for which more values would have to be looked at than there are candidates
//! is handed back: it is decided series by series.

use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::directory::{Name, Place};
use super::value_page::{Ids, ValuePage};
use super::{SeriesIndex, corrupt, runs};
use crate::block::Block;
use crate::error::Result;
use crate::index::{Ways, named_values};
use crate::model::Matcher;

/// Matchers that a look-up left to be decided series by series.
pub(in crate::metrics::block) type Undecided<'m> = SmallVec<[&'m Matcher; 2]>;

/// Pages of values that are held at once.
const PAGES_AT_ONCE: usize = 64;

impl SeriesIndex {
    /// The ids that pass all matchers but those that are handed back.
    ///
    /// # Errors
    /// `Corrupt`, or what the object store says.
    pub(in crate::metrics::block) async fn candidates<'m>(
        &self,
        block: &Arc<Block>,
        matchers: &'m [Matcher],
    ) -> Result<(RoaringBitmap, Undecided<'m>)> {
        let index = self.current();
        match index.candidates_here(block, matchers).await {
            Err(e) => {
                let made = index.instead(block, e).await?;
                made.candidates_here(block, matchers).await
            }
            found => found,
        }
    }

    async fn candidates_here<'m>(
        &self,
        block: &Block,
        matchers: &'m [Matcher],
    ) -> Result<(RoaringBitmap, Undecided<'m>)> {
        let nothing = || Ok((RoaringBitmap::new(), Undecided::new()));
        let mut found: Option<RoaringBitmap> = None;
        let mut undecided = Undecided::new();
        let Ways {
            named,
            scans,
            complements,
        } = Ways::of(matchers);
        for (m, values) in named {
            let Some(name) = self.directory.name(m.name()) else {
                return nothing();
            };
            let ids = self.ids_of(block, name, values).await?;
            let ids = match found {
                Some(before) => before & ids,
                None => ids,
            };
            if ids.is_empty() {
                return nothing();
            }
            found = Some(ids);
        }
        for m in scans {
            let Some(name) = self.directory.name(m.name()) else {
                return nothing();
            };
            if found.as_ref().is_some_and(|ids| ids.len() < name.values) {
                undecided.push(m);
                continue;
            }
            let matching = self.matching(block, name, m, true).await?;
            found = Some(match found {
                Some(before) => before & matching,
                None => matching,
            });
        }
        let mut ids = found.unwrap_or_else(|| {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..self.len());
            all
        });
        for m in complements {
            let Some(name) = self.directory.name(m.name()) else {
                continue;
            };
            if ids.len() < name.values {
                undecided.push(m);
            } else {
                ids -= self.matching(block, name, m, false).await?;
            }
        }
        Ok((ids, undecided))
    }

    /// The ids that have a label.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(in crate::metrics::block) fn ids_with_name(
        &self,
        block: &Block,
        name: &str,
    ) -> Result<RoaringBitmap> {
        let name = self.directory.name(name);
        name.map_or_else(|| Ok(RoaringBitmap::new()), |name| self.all_of(block, name))
    }

    /// All values of a name, sorted.
    ///
    /// # Errors
    /// As [`Self::candidates`].
    pub(in crate::metrics::block) async fn values(
        &self,
        block: &Arc<Block>,
        name: &str,
        mut f: impl FnMut(&str),
    ) -> Result<()> {
        let mut given = 0;
        let index = self.current();
        match index.values_here(block, name, &mut given, &mut f).await {
            Err(e) => {
                let made = index.instead(block, e).await?;
                made.values_here(block, name, &mut given, &mut f).await
            }
            done => done,
        }
    }

    /// Leaves the values out that were given already.
    async fn values_here(
        &self,
        block: &Block,
        name: &str,
        given: &mut usize,
        f: &mut impl FnMut(&str),
    ) -> Result<()> {
        let Some(name) = self.directory.name(name) else {
            return Ok(());
        };
        let mut before = 0;
        for pages in name.pages.chunks(PAGES_AT_ONCE) {
            for page in self.value_pages(block, pages).await? {
                let first = given.saturating_sub(before).min(page.len());
                (first..page.len()).for_each(|at| f(page.value(at)));
                before += page.len();
                *given = before.max(*given);
            }
        }
        Ok(())
    }

    /// The ids that have a value of the name for which the matcher says `pass`.
    async fn matching(
        &self,
        block: &Block,
        name: &Name,
        m: &Matcher,
        pass: bool,
    ) -> Result<RoaringBitmap> {
        // A matcher and its negation describe the same values.
        let described = pass != m.op().is_negative();
        if let Some(values) = named_values(m) {
            let ids = self.ids_of(block, name, values).await?;
            return Ok(match described {
                true => ids,
                false => self.all_of(block, name)? - ids,
            });
        }
        if m.value() == ".+" {
            return match described {
                true => self.all_of(block, name),
                false => Ok(RoaringBitmap::new()),
            };
        }
        let prefix = match described {
            true => m.prefix(),
            false => "",
        };
        let mut found = Found::default();
        for places in pages_of_prefix(name, prefix).chunks(PAGES_AT_ONCE) {
            let pages = self.value_pages(block, places).await?;
            for ((_, place), page) in std::iter::zip(places, pages) {
                let start = page.partition_point(|v| v < prefix);
                for at in start..page.len() {
                    let value = page.value(at);
                    if !value.starts_with(prefix) {
                        break;
                    }
                    if m.matches(value) == pass {
                        found
                            .add(*place, &page, at, self.len())
                            .ok_or_else(|| corrupt(block))?;
                    }
                }
            }
        }
        self.union(block, found).await
    }

    /// The ids that have one of these values.
    async fn ids_of(
        &self,
        block: &Block,
        name: &Name,
        mut values: Vec<&str>,
    ) -> Result<RoaringBitmap> {
        values.sort_unstable();
        let mut found = Found::default();
        let mut values = values.into_iter().peekable();
        while let Some(value) = values.peek() {
            let Some(number) = page_of(name, value) else {
                // Smaller than the first of all.
                values.next();
                continue;
            };
            let next_first = name.pages.get(number + 1).map(|(first, _)| first.as_str());
            let pages = &name.pages[number..=number];
            let page = self.value_pages(block, pages).await?;
            let (Some((_, place)), Some(page)) = (pages.first(), page.first()) else {
                return Err(corrupt(block));
            };
            while let Some(value) = values.next_if(|v| next_first.is_none_or(|next| *v < next)) {
                if let Some(at) = page.find(value) {
                    found
                        .add(*place, page, at, self.len())
                        .ok_or_else(|| corrupt(block))?;
                }
            }
        }
        self.union(block, found).await
    }

    fn all_of(&self, block: &Block, name: &Name) -> Result<RoaringBitmap> {
        let mut all = RoaringBitmap::new();
        runs::add_to(&mut all, &name.ids, self.len()).map_err(|_| corrupt(block))?;
        Ok(all)
    }

    /// Brings together what was found, and reads what lies outside of the pages.
    async fn union(&self, block: &Block, found: Found) -> Result<RoaringBitmap> {
        let mut ids = found.ids;
        let decode = |bytes: &[u8]| {
            let mut ids = RoaringBitmap::new();
            runs::add_to(&mut ids, bytes, self.len())?;
            let held = ids.serialized_size();
            Ok((ids, held))
        };
        for outside in self.pages(block, &found.outside, decode).await? {
            match ids.is_empty() {
                true => ids.clone_from(&outside),
                false => ids |= &*outside,
            }
        }
        Ok(ids)
    }

    pub(super) async fn value_pages(
        &self,
        block: &Block,
        pages: &[(String, Place)],
    ) -> Result<Vec<Arc<ValuePage>>> {
        let places: Vec<Place> = pages.iter().map(|(_, place)| *place).collect();
        let decode = |bytes: &[u8]| {
            let page = ValuePage::decode(bytes)?;
            let held = page.held_bytes();
            Ok((page, held))
        };
        self.pages(block, &places, decode).await
    }
}

/// Ids of values, and where more of them lie.
#[derive(Default)]
struct Found {
    ids: RoaringBitmap,
    outside: Vec<Place>,
}

impl Found {
    /// Adds a value of a page; `None` when its ids are none of so many series.
    fn add(&mut self, page_place: Place, page: &ValuePage, at: usize, series: u32) -> Option<()> {
        match page.ids(at) {
            Ids::Inline(range) => runs::add_to(&mut self.ids, page.inline(range), series).ok(),
            Ids::Outside(Range { start, end }) => {
                let offset = page_place.offset.checked_add(page_place.bytes)?;
                self.outside.push(Place {
                    offset: offset.checked_add(*start)?,
                    bytes: end - start,
                });
                Some(())
            }
        }
    }
}

/// The page in which a value would stand; `None` when it would stand before the first.
fn page_of(name: &Name, value: &str) -> Option<usize> {
    name.pages
        .partition_point(|(first, _)| first.as_str() <= value)
        .checked_sub(1)
}

/// The pages in which values with a prefix may stand.
fn pages_of_prefix<'n>(name: &'n Name, prefix: &str) -> &'n [(String, Place)] {
    let start = page_of(name, prefix).unwrap_or(0);
    let pages = &name.pages[start..];
    let end =
        pages.partition_point(|(first, _)| first.as_str() < prefix || first.starts_with(prefix));
    &pages[..end]
}
