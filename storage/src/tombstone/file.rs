//! Tombstones as files: their form, and the folder that keeps them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::Tombstone;
use crate::block::{summed_json, sync_dir, write_durably};
use crate::error::{Error, Result};
use crate::model::{MatchOp, Matcher, Tenant};
use crate::signal::{SignalKind, TimeSpan};

/// Version of the form that is written, and the newest one that is read.
const FORMAT_VERSION: u32 = 1;

/// What the file says, column by column for readers from outside.
#[derive(Serialize, Deserialize)]
struct Content {
    format_version: u32,
    id: String,
    signal: String,
    tenant: String,
    seq: u64,
    min_time: i64,
    max_time: i64,
    deleted_at: i64,
    matchers: Vec<MatcherText>,
}

#[derive(Serialize, Deserialize)]
struct MatcherText {
    name: String,
    op: String,
    value: String,
}

/// The bytes of a tombstone's file.
pub(crate) fn encode(signal: SignalKind, tombstone: &Tombstone) -> Vec<u8> {
    let matchers = tombstone.matchers.iter().map(|m| MatcherText {
        name: m.name().to_owned(),
        op: m.op().as_str().to_owned(),
        value: m.value().to_owned(),
    });
    summed_json::encode(&Content {
        format_version: FORMAT_VERSION,
        id: tombstone.id.to_string(),
        signal: signal.as_str().to_owned(),
        tenant: tombstone.tenant.as_str().to_owned(),
        seq: tombstone.seq,
        min_time: tombstone.span.min,
        max_time: tombstone.span.max,
        deleted_at: tombstone.deleted_at_ms,
        matchers: matchers.collect(),
    })
}

/// The tombstone that these bytes say.
///
/// # Errors
/// `NotOurs` when a newer version wrote it, `Corrupt` when it is none; both name the file.
pub(crate) fn decode(file: &str, bytes: &[u8]) -> Result<Tombstone> {
    let corrupt = |reason: String| Error::Corrupt {
        file: file.to_owned(),
        offset: 0,
        reason,
    };
    let (content, is_summed): (Content, bool) = summed_json::decode(bytes).map_err(corrupt)?;
    if !is_summed {
        return Err(corrupt("it has no checksum".to_owned()));
    }
    if content.format_version > FORMAT_VERSION {
        return Err(Error::NotOurs(format!(
            "{file} was written by a newer version: start the newer program again"
        )));
    }
    let matchers = content.matchers.into_iter().map(|m| {
        let ops = [
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ];
        let op = ops.into_iter().find(|op| op.as_str() == m.op);
        let op = op.ok_or_else(|| corrupt(format!("no operator: {}", m.op)))?;
        Matcher::new(op, m.name, m.value).map_err(|e| corrupt(e.to_string()))
    });
    Ok(Tombstone {
        id: Ulid::from_string(&content.id).map_err(|e| corrupt(e.to_string()))?,
        tenant: Tenant::from_stored(&content.tenant).map_err(|e| corrupt(e.to_string()))?,
        seq: content.seq,
        span: TimeSpan {
            min: content.min_time,
            max: content.max_time,
        },
        matchers: matchers.collect::<Result<_>>()?,
        deleted_at_ms: content.deleted_at,
    })
}

/// A file that is no tombstone, and why.
pub(crate) type Damaged = (PathBuf, Error);

/// The tombstones of one signal below a storage folder.
#[derive(Debug)]
pub(crate) struct TombstoneFolder {
    signal: SignalKind,
    dir: PathBuf,
}

impl TombstoneFolder {
    pub(crate) fn new(storage: &Path, signal: SignalKind) -> Self {
        Self {
            signal,
            dir: storage.join("tombstones").join(signal.as_str()),
        }
    }

    pub(crate) fn path_of(&self, tombstone: &Tombstone) -> PathBuf {
        let folder = self.dir.join(tombstone.tenant.as_str());
        folder.join(format!("{}.json", tombstone.id))
    }

    /// All of them, and what was wrong with the files that are none. Unfinished ones are removed.
    ///
    /// # Errors
    /// `Io`, `NotOurs`.
    pub(crate) fn read(&self) -> Result<(Vec<Arc<Tombstone>>, Vec<Damaged>)> {
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for tenant in entries(&self.dir)? {
            for path in entries(&tenant)? {
                if path.extension().is_some_and(|e| e == "new") {
                    // A crash left it behind. Its deletion was never answered.
                    fs::remove_file(&path).map_err(Error::io(&path))?;
                }
                if path.extension().is_none_or(|e| e != "json") {
                    continue;
                }
                let bytes = fs::read(&path).map_err(Error::io(&path))?;
                match decode(&path.display().to_string(), &bytes) {
                    Ok(tombstone) => found.push(Arc::new(tombstone)),
                    Err(e @ Error::Corrupt { .. }) => damaged.push((path, e)),
                    Err(e) => return Err(e),
                }
            }
        }
        Ok((found, damaged))
    }

    /// Keeps one; durable when it returns.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn keep(&self, tombstone: &Tombstone) -> Result<()> {
        write_durably(&self.path_of(tombstone), &encode(self.signal, tombstone))
    }

    /// Removes one. That it is gone already is no error.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn remove(&self, tombstone: &Tombstone) -> Result<()> {
        let path = self.path_of(tombstone);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            result => {
                result.map_err(Error::io(&path))?;
                path.parent().map_or(Ok(()), sync_dir)
            }
        }
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let found = match fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        result => result.map_err(Error::io(dir))?,
    };
    found
        .map(|entry| Ok(entry.map_err(Error::io(dir))?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone() -> Tombstone {
        let matcher = |op, name: &str, value: &str| Matcher::new(op, name, value).unwrap();
        Tombstone {
            id: Ulid::from_parts(7, 9),
            tenant: Tenant::new("team*a").unwrap(),
            seq: u64::MAX,
            span: TimeSpan {
                min: i64::MIN,
                max: i64::MAX,
            },
            matchers: vec![
                matcher(MatchOp::Equal, "__name__", "up"),
                matcher(MatchOp::NotEqual, "a", "\"checksum\": \\ ü"),
                matcher(MatchOp::Regex, "b", "x|y.*"),
                matcher(MatchOp::NotRegex, "c", ""),
            ],
            deleted_at_ms: 5,
        }
    }

    #[test]
    fn a_tombstone_comes_back_as_it_was() {
        let bytes = encode(SignalKind::Metrics, &tombstone());
        assert_eq!(decode("f", &bytes).unwrap(), tombstone());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            if let Ok(read) = decode("f", &damaged) {
                assert_eq!(read, tombstone(), "byte {at}");
            }
        }
    }

    #[test]
    fn the_folder_keeps_what_it_was_given_and_names_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let folder = TombstoneFolder::new(dir.path(), SignalKind::Metrics);
        assert!(folder.read().unwrap().0.is_empty());
        folder.keep(&tombstone()).unwrap();
        let other = Tombstone {
            id: Ulid::from_parts(8, 8),
            seq: 3,
            ..tombstone()
        };
        folder.keep(&other).unwrap();
        let (mut found, damaged) = folder.read().unwrap();
        found.sort_by_key(|t| t.seq);
        assert_eq!((&*found[0], &*found[1]), (&other, &tombstone()));
        assert!(damaged.is_empty());
        folder.remove(&other).unwrap();
        folder.remove(&other).unwrap();
        fs::write(folder.path_of(&tombstone()), "{}").unwrap();
        let (found, damaged) = folder.read().unwrap();
        assert!(found.is_empty());
        assert_eq!(damaged[0].0, folder.path_of(&tombstone()));
        let unfinished = folder.path_of(&other).with_extension("new");
        fs::write(&unfinished, "{").unwrap();
        folder.read().unwrap();
        assert!(!unfinished.exists());
    }
}
