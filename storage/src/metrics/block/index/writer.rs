//! Rows of the series table → the index, while the block is written. Holds one page of series, and the ids of each label pair.

use std::io::Write;

use hashbrown::HashMap;
use parquet::file::metadata::ParquetMetaData;

use super::directory::{Common, Directory, ListedPage, Name, Place};
use super::runs::Runs;
use super::value_page::{INLINE_BYTES, ValuePageWriter};
use super::{MAGIC, SERIES_PER_PAGE, VERSION, group_pages, pack, series_page};
use crate::error::{Error, Result};
use crate::metrics::block::INDEX_FILE;
use crate::metrics::block::table::SeriesRow;

/// Bytes after which a page of values is full. In tests few series are to fill several pages of each kind.
const VALUE_PAGE_BYTES: usize = if cfg!(test) { 64 } else { 16 * 1024 };

/// Writes the index of a block.
pub(in crate::metrics::block) struct IndexWriter<W> {
    out: Counted<W>,
    page: Vec<SeriesRow>,
    series: u32,
    common: Common,
    series_pages: Vec<ListedPage>,
    names: HashMap<String, NameIds>,
}

/// Ids of a name and of its values.
#[derive(Default)]
struct NameIds {
    all: Runs,
    values: HashMap<String, Runs>,
}

struct Counted<W> {
    out: W,
    written: u64,
}

impl<W: Write> Counted<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<Place> {
        self.out.write_all(bytes).map_err(Error::io(INDEX_FILE))?;
        let place = Place {
            offset: self.written,
            bytes: bytes.len() as u64,
        };
        self.written += bytes.len() as u64;
        Ok(place)
    }
}

impl<W: Write> IndexWriter<W> {
    /// Starts the file.
    ///
    /// # Errors
    /// `Io`.
    pub(in crate::metrics::block) fn new(out: W) -> Result<Self> {
        let mut out = Counted { out, written: 0 };
        out.put(MAGIC)?;
        out.put(&[VERSION])?;
        Ok(Self {
            out,
            page: Vec::new(),
            series: 0,
            common: Common::default(),
            series_pages: Vec::new(),
            names: HashMap::new(),
        })
    }

    /// Adds a series that follows all before in the order of labels.
    ///
    /// # Errors
    /// `Io`.
    pub(in crate::metrics::block) fn push(&mut self, row: SeriesRow) -> Result<()> {
        let id = self.series;
        self.series += 1;
        self.common.add(row.min_ms, row.max_ms);
        for (name, value) in row.labels.iter() {
            let of_name = self.names.entry_ref(name).or_default();
            of_name.all.push(id);
            of_name.values.entry_ref(value).or_default().push(id);
        }
        self.page.push(row);
        if self.page.len() == SERIES_PER_PAGE as usize {
            self.write_series()?;
        }
        Ok(())
    }

    /// Writes the rest. `samples` describes the table of samples, which is complete.
    ///
    /// # Errors
    /// `Io`; `BadInput` when the table has no index of its pages.
    pub(in crate::metrics::block) fn finish(mut self, samples: &ParquetMetaData) -> Result<W> {
        if !self.page.is_empty() {
            self.write_series()?;
        }
        let mut names: Vec<_> = std::mem::take(&mut self.names).into_iter().collect();
        names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut directory = Directory {
            series: self.series,
            common: self.common,
            series_per_page: SERIES_PER_PAGE,
            series_pages: std::mem::take(&mut self.series_pages),
            ..Directory::default()
        };
        for (name, ids) in names {
            directory.names.push(self.write_name(name, ids)?);
        }
        let groups = group_pages::of_file(samples)
            .ok_or_else(|| Error::BadInput("a table without an index of its pages".to_owned()))?;
        for (first_row, pages) in groups {
            let place = self
                .out
                .put(&pack(&group_pages::encode(first_row, &pages))?)?;
            directory.groups.push((first_row, place));
        }
        let place = self.out.put(&pack(&directory.encode())?)?;
        self.out.put(&place.offset.to_le_bytes())?;
        self.out.put(MAGIC)?;
        self.out.out.flush().map_err(Error::io(INDEX_FILE))?;
        Ok(self.out.out)
    }

    fn write_series(&mut self) -> Result<()> {
        let mut common = Common::default();
        self.page
            .iter()
            .for_each(|s| common.add(s.min_ms, s.max_ms));
        let page = pack(&series_page::encode(&self.page))?;
        self.page.clear();
        let place = self.out.put(&page)?;
        self.series_pages.push(ListedPage { place, common });
        Ok(())
    }

    fn write_name(&mut self, name: String, ids: NameIds) -> Result<Name> {
        let mut values: Vec<_> = ids.values.into_iter().collect();
        values.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut out = Name {
            name,
            values: values.len() as u64,
            ids: ids.all.finish(),
            pages: Vec::new(),
        };
        let (mut page, mut outside) = (ValuePageWriter::default(), Vec::new());
        let mut first: Option<String> = None;
        for (value, ids) in values {
            first.get_or_insert_with(|| value.clone());
            let ids = ids.finish();
            if ids.len() <= INLINE_BYTES {
                page.push_inline(&value, &ids);
            } else {
                let ids = pack(&ids)?;
                page.push_outside(&value, ids.len() as u64);
                outside.push(ids);
            }
            if page.len() >= VALUE_PAGE_BYTES {
                let full = std::mem::take(&mut page);
                self.write_values(&mut out, first.take(), full, std::mem::take(&mut outside))?;
            }
        }
        self.write_values(&mut out, first, page, outside)?;
        Ok(out)
    }

    fn write_values(
        &mut self,
        name: &mut Name,
        first: Option<String>,
        page: ValuePageWriter,
        outside: Vec<Vec<u8>>,
    ) -> Result<()> {
        let Some(first) = first else {
            return Ok(());
        };
        let place = self.out.put(&pack(&page.finish())?)?;
        name.pages.push((first, place));
        for ids in outside {
            self.out.put(&ids)?;
        }
        Ok(())
    }
}
