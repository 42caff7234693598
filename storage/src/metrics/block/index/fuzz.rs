//! For [`crate::fuzz`]: each decoder of the index, and what it says encoded anew.

use roaring::RoaringBitmap;

use super::directory::Directory;
use super::runs::{self, Runs};
use super::value_page::{Ids, ValuePage, ValuePageWriter};
use super::{SeriesEntry, group_pages, series_page};
use crate::codec::varint;
use crate::metrics::block::table::SeriesRow;

/// Series that there are. Few, so that a run of all of them is written anew at once.
const SERIES: u32 = 1 << 12;

/// See [`crate::fuzz::block_index`].
pub(crate) fn block_index(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 5 {
        0 => directory(bytes),
        1 => series(bytes),
        2 => values(bytes),
        3 => groups(bytes),
        _ => ids(bytes),
    }
}

fn directory(bytes: &[u8]) {
    if let Ok(directory) = Directory::decode(bytes) {
        assert_eq!(Directory::decode(&directory.encode()), Ok(directory));
    }
}

fn series(bytes: &[u8]) {
    let Ok(page) = series_page::decode(bytes) else {
        return;
    };
    let row = |entry: &SeriesEntry| SeriesRow {
        id: 0,
        labels: entry.labels.clone(),
        min_ms: entry.times.0,
        max_ms: entry.times.1,
        first_row: entry.rows.start,
        rows: entry.rows.end - entry.rows.start,
        first_histogram_row: entry.histogram_rows.start,
        histogram_rows: entry.histogram_rows.end - entry.histogram_rows.start,
    };
    let rows: Vec<SeriesRow> = page.iter().map(row).collect();
    assert_eq!(series_page::decode(&series_page::encode(&rows)), Ok(page));
}

fn values(bytes: &[u8]) {
    let Ok(page) = ValuePage::decode(bytes) else {
        return;
    };
    let mut writer = ValuePageWriter::default();
    for at in 0..page.len() {
        match page.ids(at) {
            Ids::Inline(range) => {
                let _ = runs::add_to(&mut RoaringBitmap::new(), page.inline(range), SERIES);
                writer.push_inline(page.value(at), page.inline(range));
            }
            Ids::Outside(range) => writer.push_outside(page.value(at), range.end - range.start),
        }
        let _ = page.find(page.value(at));
    }
    assert_eq!(ValuePage::decode(&writer.finish()), Ok(page));
}

/// The first row of the group comes first.
fn groups(mut bytes: &[u8]) {
    let Ok(first_row) = varint::take(&mut bytes) else {
        return;
    };
    if let Ok(pages) = group_pages::decode(first_row, bytes) {
        let again = group_pages::decode(first_row, &group_pages::encode(first_row, &pages));
        assert_eq!(again, Ok(pages));
    }
}

fn ids(bytes: &[u8]) {
    let mut set = RoaringBitmap::new();
    if runs::add_to(&mut set, bytes, SERIES).is_ok() {
        let (mut runs, mut again) = (Runs::default(), RoaringBitmap::new());
        set.iter().for_each(|id| runs.push(id));
        assert_eq!(runs::add_to(&mut again, &runs.finish(), SERIES), Ok(()));
        assert_eq!(again, set);
    }
}
