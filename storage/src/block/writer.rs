//! The files of a block while they are written: below `tmp`, with their sizes and checksums.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use ulid::Ulid;

use super::checksum::Summer;
use super::manifest::ManifestFile;
use crate::error::{Error, Result};
use crate::signal::BlockFiles;

/// A folder below `tmp` that becomes a block, or vanishes when dropped.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    ulid: Ulid,
    dir: PathBuf,
    files: Vec<(String, Arc<Mutex<Outcome>>)>,
}

/// What became of one file; filled in when its writer is dropped.
#[derive(Debug)]
struct Outcome {
    sums: Summer,
    closed: bool,
    failed: Option<std::io::Error>,
}

impl BlockWriter {
    /// Starts the folder of a new block.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn create(tmp: &Path, ulid: Ulid) -> Result<Self> {
        let dir = tmp.join(ulid.to_string());
        std::fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        Ok(Self {
            ulid,
            dir,
            files: Vec::new(),
        })
    }

    /// The block's name.
    pub(crate) const fn ulid(&self) -> Ulid {
        self.ulid
    }

    /// Where a finished file lies.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The files with sizes and checksums, all of them closed.
    ///
    /// # Errors
    /// `Io` with the first write that failed.
    pub(crate) fn finish(&mut self) -> Result<Vec<ManifestFile>> {
        let mut files = Vec::with_capacity(self.files.len());
        for (name, outcome) in &self.files {
            let mut outcome = outcome.lock();
            if let Some(e) = outcome.failed.take() {
                return Err(Error::io(self.dir.join(name))(e));
            }
            if !outcome.closed {
                let open = std::io::Error::other("the file was not closed");
                return Err(Error::io(self.dir.join(name))(open));
            }
            let (bytes, crc32c, crc32c_32k) = std::mem::take(&mut outcome.sums).finish();
            files.push(ManifestFile {
                name: name.clone(),
                bytes,
                crc32c,
                crc32c_32k,
            });
        }
        Ok(files)
    }
}

impl BlockFiles for BlockWriter {
    fn create(&mut self, name: &str) -> Result<Box<dyn Write + Send>> {
        let path = self.dir.join(name);
        let file = File::create_new(&path).map_err(Error::io(&path))?;
        let outcome = Arc::new(Mutex::new(Outcome {
            sums: Summer::default(),
            closed: false,
            failed: None,
        }));
        self.files.push((name.to_owned(), Arc::clone(&outcome)));
        Ok(Box::new(SummedFile {
            file: BufWriter::with_capacity(128 * 1024, file),
            sums: Summer::default(),
            outcome,
        }))
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        // Whatever is left is swept at the next start.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

struct SummedFile {
    file: BufWriter<File>,
    sums: Summer,
    outcome: Arc<Mutex<Outcome>>,
}

impl Write for SummedFile {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(buf)?;
        self.sums.update(buf.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for SummedFile {
    fn drop(&mut self) {
        let result = self.file.flush();
        let mut outcome = self.outcome.lock();
        outcome.sums = std::mem::take(&mut self.sums);
        outcome.closed = true;
        outcome.failed = result.err();
    }
}
