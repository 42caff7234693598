//! The storage folder: who holds it, which version wrote it, whose bucket is its.
//!
//! ```text
//!  LOCK      held (flock) while a process uses the folder
//!  VERSION   version of the layout
//!  OWNER     a random name; the record in a bucket repeats it
//!  wal/      write-ahead logs      blocks/  local blocks      tmp/  blocks that are being written
//!  tombstones/  what is deleted and may still lie in blocks      snapshots/  copies of all blocks of a moment
//!  bucket/   what the bucket held when it was last reached      cache/  what was read of it
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::block::{sync_dir, write_durably};
use crate::error::{Error, Result};

/// Version of the layout of the folder.
const VERSION: u32 = 1;

/// A folder that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The name that a bucket's record carries.
    pub(crate) owner: String,
    _lock: File,
}

impl Folder {
    /// Takes the folder, creates what is missing, and empties `tmp`.
    ///
    /// # Errors
    /// `NotOurs` when another process holds it or a newer version wrote it; `Io`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io(path))?;
        let lock = lock(path)?;
        check_version(path)?;
        let folder = Self {
            path: path.to_owned(),
            owner: owner(path)?,
            _lock: lock,
        };
        let tmp = folder.tmp();
        match std::fs::remove_dir_all(&tmp) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            result => result.map_err(Error::io(&tmp))?,
        }
        std::fs::create_dir_all(&tmp).map_err(Error::io(&tmp))?;
        sync_dir(path)?;
        Ok(folder)
    }

    /// Where blocks are written.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }
}

fn lock(path: &Path) -> Result<File> {
    let file_path = path.join("LOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file_path)
        .map_err(Error::io(&file_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::NotOurs(format!(
            "--storage.path: another process uses {}; stop it, or name another folder",
            path.display()
        ))),
        Err(TryLockError::Error(e)) => Err(Error::io(&file_path)(e)),
    }
}

fn check_version(path: &Path) -> Result<()> {
    let file_path = path.join("VERSION");
    let text = match std::fs::read_to_string(&file_path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return write_durably(&file_path, format!("{VERSION}\n").as_bytes());
        }
        result => result.map_err(Error::io(&file_path))?,
    };
    match text.trim().parse::<u32>() {
        Ok(version) if version <= VERSION => Ok(()),
        Ok(version) => Err(Error::NotOurs(format!(
            "--storage.path: {} has format version {version}, this program knows {VERSION}: start the newer program \
             again, or name another folder",
            path.display()
        ))),
        Err(_) => Err(Error::NotOurs(format!(
            "--storage.path: {} does not hold a version number: this is no storage folder; name another one",
            file_path.display()
        ))),
    }
}

fn owner(path: &Path) -> Result<String> {
    let file_path = path.join("OWNER");
    match std::fs::read_to_string(&file_path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        result => {
            let text = result.map_err(Error::io(&file_path))?;
            if !text.trim().is_empty() {
                return Ok(text.trim().to_owned());
            }
        }
    }
    let owner = format!("{:032x}", rand::random::<u128>());
    write_durably(&file_path, format!("{owner}\n").as_bytes())?;
    Ok(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        Folder::open(path).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_is_held_by_one_and_keeps_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        assert!(refusal(dir.path()).contains("another process uses"));
        let owner = first.owner.clone();
        drop(first);
        assert_eq!(Folder::open(dir.path()).unwrap().owner, owner);
    }

    #[test]
    fn a_folder_of_a_newer_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Folder::open(dir.path()).unwrap());
        std::fs::write(dir.path().join("VERSION"), "2\n").unwrap();
        assert!(refusal(dir.path()).contains("start the newer program"));
        std::fs::write(dir.path().join("VERSION"), "a diary\n").unwrap();
        assert!(refusal(dir.path()).contains("no storage folder"));
    }
}
