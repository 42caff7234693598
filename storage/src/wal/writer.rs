//! Appends to the newest segment, and removes old ones.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use tokio::sync::{Notify, watch};

use super::record::{Head, WalRecord, head_bound};
use super::segment::{self, SEGMENT_HEADER_LEN};
use super::{ReplayStats, WalOptions};
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::model::{Record, Tenant};

/// Records that a replay hands out together, and bytes of them after which it does so.
const REPLAYED_AT_ONCE: usize = 1024;
const REPLAYED_BYTES_AT_ONCE: usize = 8 << 20;

/// The log of one signal.
#[derive(Debug)]
pub(crate) struct Wal {
    options: WalOptions,
    /// Held for one write to the system's page cache at a time.
    inner: Mutex<Inner>,
    /// The last durable sequence number, or why there will be no other.
    pub(super) synced: watch::Sender<Result<u64, String>>,
    /// Wakes the syncing task when somebody waits for it.
    pub(super) wake: Notify,
    pub(super) syncs: AtomicU64,
    appended: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    last_seq: u64,
    current: Option<Current>,
    /// Full segments, oldest first.
    sealed: VecDeque<Sealed>,
    /// Bytes promised to writers that have not written yet.
    promised: u64,
    /// Sealed files whose last records are not durable yet.
    unsynced: Vec<(PathBuf, Arc<File>)>,
    dir_changed: bool,
    poisoned: Option<String>,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: Arc<File>,
    end: u64,
    allocated: u64,
}

#[derive(Debug)]
struct Sealed {
    path: PathBuf,
    last_seq: u64,
    bytes: u64,
}

/// Files that have to be synced.
pub(super) struct Unsynced {
    pub(super) files: Vec<(PathBuf, Arc<File>)>,
    pub(super) dir_changed: bool,
    pub(super) last_seq: u64,
}

/// Room on disk for one record; what is not used goes back.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    wal: &'a Wal,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut inner = self.wal.inner.lock();
        inner.promised -= self.bytes;
    }
}

impl Wal {
    /// Opens the folder; the segments in it are read by [`Self::replay`].
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn open(options: WalOptions) -> Result<Self> {
        std::fs::create_dir_all(&options.dir).map_err(Error::io(&options.dir))?;
        Ok(Self {
            options,
            inner: Mutex::new(Inner {
                last_seq: 0,
                current: None,
                sealed: VecDeque::new(),
                promised: 0,
                unsynced: Vec::new(),
                dir_changed: true,
                poisoned: None,
            }),
            synced: watch::Sender::new(Ok(0)),
            wake: Notify::new(),
            syncs: AtomicU64::new(0),
            appended: AtomicU64::new(0),
        })
    }

    pub(super) const fn options(&self) -> &WalOptions {
        &self.options
    }

    /// Tells, during a replay, that a record was reached: a cut goes up to it.
    pub(crate) fn note_replayed(&self, seq: u64) {
        self.inner.lock().last_seq = seq;
    }

    /// Reads all records in order, some at a time, once, before anything is appended. A torn tail is cut off; what is damaged in
    /// the middle is skipped, counted and logged. Afterwards numbers go on behind the last one read.
    /// Blocks the thread; holds one segment in memory at a time.
    ///
    /// # Errors
    /// `Io`, `NotOurs` when a newer version wrote a segment, and what `each` says.
    pub(crate) fn replay(
        &self,
        each: &mut dyn FnMut(&[WalRecord<'_>]) -> Result<()>,
    ) -> Result<ReplayStats> {
        let segments = segment::list(&self.options.dir)?;
        let count = segments.len();
        self.options.progress.expect(count as u64);
        let mut stats = ReplayStats::default();
        for (i, (first_seq, path)) in segments.into_iter().enumerate() {
            let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
            if !segment::is_known(&bytes) {
                return Err(Error::NotOurs(format!(
                    "{} was written by a newer version: start the newer program again",
                    path.display()
                )));
            }
            let after = self.last_seq().max(first_seq.saturating_sub(1));
            let mut last_seq = after;
            let (mut some, mut held) = (Vec::new(), 0);
            let scan = segment::scan(&bytes, after, &mut |record| {
                last_seq = record.seq;
                held += record.record.payload.len();
                some.push(record);
                if some.len() < REPLAYED_AT_ONCE && held < REPLAYED_BYTES_AT_ONCE {
                    return Ok(());
                }
                held = 0;
                each(&std::mem::take(&mut some))
            })?;
            each(&some)?;
            stats.records += scan.records;
            stats.corrupt += scan.corrupt;
            let mut size = bytes.len() as u64;
            if scan.torn && i + 1 < count {
                stats.corrupt += 1;
            }
            if scan.corrupt > 0 || scan.torn {
                tracing::warn!(
                    file = %path.display(), damaged_places = scan.corrupt, torn_at = scan.torn.then_some(scan.end),
                    "the write-ahead log is damaged; what could be read was read"
                );
            }
            if i + 1 == count {
                if scan.torn {
                    stats.torn_bytes += size - scan.end as u64;
                }
                size = scan.end as u64;
                let file = OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .map_err(Error::io(&path))?;
                file.set_len(size).map_err(Error::io(&path))?;
                file.sync_all().map_err(Error::io(&path))?;
            }
            tracing::info!(file = %path.display(), segment = i + 1, of = count, records = scan.records, "replayed");
            self.options.progress.finish_one();
            self.appended.fetch_add(size, Ordering::Relaxed);
            let mut inner = self.inner.lock();
            inner.last_seq = last_seq;
            inner.sealed.push_back(Sealed {
                path,
                last_seq,
                bytes: size,
            });
        }
        Ok(stats)
    }

    /// Goes on behind this number, if it is the higher one.
    pub(crate) fn skip_to(&self, seq: u64) {
        let mut inner = self.inner.lock();
        inner.last_seq = inner.last_seq.max(seq);
        let last_seq = inner.last_seq;
        drop(inner);
        self.synced.send_modify(|state| *state = Ok(last_seq));
    }

    /// The number of the newest record.
    pub(crate) fn last_seq(&self) -> u64 {
        self.inner.lock().last_seq
    }

    /// Takes the next number for something that is kept elsewhere. Whoever starts the log again has to [`Self::skip_to`] it.
    ///
    /// # Errors
    /// `Poisoned`.
    pub(crate) fn take_number(&self) -> Result<u64> {
        let mut inner = self.inner.lock();
        if let Some(reason) = &inner.poisoned {
            return Err(Error::Poisoned(reason.clone()));
        }
        inner.last_seq += 1;
        Ok(inner.last_seq)
    }

    /// Makes room for a record with at most so many refused items, so that a full disk is met before
    /// anything is changed.
    ///
    /// # Errors
    /// `DiskFull`, `Poisoned`, `Io`.
    pub(crate) fn reserve(
        &self,
        tenant: &Tenant,
        payload_len: usize,
        refused: usize,
    ) -> Result<Room<'_>> {
        let bytes = head_bound(tenant, refused) + payload_len as u64;
        let mut inner = self.inner.lock();
        self.make_room(&mut inner, bytes)?;
        inner.promised += bytes;
        drop(inner);
        Ok(Room { wal: self, bytes })
    }

    /// Writes a record and answers its number. It is acknowledged when [`Self::commit`] returns.
    ///
    /// # Errors
    /// `BadInput` when it is longer than 4 GiB; `DiskFull`, `Poisoned`, `Io`.
    pub(crate) fn append(
        &self,
        room: Room<'_>,
        tenant: &Tenant,
        refused: &[u32],
        record: Record<'_>,
    ) -> Result<u64> {
        let Some(mut head) = Head::new(tenant, refused, record) else {
            return Err(Error::BadInput("a request of 4 GiB".to_owned()));
        };
        let len = (head.len() + record.payload.len()) as u64;
        let mut inner = self.inner.lock();
        let promised = room.bytes.min(len);
        inner.promised -= promised;
        let result = self.write(&mut inner, &mut head, record.payload, len);
        inner.promised += promised;
        drop(inner);
        drop(room);
        result
    }

    fn write(&self, inner: &mut Inner, head: &mut Head, payload: &[u8], len: u64) -> Result<u64> {
        self.make_room(inner, len)?;
        let seq = inner.last_seq + 1;
        let Some(current) = inner.current.as_mut() else {
            return Err(Error::Closed);
        };
        let written = write_all(&current.file, head.number(seq), payload, current.end);
        if let Err(e) = written {
            let e = Error::io(&current.path)(e).to_string();
            return Err(self.poison_locked(inner, &e));
        }
        current.end += len;
        inner.last_seq = seq;
        self.appended.fetch_add(len, Ordering::Relaxed);
        Ok(seq)
    }

    /// Sees to it that the promised bytes and so many more fit into the current segment.
    fn make_room(&self, inner: &mut Inner, bytes: u64) -> Result<()> {
        if let Some(reason) = &inner.poisoned {
            return Err(Error::Poisoned(reason.clone()));
        }
        let needed = inner.promised + bytes;
        if let Some(current) = &mut inner.current {
            let end = current.end + needed;
            if end <= current.allocated {
                return Ok(());
            }
            if end <= self.options.segment_bytes {
                let target = end
                    .next_multiple_of(self.options.step_bytes)
                    .min(self.options.segment_bytes);
                allocate(&current.file, current.allocated, target)
                    .map_err(|e| self.no_room(e, &current.path))?;
                current.allocated = target;
                fail_point::reach(FailPoint::SegmentExtended);
                return Ok(());
            }
        }
        self.seal_locked(inner);
        self.start_segment(inner, needed)
    }

    fn start_segment(&self, inner: &mut Inner, needed: u64) -> Result<()> {
        let first_seq = inner.last_seq + 1;
        let path = segment::path(&self.options.dir, first_seq);
        // An empty segment of this name may be left from a start that wrote nothing.
        inner.sealed.retain(|s| s.path != path);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|e| self.no_room(e, &path))?;
        fail_point::reach(FailPoint::SegmentCreated);
        let header = SEGMENT_HEADER_LEN as u64;
        let allocated = (header + needed).next_multiple_of(self.options.step_bytes);
        let ready = allocate(&file, 0, allocated)
            .inspect(|()| fail_point::reach(FailPoint::SegmentAllocated))
            .and_then(|()| write_all(&file, &segment::header(first_seq), &[], 0));
        if let Err(e) = ready {
            let e = self.no_room(e, &path);
            let _ = std::fs::remove_file(&path);
            return Err(e);
        }
        fail_point::reach(FailPoint::SegmentStarted);
        inner.dir_changed = true;
        inner.current = Some(Current {
            path,
            file: Arc::new(file),
            end: header,
            allocated,
        });
        Ok(())
    }

    fn no_room(&self, e: std::io::Error, path: &std::path::Path) -> Error {
        match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Error::DiskFull {
                    path: self.options.dir.clone(),
                    free_bytes: crate::disk::free_bytes(&self.options.dir).unwrap_or(0),
                }
            }
            _ => Error::io(path)(e),
        }
    }

    /// Ends the current segment and answers the newest record's number: later records lie in later segments.
    pub(crate) fn seal(&self) -> u64 {
        let mut inner = self.inner.lock();
        self.seal_locked(&mut inner);
        inner.last_seq
    }

    fn seal_locked(&self, inner: &mut Inner) {
        let Some(current) = inner.current.take() else {
            return;
        };
        // The zeros behind the last record are given back; that they stay if this fails does no harm.
        let _ = current.file.set_len(current.end);
        fail_point::reach(FailPoint::SegmentSealed);
        inner
            .unsynced
            .push((current.path.clone(), Arc::clone(&current.file)));
        inner.sealed.push_back(Sealed {
            path: current.path,
            last_seq: inner.last_seq,
            bytes: current.end,
        });
    }

    /// Removes the segments that hold nothing newer than this number.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn drop_through(&self, seq: u64) -> Result<()> {
        loop {
            let gone = {
                let mut inner = self.inner.lock();
                let covered = inner.sealed.front().is_some_and(|s| s.last_seq <= seq);
                let gone = if covered {
                    inner.sealed.pop_front()
                } else {
                    None
                };
                if let Some(gone) = &gone {
                    inner.unsynced.retain(|(path, _)| *path != gone.path);
                }
                gone
            };
            let Some(gone) = gone else {
                return Ok(());
            };
            match std::fs::remove_file(&gone.path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                result => result.map_err(Error::io(&gone.path))?,
            }
            fail_point::reach(FailPoint::SegmentRemoved);
        }
    }

    pub(super) fn take_unsynced(&self) -> Result<Unsynced> {
        let mut inner = self.inner.lock();
        if let Some(reason) = &inner.poisoned {
            return Err(Error::Poisoned(reason.clone()));
        }
        let mut files = std::mem::take(&mut inner.unsynced);
        if let Some(current) = &inner.current {
            files.push((current.path.clone(), Arc::clone(&current.file)));
        }
        Ok(Unsynced {
            files,
            dir_changed: std::mem::take(&mut inner.dir_changed),
            last_seq: inner.last_seq,
        })
    }

    /// From now on nothing is acknowledged.
    pub(super) fn poison(&self, reason: &str) -> Error {
        self.poison_locked(&mut self.inner.lock(), reason)
    }

    fn poison_locked(&self, inner: &mut Inner, reason: &str) -> Error {
        inner.poisoned.get_or_insert_with(|| reason.to_owned());
        self.synced
            .send_modify(|state| *state = Err(reason.to_owned()));
        Error::Poisoned(reason.to_owned())
    }

    /// Ends the log in good order.
    ///
    /// # Errors
    /// `Poisoned`.
    pub(crate) fn close(&self) -> Result<()> {
        self.seal();
        self.sync()
    }

    /// Bytes on disk and number of segments.
    pub(crate) fn size(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        let current = inner.current.as_ref().map(|c| c.allocated);
        let sealed: u64 = inner.sealed.iter().map(|s| s.bytes).sum();
        (
            sealed + current.unwrap_or(0),
            inner.sealed.len() as u64 + u64::from(current.is_some()),
        )
    }

    /// Bytes appended since the log was opened, those replayed included.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// Number of fsyncs.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }
}

/// Extends a file with zeros that have their place on disk. Where the file system cannot promise that, it is extended
/// without the promise.
fn allocate(file: &File, from: u64, to: u64) -> std::io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), from, to - from) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(to),
        Err(e) => Err(e.into()),
    }
}

/// Both parts in one system call where the system takes them at once.
fn write_all(file: &File, head: &[u8], payload: &[u8], at: u64) -> std::io::Result<()> {
    let mut parts = [IoSlice::new(head), IoSlice::new(payload)];
    let mut parts = &mut parts[..];
    let mut at = at;
    while parts.iter().any(|p| !p.is_empty()) {
        let n = match rustix::io::pwritev(file, parts, at) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(n) => n,
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        at += n as u64;
        IoSlice::advance_slices(&mut parts, n);
    }
    Ok(())
}
