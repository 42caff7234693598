//! Targets in files, of scrapes and of Alertmanagers: which files there are, and what they say.
//!
//! Files are looked at every few seconds and read when they changed, so that no watcher of the file system is needed; a
//! file that cannot be read keeps the targets that it had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::config::{FileDiscovery, TargetGroup, glob};

/// Targets as a discovery names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Names the group in messages.
    pub(crate) source: String,
    /// Addresses.
    pub(crate) targets: Vec<String>,
    /// Labels of all of them.
    pub(crate) labels: Vec<(String, String)>,
}

/// Time from one look at the files to the next.
pub(crate) const LOOK: Duration = Duration::from_secs(5);
/// Larger files are refused.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The files of one discovery.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) config: FileDiscovery,
    known: BTreeMap<PathBuf, Known>,
    next_read: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    stamp: Option<Stamp>,
    groups: Vec<Group>,
}

/// What tells whether a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    changed: SystemTime,
    bytes: u64,
    #[cfg(unix)]
    inode: u64,
}

/// What a look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether groups changed.
    pub(crate) changed: bool,
    /// Files that could not be read.
    pub(crate) errors: usize,
}

impl Files {
    pub(crate) const fn new(config: FileDiscovery) -> Self {
        Self {
            config,
            known: BTreeMap::new(),
            next_read: None,
        }
    }

    /// Looks at the files. Blocks on the disk.
    pub(crate) fn look(&mut self, now: Instant) -> Look {
        let read_all = self.next_read.is_none_or(|at| at <= now);
        if read_all {
            self.next_read = Some(now + self.config.refresh_interval);
        }
        let mut look = Look::default();
        let mut before = std::mem::take(&mut self.known);
        for path in self.config.files.iter().flat_map(|pattern| glob(pattern)) {
            if self.known.contains_key(&path) {
                continue;
            }
            let old = before.remove(&path);
            let stamp = stamp(&path);
            let old = match old {
                Some(old) if !read_all && stamp.is_some() && old.stamp == stamp => {
                    self.known.insert(path, old);
                    continue;
                }
                old => old,
            };
            match read(&path) {
                Ok(groups) => {
                    look.changed |= old.is_none_or(|o| o.groups != groups);
                    self.known.insert(path, Known { stamp, groups });
                }
                Err(e) => {
                    look.errors += 1;
                    tracing::error!("file_sd_configs: {}: {e}", path.display());
                    let groups = old.map(|o| o.groups).unwrap_or_default();
                    self.known.insert(path, Known { stamp, groups });
                }
            }
        }
        look.changed |= before.values().any(|gone| !gone.groups.is_empty());
        look
    }

    /// The groups found last.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.known.values().flat_map(|known| &known.groups)
    }

    /// Files and when they were changed, seconds since the epoch.
    pub(crate) fn times(&self) -> impl Iterator<Item = (String, f64)> {
        self.known.iter().filter_map(|(path, known)| {
            let changed = known.stamp?.changed.duration_since(SystemTime::UNIX_EPOCH);
            Some((path.display().to_string(), changed.ok()?.as_secs() as f64))
        })
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        changed: metadata.modified().ok()?,
        bytes: metadata.len(),
        #[cfg(unix)]
        inode: std::os::unix::fs::MetadataExt::ino(&metadata),
    })
}

fn read(path: &Path) -> Result<Vec<Group>, String> {
    let bytes = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(format!("larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let name = path.display().to_string();
    let json = name.to_ascii_lowercase().ends_with(".json");
    let groups: Option<Vec<Option<TargetGroup>>> = if json {
        serde_json::from_str(&text).map_err(|e| e.to_string())?
    } else {
        serde_yaml_ng::from_str(&text).map_err(|e| e.to_string())?
    };
    let groups = groups.unwrap_or_default().into_iter().enumerate();
    groups
        .map(|(i, group)| {
            let group = group.ok_or("nil target group item found")?;
            let mut labels: Vec<(String, String)> = group.labels.into_iter().collect();
            labels.push(("__meta_filepath".to_owned(), name.clone()));
            Ok(Group {
                source: format!("{name}:{i}"),
                targets: group.targets,
                labels,
            })
        })
        .collect()
}

/// The groups that stand in the configuration itself.
pub(crate) fn static_groups(groups: &[TargetGroup]) -> impl Iterator<Item = Group> {
    groups.iter().enumerate().map(|(i, group)| {
        let labels = group.labels.iter();
        Group {
            source: i.to_string(),
            targets: group.targets.clone(),
            labels: labels.map(|(n, v)| (n.clone(), v.clone())).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(files: &Files) -> Vec<&str> {
        let groups = files.groups().flat_map(|g| &g.targets);
        groups.map(String::as_str).collect()
    }

    #[test]
    fn files_are_read_when_they_change_and_keep_their_targets_when_broken() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "a.json",
            r#"[{"targets": ["a:1", "a:2"], "labels": {"x": "y"}}]"#,
        );
        write("b.yml", "- targets: ['b:1']\n  labels: {n: 1}\n");
        let now = Instant::now();
        let mut files = Files::new(FileDiscovery {
            files: vec![folder.path().join("*.json"), folder.path().join("*.yml")],
            refresh_interval: Duration::from_secs(60),
        });
        assert_eq!(
            files.look(now),
            Look {
                changed: true,
                errors: 0
            }
        );
        assert_eq!(targets(&files), ["a:1", "a:2", "b:1"]);
        let first = files.groups().next().unwrap();
        let path = folder.path().join("a.json").display().to_string();
        assert_eq!(first.source, format!("{path}:0"));
        assert!(first.labels.contains(&("__meta_filepath".to_owned(), path)));
        assert_eq!(files.times().count(), 2);
        // Nothing changed, and everything is read again without a change.
        assert_eq!(files.look(now), Look::default());
        assert_eq!(files.look(now + Duration::from_secs(61)), Look::default());
        write("a.json", "[{\"targets\": [\"a:3\"]}]");
        assert!(files.look(now).changed);
        assert_eq!(targets(&files), ["a:3", "b:1"]);
        for broken in ["{", "[null]", r#"[{"target": []}]"#, "longer and broken"] {
            write("a.json", broken);
            assert_eq!(
                files.look(now),
                Look {
                    changed: false,
                    errors: 1
                },
                "{broken}"
            );
            assert_eq!(targets(&files), ["a:3", "b:1"]);
        }
        std::fs::remove_file(folder.path().join("b.yml")).unwrap();
        assert!(files.look(now).changed);
        assert_eq!(targets(&files), ["a:3"]);
    }
}
