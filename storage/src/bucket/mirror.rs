//! What a bucket held when it was last reached: the manifests of its blocks, in the storage folder.
//!
//! ```text
//!  bucket/URL                             the bucket; written once everything in it was entered here
//!  bucket/<signal>/<tenant>/<ulid>.json   a manifest, as it lies in the bucket
//! ```
//!
//! With it a start needs no more of the bucket than a list of names, or, when the bucket is away, nothing: queries
//! that touch such a block then fail instead of answering less. A block is entered when it is in the bucket, and taken
//! out before it is removed there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::block::{Manifest, write_durably};
use crate::error::{Error, Result};
use crate::signal::SignalKind;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Mirror {
    dir: PathBuf,
}

/// The manifests of one signal.
#[derive(Debug, Default)]
pub(crate) struct Mirrored {
    /// By the block's name.
    pub(crate) manifests: HashMap<String, Manifest>,
    /// Stand-ins for those that cannot be read.
    pub(crate) unreadable: Vec<Manifest>,
}

impl Mirror {
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn url_path(&self) -> PathBuf {
        self.dir.join("URL")
    }

    /// The bucket that this folder has blocks in.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn url(&self) -> Result<Option<String>> {
        let path = self.url_path();
        match fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            result => {
                let text = result.map_err(Error::io(&path))?;
                Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty()))
            }
        }
    }

    /// # Errors
    /// `Io`.
    pub(crate) fn set_url(&self, url: &str) -> Result<()> {
        if self.url()?.as_deref() == Some(url) {
            return Ok(());
        }
        write_durably(&self.url_path(), format!("{url}\n").as_bytes())
    }

    fn path(&self, manifest: &Manifest) -> PathBuf {
        let folder = self.dir.join(&manifest.signal).join(&manifest.tenant);
        folder.join(format!("{}.json", manifest.ulid))
    }

    /// All that is known of a signal.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn read(&self, signal: SignalKind) -> Result<Mirrored> {
        let mut mirrored = Mirrored::default();
        for (tenant, path) in self.entries(signal)? {
            let bytes = fs::read(&path).map_err(Error::io(&path))?;
            match Manifest::decode(&bytes) {
                Ok(manifest) => {
                    mirrored.manifests.insert(manifest.ulid.clone(), manifest);
                }
                Err(reason) => {
                    tracing::warn!(file = %path.display(), reason, "a copy of a manifest is damaged; the bucket has the original");
                    let ulid = path.file_stem().unwrap_or_default().to_string_lossy();
                    let stand_in = Manifest::unreadable(signal.as_str(), &tenant, &ulid);
                    mirrored.unreadable.push(stand_in);
                }
            }
        }
        Ok(mirrored)
    }

    fn entries(&self, signal: SignalKind) -> Result<Vec<(String, PathBuf)>> {
        let mut entries = Vec::new();
        for tenant in list(&self.dir.join(signal.as_str()))? {
            let name = tenant.file_name().unwrap_or_default().to_string_lossy();
            for path in list(&tenant)? {
                if path.extension().is_some_and(|e| e == "json") {
                    entries.push((name.to_string(), path));
                }
            }
        }
        Ok(entries)
    }

    /// Whether nothing is known to be in the bucket.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        for signal in SignalKind::ALL {
            if !self.entries(signal)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Enters a block. Durable when it returns.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn enter(&self, manifest: &Manifest) -> Result<()> {
        write_durably(&self.path(manifest), &manifest.encode())
    }

    /// Takes a block out.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn remove(&self, manifest: &Manifest) -> Result<()> {
        let path = self.path(manifest);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(Error::io(&path)),
        }
    }

    /// Enters what is not there and takes out what is not in the list.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn replace(&self, signal: SignalKind, manifests: &[&Manifest]) -> Result<()> {
        let mut wanted: HashSet<PathBuf> = HashSet::new();
        let known = self.read(signal)?.manifests;
        for manifest in manifests {
            wanted.insert(self.path(manifest));
            if known.get(&manifest.ulid) != Some(*manifest) {
                self.enter(manifest)?;
            }
        }
        for (_, path) in self.entries(signal)? {
            if !wanted.contains(&path) {
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(Error::io(dir))?,
    };
    entries
        .map(|entry| Ok(entry.map_err(Error::io(dir))?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGS: SignalKind = SignalKind::Logs;

    fn manifest(ulid: &str) -> Manifest {
        Manifest {
            rows: 7,
            ..Manifest::unreadable("logs", "team*a", ulid)
        }
    }

    #[test]
    fn what_was_entered_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mirror = Mirror::new(dir.path().join("bucket"));
        assert!(mirror.is_empty().unwrap());
        assert_eq!(mirror.url().unwrap(), None);
        mirror.set_url("s3://b/p").unwrap();
        for ulid in ["A", "B", "C"] {
            mirror.enter(&manifest(ulid)).unwrap();
        }
        mirror.remove(&manifest("C")).unwrap();
        mirror.remove(&manifest("C")).unwrap();
        let mirror = Mirror::new(dir.path().join("bucket"));
        assert_eq!(mirror.url().unwrap().as_deref(), Some("s3://b/p"));
        assert!(!mirror.is_empty().unwrap());
        let read = mirror.read(LOGS).unwrap();
        assert_eq!(read.manifests.len(), 2);
        assert_eq!(read.manifests["A"], manifest("A"));
        mirror
            .replace(LOGS, &[&manifest("B"), &manifest("D")])
            .unwrap();
        let mut known: Vec<_> = mirror.read(LOGS).unwrap().manifests.into_keys().collect();
        known.sort();
        assert_eq!(known, ["B", "D"]);
    }

    #[test]
    fn a_damaged_entry_still_stands_for_its_block() {
        let dir = tempfile::tempdir().unwrap();
        let mirror = Mirror::new(dir.path().to_owned());
        mirror.enter(&manifest("A")).unwrap();
        let path = mirror.path(&manifest("A"));
        fs::write(&path, "{").unwrap();
        let read = mirror.read(LOGS).unwrap();
        assert!(read.manifests.is_empty());
        assert_eq!(read.unreadable[0].ulid, "A");
        mirror.replace(LOGS, &[&manifest("A")]).unwrap();
        assert_eq!(mirror.read(LOGS).unwrap().manifests.len(), 1);
    }
}
