//! What is kept on local disk of blocks in a bucket: files that were here before they went up, and pages that were
//! fetched.
//!
//! ```text
//!  cache/<ulid>/<file>          a whole file, by its position in the manifest
//!  cache/<ulid>/<file>.<page>   a page of one
//! ```
//!
//! One least-recently-used list, bounded in bytes. Everything in it can be had again: nothing is synced, whatever is
//! read is compared with its checksums, and what differs is dropped. Only files that have such sums are kept.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use ulid::Ulid;

use super::checksum::whole_pieces;
use super::manifest::ManifestFile;
use crate::error::{Error, Result};

/// A whole file or a page of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    block: Ulid,
    file: u16,
    page: Option<u64>,
}

struct Kept {
    bytes: u64,
    used_at: u64,
}

#[derive(Default)]
struct Inner {
    kept: HashMap<Entry, Kept>,
    /// Entries by the time of their last use.
    order: BTreeMap<u64, Entry>,
    tick: u64,
    bytes: u64,
}

/// See the module's documentation. The lock is held for map operations only.
pub(crate) struct DiskCache {
    dir: PathBuf,
    capacity_bytes: u64,
    inner: Mutex<Inner>,
    /// Whether the disk has no room to spare.
    paused: AtomicBool,
}

impl std::fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskCache")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Entry {
    fn path(&self, dir: &Path) -> PathBuf {
        let folder = dir.join(self.block.to_string());
        match self.page {
            None => folder.join(self.file.to_string()),
            Some(page) => folder.join(format!("{}.{page}", self.file)),
        }
    }

    fn parse(block: &str, name: &str) -> Option<Self> {
        let (file, page) = match name.split_once('.') {
            Some((file, page)) => (file, Some(page.parse().ok()?)),
            None => (name, None),
        };
        Some(Self {
            block: Ulid::from_string(block).ok()?,
            file: file.parse().ok()?,
            page,
        })
    }
}

impl Inner {
    fn insert(&mut self, entry: Entry, bytes: u64) {
        self.tick += 1;
        let used_at = self.tick;
        if let Some(before) = self.kept.insert(entry, Kept { bytes, used_at }) {
            self.order.remove(&before.used_at);
            self.bytes -= before.bytes;
        }
        self.order.insert(used_at, entry);
        self.bytes += bytes;
    }

    fn touch(&mut self, entry: Entry) -> bool {
        self.tick += 1;
        let tick = self.tick;
        let Some(kept) = self.kept.get_mut(&entry) else {
            return false;
        };
        self.order.remove(&kept.used_at);
        self.order.insert(tick, entry);
        kept.used_at = tick;
        true
    }

    fn remove(&mut self, entry: Entry) {
        if let Some(gone) = self.kept.remove(&entry) {
            self.order.remove(&gone.used_at);
            self.bytes -= gone.bytes;
        }
    }

    /// Takes the least recently used entries out until so many bytes are left.
    fn shrink_to(&mut self, bytes: u64) -> Vec<Entry> {
        let mut gone = Vec::new();
        while self.bytes > bytes {
            let Some((_, &oldest)) = self.order.first_key_value() else {
                break;
            };
            self.remove(oldest);
            gone.push(oldest);
        }
        gone
    }
}

impl DiskCache {
    /// Opens the folder. What lies there is taken over, oldest first.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn open(dir: PathBuf, capacity_bytes: u64) -> Result<Self> {
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        let mut found = Vec::new();
        for block in fs::read_dir(&dir).map_err(Error::io(&dir))? {
            let block = block.map_err(Error::io(&dir))?;
            let name = block.file_name().to_string_lossy().into_owned();
            for file in fs::read_dir(block.path()).into_iter().flatten().flatten() {
                let entry = Entry::parse(&name, &file.file_name().to_string_lossy());
                match (entry, file.metadata()) {
                    (Some(entry), Ok(metadata)) => {
                        found.push((metadata.modified().ok(), entry, metadata.len()));
                    }
                    // A draft that was never finished.
                    _ => drop(fs::remove_file(file.path())),
                }
            }
        }
        found.sort_by_key(|(modified, ..)| *modified);
        let mut inner = Inner::default();
        for (_, entry, bytes) in found {
            inner.insert(entry, bytes);
        }
        let cache = Self {
            dir,
            capacity_bytes,
            inner: Mutex::new(inner),
            paused: AtomicBool::new(false),
        };
        cache.shrink_to(capacity_bytes);
        Ok(cache)
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.inner.lock().bytes
    }

    /// Whether a file may be kept at all. What is larger than half of the cache would push out all else.
    fn keeps(&self, file: &ManifestFile, bytes: u64) -> bool {
        !file.crc32c_32k.is_empty()
            && bytes <= self.capacity_bytes / 2
            && !self.paused.load(Ordering::Relaxed)
    }

    /// Takes a file of a block over. Blocks the thread.
    pub(crate) fn adopt(&self, block: Ulid, number: u16, from: &Path, file: &ManifestFile) {
        let entry = Entry {
            block,
            file: number,
            page: None,
        };
        if !self.keeps(file, file.bytes) {
            return;
        }
        let to = entry.path(&self.dir);
        let folder = to.parent().unwrap_or(&self.dir);
        let moved = fs::create_dir_all(folder).and_then(|()| fs::rename(from, &to));
        self.enter(entry, file.bytes, moved);
    }

    /// Keeps a page. Blocks the thread.
    pub(crate) fn put(
        &self,
        block: Ulid,
        number: u16,
        page: u64,
        file: &ManifestFile,
        content: &[u8],
    ) {
        let bytes = content.len() as u64;
        if !self.keeps(file, bytes) {
            return;
        }
        let entry = Entry {
            block,
            file: number,
            page: Some(page),
        };
        let to = entry.path(&self.dir);
        let draft = to.with_extension(format!("{page}.new"));
        let folder = to.parent().unwrap_or(&self.dir);
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&draft, content))
            .and_then(|()| fs::rename(&draft, &to));
        self.enter(entry, bytes, written);
    }

    fn enter(&self, entry: Entry, bytes: u64, written: std::io::Result<()>) {
        match written {
            Ok(()) => self.inner.lock().insert(entry, bytes),
            Err(e) => {
                tracing::debug!(error = %e, "a file was not cached");
                return;
            }
        }
        self.shrink_to(self.capacity_bytes);
    }

    /// A range of a file, if all of it is here: of the whole file, or of the page that it lies in. Blocks the thread.
    pub(crate) fn read(
        &self,
        block: Ulid,
        number: u16,
        (page, range): (u64, Range<u64>),
        file: &ManifestFile,
    ) -> Option<Bytes> {
        if file.crc32c_32k.is_empty() {
            return None;
        }
        [None, Some(page)].into_iter().find_map(|page| {
            let entry = Entry {
                block,
                file: number,
                page,
            };
            let is_kept = self.inner.lock().touch(entry);
            let starts_at = if page.is_some() { range.start } else { 0 };
            is_kept.then(|| self.read_entry(entry, starts_at, &range, file))?
        })
    }

    fn read_entry(
        &self,
        entry: Entry,
        starts_at: u64,
        range: &Range<u64>,
        file: &ManifestFile,
    ) -> Option<Bytes> {
        let wanted = whole_pieces(range, file.bytes);
        let mut content = vec![0; (wanted.end - wanted.start) as usize];
        let read = fs::File::open(entry.path(&self.dir))
            .and_then(|open| open.read_exact_at(&mut content, wanted.start - starts_at));
        let right = read.is_ok() && file.crc32c_32k.verify(wanted.start, &content).is_ok();
        if !right {
            self.inner.lock().remove(entry);
            let _ = fs::remove_file(entry.path(&self.dir));
            return None;
        }
        let content = Bytes::from(content);
        let start = (range.start - wanted.start) as usize;
        Some(content.slice(start..start + (range.end - range.start) as usize))
    }

    /// Drops all of a block. Blocks the thread.
    pub(crate) fn forget(&self, block: Ulid) {
        let mut inner = self.inner.lock();
        let own: Vec<Entry> = inner
            .kept
            .keys()
            .copied()
            .filter(|e| e.block == block)
            .collect();
        own.into_iter().for_each(|entry| inner.remove(entry));
        drop(inner);
        let _ = fs::remove_dir_all(self.dir.join(block.to_string()));
    }

    /// Makes room on a disk that has too little, and stops or resumes keeping more. Blocks the thread.
    pub(crate) fn make_room(&self, missing_bytes: u64, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        if missing_bytes > 0 {
            let left = self.bytes().saturating_sub(missing_bytes);
            self.shrink_to(left);
        }
    }

    fn shrink_to(&self, bytes: u64) {
        let gone = self.inner.lock().shrink_to(bytes);
        for entry in gone {
            let path = entry.path(&self.dir);
            let _ = fs::remove_file(&path);
            if let Some(folder) = path.parent() {
                // Goes when it is empty.
                let _ = fs::remove_dir(folder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::checksum::Summer;
    use super::*;

    const PAGE: u64 = 256 * 1024;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 % 253) as u8).collect()
    }

    fn described(content: &[u8]) -> ManifestFile {
        let mut summer = Summer::default();
        summer.update(content);
        let (bytes, crc32c, crc32c_32k) = summer.finish();
        ManifestFile {
            name: "f".to_owned(),
            bytes,
            crc32c,
            crc32c_32k,
        }
    }

    fn files(dir: &Path) -> usize {
        let blocks = fs::read_dir(dir).unwrap().map(|b| b.unwrap().path());
        blocks.map(|b| fs::read_dir(b).unwrap().count()).sum()
    }

    #[test]
    fn what_is_kept_is_read_back_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, block) = (content(600_000), Ulid::from_parts(1, 1));
        let file = described(&bytes);
        let original = dir.path().join("original");
        fs::write(&original, &bytes).unwrap();
        let open = || DiskCache::open(dir.path().join("cache"), 10 << 20).unwrap();
        let cache = open();
        cache.adopt(block, 0, &original, &file);
        let page = &bytes[PAGE as usize..2 * PAGE as usize];
        cache.put(block, 1, 1, &file, page);
        for cache in [cache, open()] {
            let read = |number, range: Range<u64>| {
                let page = range.start / PAGE;
                cache.read(block, number, (page, range), &file)
            };
            assert_eq!(read(0, 5..7).unwrap(), &bytes[5..7]);
            assert_eq!(read(0, 599_000..600_000).unwrap(), &bytes[599_000..]);
            assert_eq!(read(1, PAGE..2 * PAGE).unwrap(), page);
            assert_eq!(read(1, 0..PAGE), None);
            assert_eq!(cache.bytes(), 600_000 + PAGE);
        }
        let cache = open();
        cache.forget(block);
        assert_eq!((cache.bytes(), files(&dir.path().join("cache"))), (0, 0));
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = content(PAGE as usize);
        let file = described(&bytes);
        let cache = DiskCache::open(dir.path().to_owned(), 3 * PAGE).unwrap();
        let block = |n| Ulid::from_parts(n, 0);
        for n in 0..4 {
            cache.put(block(n), 0, 0, &file, &bytes);
            // The first is used again and again.
            assert!(cache.read(block(0), 0, (0, 0..PAGE), &file).is_some());
        }
        let kept = |n| cache.read(block(n), 0, (0, 0..PAGE), &file).is_some();
        assert_eq!([0, 1, 2, 3].map(kept), [true, false, true, true]);
        assert_eq!(files(dir.path()), 3);
        cache.make_room(1, true);
        assert_eq!(cache.bytes(), 2 * PAGE);
        cache.put(block(9), 0, 0, &file, &bytes);
        assert!(!kept(9), "there is no room");
        let cache = DiskCache::open(dir.path().to_owned(), 0).unwrap();
        assert_eq!((cache.bytes(), files(dir.path())), (0, 0));
    }

    #[test]
    fn what_is_not_what_was_written_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (mut bytes, block) = (content(PAGE as usize), Ulid::from_parts(1, 1));
        let file = described(&bytes);
        bytes[9] ^= 1;
        let cache = DiskCache::open(dir.path().to_owned(), 10 * PAGE).unwrap();
        cache.put(block, 0, 0, &file, &bytes);
        assert_eq!(cache.read(block, 0, (0, 0..10), &file), None);
        assert_eq!((cache.bytes(), files(dir.path())), (0, 0));
    }
}
