//! The directory of an index: what stands at the end of the file and stays in memory while the block is in use.

use super::front::Texts;
use super::{front, runs};
use crate::codec::ChunkError;
use crate::codec::varint;
use crate::model::MsRange;

/// Most series in a page, whatever the writer: what bounds the number of series by the number of pages.
const MAX_SERIES_PER_PAGE: u32 = 1 << 16;

/// Bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// The latest first time and the earliest last time of some series: a range that takes in both may have samples of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Common {
    pub(super) latest_start: i64,
    pub(super) earliest_end: i64,
}

impl Default for Common {
    /// That of no series.
    fn default() -> Self {
        Self {
            latest_start: i64::MIN,
            earliest_end: i64::MAX,
        }
    }
}

impl Common {
    /// Takes in a series, by its first and its last time.
    pub(super) fn add(&mut self, min_ms: i64, max_ms: i64) {
        self.latest_start = self.latest_start.max(min_ms);
        self.earliest_end = self.earliest_end.min(max_ms);
    }

    /// Whether all series may have a sample in a range.
    pub(super) const fn overlaps(self, range: MsRange) -> bool {
        self.latest_start <= range.max_ms && range.min_ms <= self.earliest_end
    }

    /// As little as it differs from another one.
    fn encode(self, base: Self, out: &mut Vec<u8>) {
        varint::put_signed(out, self.latest_start.wrapping_sub(base.latest_start));
        varint::put_signed(out, self.earliest_end.wrapping_sub(base.earliest_end));
    }

    fn take(base: Self, rest: &mut &[u8]) -> Result<Self, ChunkError> {
        Ok(Self {
            latest_start: varint::take_signed(rest)?.wrapping_add(base.latest_start),
            earliest_end: varint::take_signed(rest)?.wrapping_add(base.earliest_end),
        })
    }
}

/// A page of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListedPage {
    pub(super) place: Place,
    pub(super) common: Common,
}

/// A label name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) name: String,
    /// Number of its values.
    pub(super) values: u64,
    /// The ids of all series that have it, encoded as [`super::runs`] says.
    pub(super) ids: Vec<u8>,
    /// Its pages: the first value of each, and where it is.
    pub(super) pages: Vec<(String, Place)>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    /// Number of series.
    pub(super) series: u32,
    /// Of all series.
    pub(super) common: Common,
    /// Number of series in each page but the last.
    pub(super) series_per_page: u32,
    pub(super) series_pages: Vec<ListedPage>,
    /// Sorted by name.
    pub(super) names: Vec<Name>,
    /// First row of each row group of samples, and where its pages are listed.
    pub(super) groups: Vec<(u64, Place)>,
}

impl Directory {
    /// A name of a label.
    pub(super) fn name(&self, name: &str) -> Option<&Name> {
        let at = self
            .names
            .binary_search_by(|n| n.name.as_str().cmp(name))
            .ok()?;
        self.names.get(at)
    }

    /// Bytes held.
    pub(super) fn held_bytes(&self) -> usize {
        let name = |n: &Name| {
            let pages: usize = n.pages.iter().map(|(first, _)| first.len() + 40).sum();
            size_of::<Name>() + n.name.len() + n.ids.len() + pages
        };
        size_of::<Self>()
            + self.series_pages.len() * size_of::<ListedPage>()
            + self.groups.len() * size_of::<(u64, Place)>()
            + self.names.iter().map(name).sum::<usize>()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, u64::from(self.series));
        self.common.encode(Common::default(), &mut out);
        varint::put(&mut out, u64::from(self.series_per_page));
        varint::put(&mut out, self.series_pages.len() as u64);
        for page in &self.series_pages {
            put_place(&mut out, page.place);
            page.common.encode(self.common, &mut out);
        }
        varint::put(&mut out, self.names.len() as u64);
        for name in &self.names {
            front::put_bytes(&mut out, name.name.as_bytes());
            varint::put(&mut out, name.values);
            front::put_bytes(&mut out, &name.ids);
            varint::put(&mut out, name.pages.len() as u64);
            let mut before: &[u8] = &[];
            for (first, place) in &name.pages {
                front::put(&mut out, before, first.as_bytes());
                before = first.as_bytes();
                put_place(&mut out, *place);
            }
        }
        varint::put(&mut out, self.groups.len() as u64);
        for (first_row, place) in &self.groups {
            varint::put(&mut out, *first_row);
            put_place(&mut out, *place);
        }
        out
    }

    /// Decodes a directory.
    ///
    /// # Errors
    /// When it is not what [`Self::encode`] makes.
    pub(super) fn decode(mut rest: &[u8]) -> Result<Self, ChunkError> {
        let rest = &mut rest;
        let small = |n: u64| u32::try_from(n).map_err(|_| ChunkError::Number);
        let mut out = Self {
            series: small(varint::take(rest)?)?,
            common: Common::take(Common::default(), rest)?,
            series_per_page: small(varint::take(rest)?)?,
            ..Self::default()
        };
        for _ in 0..front::take_count(rest, 4)? {
            out.series_pages.push(ListedPage {
                place: take_place(rest)?,
                common: Common::take(out.common, rest)?,
            });
        }
        let pages = u64::from(out.series).div_ceil(u64::from(out.series_per_page.max(1)));
        let is_bounded = out.series_per_page <= MAX_SERIES_PER_PAGE;
        if pages != out.series_pages.len() as u64 || !is_bounded {
            return Err(ChunkError::Number);
        }
        for _ in 0..front::take_count(rest, 4)? {
            let mut name = Name {
                name: text(front::take_bytes(rest)?)?,
                values: varint::take(rest)?,
                ids: front::take_bytes(rest)?.to_vec(),
                pages: Vec::new(),
            };
            runs::check(&name.ids, out.series)?;
            let mut firsts = Texts::default();
            for _ in 0..front::take_count(rest, 4)? {
                let first = text(firsts.take(rest)?)?;
                name.pages.push((first, take_place(rest)?));
            }
            out.names.push(name);
        }
        for _ in 0..front::take_count(rest, 3)? {
            let first_row = varint::take(rest)?;
            out.groups.push((first_row, take_place(rest)?));
        }
        match rest.is_empty() && out.is_sorted() {
            true => Ok(out),
            false => Err(ChunkError::Number),
        }
    }

    /// Whether all is in the order in which it is searched.
    fn is_sorted(&self) -> bool {
        let pages = |n: &Name| n.pages.is_sorted_by(|(a, _), (b, _)| a < b);
        self.names.is_sorted_by(|a, b| a.name < b.name)
            && self.names.iter().all(pages)
            && self.groups.is_sorted_by(|(a, _), (b, _)| a < b)
    }
}

fn text(bytes: &[u8]) -> Result<String, ChunkError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ChunkError::Number)
}

fn put_place(out: &mut Vec<u8>, place: Place) {
    varint::put(out, place.offset);
    varint::put(out, place.bytes);
}

fn take_place(rest: &mut &[u8]) -> Result<Place, ChunkError> {
    Ok(Place {
        offset: varint::take(rest)?,
        bytes: varint::take(rest)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_reads_back_as_written_and_a_cut_one_does_not() {
        let place = |offset, bytes| Place { offset, bytes };
        let page = |offset, bytes, (latest_start, earliest_end)| ListedPage {
            place: place(offset, bytes),
            common: Common {
                latest_start,
                earliest_end,
            },
        };
        let name = |name: &str, pages: &[&str]| Name {
            name: name.to_owned(),
            values: 300,
            ids: vec![0b11, 3],
            pages: pages
                .iter()
                .map(|p| ((*p).to_owned(), place(9, 8)))
                .collect(),
        };
        let directory = Directory {
            series: 300,
            common: Common {
                latest_start: -5,
                earliest_end: 7,
            },
            series_per_page: 128,
            series_pages: vec![
                page(5, 100, (-5, 7)),
                page(105, 90, (-9, i64::MAX)),
                page(195, 10, (i64::MIN, 8)),
            ],
            names: vec![name("__name__", &["a", "abc"]), name("job", &["x"])],
            groups: vec![(0, place(300, 20)), (1 << 20, place(320, 7))],
        };
        let bytes = directory.encode();
        assert_eq!(Directory::decode(&bytes).unwrap(), directory);
        assert_eq!(directory.name("job").unwrap().pages.len(), 1);
        assert!(directory.name("jo").is_none());
        for cut in 0..bytes.len() {
            assert!(Directory::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let few = Directory {
            series: 2,
            series_pages: vec![page(5, 100, (0, 0))],
            ..directory
        };
        assert!(
            Directory::decode(&few.encode()).is_err(),
            "ids of no series"
        );
    }
}
