//! The directory of an index: what stands at the end of the file and stays in memory while the block is in use.

use super::front::Texts;
use super::{front, runs};
use crate::codec::ChunkError;
use crate::codec::varint;

/// Most series in a page, whatever the writer: what bounds the number of series by the number of pages.
const MAX_SERIES_PER_PAGE: u32 = 1 << 16;

/// Bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) bytes: u64,
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
    /// The latest first time and the earliest last time of a series: a range that takes in both has samples of all.
    pub(super) common: (i64, i64),
    /// Number of series in each page but the last.
    pub(super) series_per_page: u32,
    pub(super) series_pages: Vec<Place>,
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
            + self.series_pages.len() * size_of::<Place>()
            + self.groups.len() * size_of::<(u64, Place)>()
            + self.names.iter().map(name).sum::<usize>()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, u64::from(self.series));
        varint::put_signed(&mut out, self.common.0);
        varint::put_signed(&mut out, self.common.1);
        varint::put(&mut out, u64::from(self.series_per_page));
        varint::put(&mut out, self.series_pages.len() as u64);
        self.series_pages
            .iter()
            .for_each(|p| put_place(&mut out, *p));
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
            common: (varint::take_signed(rest)?, varint::take_signed(rest)?),
            series_per_page: small(varint::take(rest)?)?,
            ..Self::default()
        };
        for _ in 0..front::take_count(rest, 2)? {
            out.series_pages.push(take_place(rest)?);
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
            common: (-5, 7),
            series_per_page: 128,
            series_pages: vec![place(5, 100), place(105, 90), place(195, 10)],
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
            series_pages: vec![place(5, 100)],
            ..directory
        };
        assert!(
            Directory::decode(&few.encode()).is_err(),
            "ids of no series"
        );
    }
}
