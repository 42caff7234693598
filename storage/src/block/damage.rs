//! Which files were found damaged since start: for the log, the metrics, and whoever has to mend them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::Error;

/// Most files that are named; more are counted only.
const MAX_NAMED: usize = 100;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    files: Mutex<BTreeSet<String>>,
    found: AtomicU64,
}

impl Damage {
    /// Notes that a file of this name is not what was written. It is logged once.
    pub(crate) fn note(&self, file: &str, error: &Error) {
        self.found.fetch_add(1, Ordering::Relaxed);
        let mut files = self.files.lock();
        if files.contains(file) {
            return;
        }
        tracing::error!(
            file,
            error = %error,
            "a file is damaged: queries that need it fail, others go on; restore it from a copy, or remove its folder to go on without"
        );
        if files.len() < MAX_NAMED {
            files.insert(file.to_owned());
        }
    }

    /// Forgets the files of a folder that is no more.
    pub(crate) fn forget(&self, folder: &str) {
        self.files.lock().retain(|file| {
            let below = file.strip_prefix(folder);
            !below.is_some_and(|rest| rest.starts_with('/'))
        });
    }

    /// The damaged files, sorted; no more than a hundred.
    pub(crate) fn files(&self) -> Vec<String> {
        self.files.lock().iter().cloned().collect()
    }

    /// How often damage was met.
    pub(crate) fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_named_until_its_folder_goes() {
        let damage = Damage::default();
        let error = Error::BadInput(String::new());
        damage.note("blocks/logs/a/1/index.bin", &error);
        damage.note("blocks/logs/a/1/index.bin", &error);
        damage.note("blocks/logs/a/11/index.bin", &error);
        assert_eq!(damage.found(), 3);
        damage.forget("blocks/logs/a/1");
        assert_eq!(damage.files(), ["blocks/logs/a/11/index.bin"]);
    }
}
