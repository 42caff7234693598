//! Pages: runs of entries of one stream. An open page takes entries as they come; a sealed one is
//! compressed and sorted by time.
//!
//! ```text
//!  sealed page = one zstd frame of
//!    uvarint  entries, metadata sets, bytes of `times`, bytes of `lines`, bytes of `sets`
//!    times    first time, then difference to the difference before (zigzag), for each entry
//!    lines    length of each line
//!    sets     number of each entry's metadata set
//!    shapes   for each set: pairs, and the lengths of their names and values
//!    text     names and values of the sets, then the lines
//! ```
//!
//! Invariant: entries of a sealed page ascend in time, those of one time stand in order of arrival.

use std::cell::RefCell;
use std::sync::OnceLock;

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{ChunkError, varint};
use crate::model::EntryBuf;
use crate::read::ReadError;

/// Bytes of text after which a page is sealed.
pub(super) const PAGE_BYTES: usize = 128 * 1024;
/// Entries after which a page is sealed, however short they are.
pub(super) const PAGE_ENTRIES: usize = 16 * 1024;

const LEVEL: i32 = 1;

type Part = (u32, u32);

#[derive(Clone, Copy, Debug)]
struct OpenEntry {
    t_ns: i64,
    line: Part,
    set: u32,
}

/// A page that takes entries.
#[derive(Clone, Debug)]
pub(super) struct OpenPage {
    lines: String,
    entries: Vec<OpenEntry>,
    metadata: String,
    /// Names and values of all sets.
    pairs: Vec<(Part, Part)>,
    /// Range of each set in `pairs`; the first is the empty one.
    sets: Vec<Part>,
    by_set: HashMap<u64, u32>,
    min_ns: i64,
    max_ns: i64,
    sorted: bool,
}

impl Default for OpenPage {
    fn default() -> Self {
        Self {
            lines: String::new(),
            entries: Vec::new(),
            metadata: String::new(),
            pairs: Vec::new(),
            sets: vec![(0, 0)],
            by_set: HashMap::new(),
            min_ns: i64::MAX,
            max_ns: i64::MIN,
            sorted: true,
        }
    }
}

impl OpenPage {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn line_bytes(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn bounds_ns(&self) -> (i64, i64) {
        (self.min_ns, self.max_ns)
    }

    /// Whether it is time to seal it.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() + self.metadata.len() >= PAGE_BYTES || self.entries.len() >= PAGE_ENTRIES
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.lines.capacity()
            + self.metadata.capacity()
            + self.entries.capacity() * size_of::<OpenEntry>()
            + self.pairs.capacity() * size_of::<(Part, Part)>()
            + self.sets.capacity() * size_of::<Part>()
            + self.by_set.capacity() * 16
    }

    /// Adds an entry.
    pub(super) fn push<'t>(
        &mut self,
        t_ns: i64,
        line: &str,
        metadata: impl Iterator<Item = (&'t str, &'t str)> + Clone,
    ) {
        let set = self.set(metadata);
        let start = self.lines.len() as u32;
        self.lines.push_str(line);
        self.sorted &= self.max_ns <= t_ns;
        self.min_ns = self.min_ns.min(t_ns);
        self.max_ns = self.max_ns.max(t_ns);
        self.entries.push(OpenEntry {
            t_ns,
            line: (start, self.lines.len() as u32),
            set,
        });
    }

    /// Whether it holds this very entry.
    pub(super) fn contains(&self, t_ns: i64, line: &str) -> bool {
        if t_ns < self.min_ns || self.max_ns < t_ns {
            return false;
        }
        let same = |e: &OpenEntry| e.t_ns == t_ns && text(&self.lines, e.line) == line;
        if self.sorted {
            let first = self.entries.partition_point(|e| e.t_ns < t_ns);
            return self.entries[first..]
                .iter()
                .take_while(|e| e.t_ns == t_ns)
                .any(same);
        }
        self.entries.iter().any(same)
    }

    /// Adds the entries that `wanted` names by their times, ascending.
    pub(super) fn read(&self, wanted: impl Fn(i64) -> bool, out: &mut EntryBuf) {
        let mut put = |e: &OpenEntry| {
            if wanted(e.t_ns) {
                out.push(e.t_ns, text(&self.lines, e.line), self.pairs_of(e.set));
            }
        };
        if self.sorted {
            self.entries.iter().for_each(&mut put);
        } else {
            self.by_time().iter().for_each(&mut put);
        }
    }

    fn by_time(&self) -> Vec<OpenEntry> {
        let mut entries = self.entries.clone();
        entries.sort_by_key(|e| e.t_ns);
        entries
    }

    fn pairs_of(&self, set: u32) -> impl Iterator<Item = (&str, &str)> + Clone {
        let (start, end) = self.sets[set as usize];
        self.pairs[start as usize..end as usize]
            .iter()
            .map(|&(n, v)| (text(&self.metadata, n), text(&self.metadata, v)))
    }

    fn set<'t>(&mut self, metadata: impl Iterator<Item = (&'t str, &'t str)> + Clone) -> u32 {
        if metadata.clone().next().is_none() {
            return 0;
        }
        // Most lines have the metadata of the line before.
        if let Some(last) = self.entries.last()
            && same(self.pairs_of(last.set), metadata.clone())
        {
            return last.set;
        }
        let mut hash = 0_u64;
        for (name, value) in metadata.clone() {
            hash = hash.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ xxh3_64(name.as_bytes())
                ^ xxh3_64(value.as_bytes()).rotate_left(32);
        }
        if let Some(&known) = self.by_set.get(&hash)
            && same(self.pairs_of(known), metadata.clone())
        {
            return known;
        }
        let start = self.pairs.len() as u32;
        for (name, value) in metadata {
            let pair = (
                put(&mut self.metadata, name),
                put(&mut self.metadata, value),
            );
            self.pairs.push(pair);
        }
        let set = self.sets.len() as u32;
        self.sets.push((start, self.pairs.len() as u32));
        self.by_set.insert(hash, set);
        set
    }

    /// Compresses the page.
    pub(super) fn seal(&self) -> SealedPage {
        let sorted;
        let entries = if self.sorted {
            &self.entries[..]
        } else {
            sorted = self.by_time();
            &sorted[..]
        };
        let (mut times, mut lines, mut sets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut before, mut step) = (0_i64, 0_i64);
        for e in entries {
            let now = e.t_ns.wrapping_sub(before);
            varint::put_signed(&mut times, now.wrapping_sub(step));
            (before, step) = (e.t_ns, now);
            varint::put(&mut lines, u64::from(e.line.1 - e.line.0));
            varint::put(&mut sets, u64::from(e.set));
        }
        let columns = times.len() + lines.len() + sets.len() + self.pairs.len() * 2;
        let size = columns + self.metadata.len() + self.lines.len() + 64;
        let mut body = Vec::with_capacity(size);
        for n in [
            entries.len(),
            self.sets.len(),
            times.len(),
            lines.len(),
            sets.len(),
        ] {
            varint::put(&mut body, n as u64);
        }
        body.extend_from_slice(&times);
        body.extend_from_slice(&lines);
        body.extend_from_slice(&sets);
        for &(start, end) in &self.sets {
            varint::put(&mut body, u64::from(end - start));
            for (name, value) in &self.pairs[start as usize..end as usize] {
                varint::put(&mut body, u64::from(name.1 - name.0));
                varint::put(&mut body, u64::from(value.1 - value.0));
            }
        }
        body.extend_from_slice(self.metadata.as_bytes());
        for e in entries {
            body.extend_from_slice(text(&self.lines, e.line).as_bytes());
        }
        SealedPage {
            min_ns: self.min_ns,
            max_ns: self.max_ns,
            entries: entries.len() as u32,
            line_bytes: self.lines.len() as u32,
            body_bytes: body.len() as u32,
            packed: pack(&body),
            keys: OnceLock::new(),
        }
    }
}

/// A page at rest.
#[derive(Debug)]
pub(super) struct SealedPage {
    pub(super) min_ns: i64,
    pub(super) max_ns: i64,
    pub(super) entries: u32,
    pub(super) line_bytes: u32,
    body_bytes: u32,
    packed: Box<[u8]>,
    /// Hashes of (time, line), sorted; made when a late write has to know whether it is new.
    keys: OnceLock<Box<[u64]>>,
}

impl SealedPage {
    pub(super) fn held_bytes(&self) -> usize {
        self.packed.len() + size_of::<Self>()
    }

    /// Adds the entries that `wanted` names by their times, ascending.
    pub(super) fn read(
        &self,
        wanted: impl Fn(i64) -> bool,
        out: &mut EntryBuf,
    ) -> Result<(), ReadError> {
        unpack(&self.packed, self.body_bytes as usize, |body| {
            decode(body, wanted, out).map_err(|_| corrupt())
        })
    }

    /// Whether it holds this very entry. The first question costs reading the page.
    pub(super) fn contains(&self, t_ns: i64, line: &str) -> bool {
        if t_ns < self.min_ns || self.max_ns < t_ns {
            return false;
        }
        let keys = self.keys.get_or_init(|| {
            let mut buf = EntryBuf::default();
            // What cannot be read cannot be a duplicate.
            let _ = self.read(|_| true, &mut buf);
            let mut keys: Vec<u64> = buf.iter().map(|e| key(e.t_ns(), e.line())).collect();
            keys.sort_unstable();
            keys.into_boxed_slice()
        });
        keys.binary_search(&key(t_ns, line)).is_ok()
    }
}

/// Whether two lists of pairs are equal. Not `Iterator::eq`, which would tie their lifetimes together.
fn same<'a, 'b>(
    mut a: impl Iterator<Item = (&'a str, &'a str)>,
    mut b: impl Iterator<Item = (&'b str, &'b str)>,
) -> bool {
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(x), Some(y)) if x.0 == y.0 && x.1 == y.1 => {}
            _ => return false,
        }
    }
}

/// What tells entries of one stream apart.
pub(super) fn key(t_ns: i64, line: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(line.as_bytes(), t_ns as u64)
}

fn decode(body: &[u8], wanted: impl Fn(i64) -> bool, out: &mut EntryBuf) -> Result<(), ChunkError> {
    let mut rest = body;
    let mut head = [0_usize; 5];
    for n in &mut head {
        *n = usize::try_from(varint::take(&mut rest)?).map_err(|_| ChunkError::Number)?;
    }
    let [count, set_count, times, lines, sets] = head;
    let mut times = section(&mut rest, times)?;
    let mut lines = section(&mut rest, lines)?;
    let mut sets = section(&mut rest, sets)?;
    if count > lines.len() || set_count > rest.len() {
        return Err(ChunkError::Truncated);
    }
    let mut lengths: Vec<(usize, usize)> = Vec::new();
    let mut ranges = Vec::with_capacity(set_count);
    for _ in 0..set_count {
        let start = lengths.len();
        for _ in 0..varint::take(&mut rest)? {
            lengths.push((length(&mut rest)?, length(&mut rest)?));
        }
        ranges.push(start..lengths.len());
    }
    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(lengths.len());
    for (name, value) in lengths {
        let name = take_text(&mut rest, name)?;
        pairs.push((name, take_text(&mut rest, value)?));
    }
    let text = std::str::from_utf8(rest).map_err(|_| ChunkError::Number)?;
    let (mut before, mut step, mut at) = (0_i64, 0_i64, 0_usize);
    for _ in 0..count {
        step = step.wrapping_add(varint::take_signed(&mut times)?);
        before = before.wrapping_add(step);
        let end = at
            .checked_add(length(&mut lines)?)
            .ok_or(ChunkError::Truncated)?;
        let set = length(&mut sets)?;
        if wanted(before) {
            let line = text.get(at..end).ok_or(ChunkError::Truncated)?;
            let range = ranges.get(set).ok_or(ChunkError::Truncated)?;
            let metadata = pairs.get(range.clone()).ok_or(ChunkError::Truncated)?;
            out.push(before, line, metadata.iter().copied());
        }
        at = end;
    }
    Ok(())
}

fn length(bytes: &mut &[u8]) -> Result<usize, ChunkError> {
    usize::try_from(varint::take(bytes)?).map_err(|_| ChunkError::Number)
}

fn section<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ChunkError> {
    let (section, tail) = rest.split_at_checked(length).ok_or(ChunkError::Truncated)?;
    *rest = tail;
    Ok(section)
}

fn take_text<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a str, ChunkError> {
    std::str::from_utf8(section(rest, length)?).map_err(|_| ChunkError::Number)
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn pack(body: &[u8]) -> Box<[u8]> {
    thread_local! {
        static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
            const { RefCell::new(None) };
    }
    let packed = COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        slot.as_mut().and_then(|c| c.compress(body).ok())
    });
    // Compression into a buffer of the bound's size does not fail; a frame of raw blocks would do as well.
    packed
        .or_else(|| zstd::bulk::compress(body, LEVEL).ok())
        .unwrap_or_default()
        .into_boxed_slice()
}

fn unpack<R>(
    packed: &[u8],
    bytes: usize,
    read: impl FnOnce(&[u8]) -> Result<R, ReadError>,
) -> Result<R, ReadError> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            const { RefCell::new(None) };
    }
    let mut scratch = SCRATCH.take();
    scratch.clear();
    scratch.reserve(bytes);
    let read_bytes = DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Decompressor::new().ok();
        }
        let decompressor = slot.as_mut().ok_or_else(corrupt)?;
        decompressor
            .decompress_to_buffer(packed, &mut scratch)
            .map_err(|_| corrupt())
    })?;
    let result = if read_bytes == bytes {
        read(&scratch)
    } else {
        Err(corrupt())
    };
    SCRATCH.set(scratch);
    result
}

fn corrupt() -> ReadError {
    ReadError("a page of the logs head".to_owned())
}

fn text(all: &str, (start, end): Part) -> &str {
    &all[start as usize..end as usize]
}

fn put(all: &mut String, text: &str) -> Part {
    let start = all.len() as u32;
    all.push_str(text);
    (start, all.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    type OwnEntry = (i64, String, Vec<(String, String)>);

    fn dump(buf: &EntryBuf) -> Vec<OwnEntry> {
        let own = |(n, v): (&str, &str)| (n.to_owned(), v.to_owned());
        buf.iter()
            .map(|e| {
                (
                    e.t_ns(),
                    e.line().to_owned(),
                    e.metadata().map(own).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn a_sealed_page_reads_as_the_open_one_did() {
        let mut open = OpenPage::default();
        for i in [5_i64, 3, 9, 3, i64::MIN, i64::MAX, 0] {
            let line = format!("line {i} ünï");
            let level = [("detected_level", "info"), ("i", line.as_str())];
            let count = (i.rem_euclid(3)) as usize;
            open.push(i, &line, level[..count].iter().copied());
        }
        open.push(3, "another of 3", std::iter::empty());
        let (mut a, mut b) = (EntryBuf::default(), EntryBuf::default());
        open.read(|_| true, &mut a);
        let sealed = open.seal();
        sealed.read(|_| true, &mut b).unwrap();
        assert_eq!(dump(&a), dump(&b));
        assert!(dump(&a).is_sorted_by_key(|e| e.0));
        assert!(sealed.contains(3, "another of 3") && open.contains(3, "another of 3"));
        assert!(!sealed.contains(4, "another of 3") && !open.contains(9, "another of 3"));
    }

    #[test]
    fn a_damaged_page_is_an_error() {
        let mut open = OpenPage::default();
        open.push(1, "a line", [("a", "b")].into_iter());
        let mut sealed = open.seal();
        for at in 0..sealed.packed.len() {
            sealed.packed[at] ^= 0x55;
            let _ = sealed.read(|_| true, &mut EntryBuf::default());
            sealed.packed[at] ^= 0x55;
        }
        assert!(sealed.read(|_| true, &mut EntryBuf::default()).is_ok());
    }
}
