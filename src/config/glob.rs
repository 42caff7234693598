//! Patterns of file names: `*`, `?` and `[a-z]` within a part of a path, as Go's `filepath.Glob` takes them.

use std::path::{Component, Path, PathBuf};

/// Most files that one pattern may name.
const MAX_FILES: usize = 100_000;

/// The files and folders that match, sorted. What cannot be read does not match.
#[must_use]
pub fn glob(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(name) = component else {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let name = name.to_string_lossy();
        if !name.contains(['*', '?', '[', '\\']) {
            found.iter_mut().for_each(|path| path.push(&*name));
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let listed = if folder.as_os_str().is_empty() {
                std::fs::read_dir(".")
            } else {
                std::fs::read_dir(&folder)
            };
            let Ok(listed) = listed else { continue };
            for entry in listed.flatten() {
                let entry = entry.file_name();
                if matches(name.as_bytes(), entry.to_string_lossy().as_bytes()) {
                    next.push(folder.join(entry));
                }
            }
        }
        next.sort_unstable();
        next.truncate(MAX_FILES);
        found = next;
    }
    found.retain(|path| path.exists());
    found
}

/// Whether a name matches a pattern. Works through the pattern once and goes back to the last star only.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => class(&pattern[p..], name[n]),
            Some(b'\\') => (pattern.get(p + 1) == Some(&name[n])).then_some(2),
            Some(byte) => (*byte == name[n]).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// The length of a class that takes the byte; none where it does not, or is not closed.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = 1 + usize::from(negated);
    let mut hit = false;
    let begin = at;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > begin {
            return (hit != negated).then_some(at + 1);
        }
        let range = match pattern.get(at + 1..at + 3) {
            Some([b'-', high]) if *high != b']' => Some(*high),
            _ => None,
        };
        at += if range.is_some() { 3 } else { 1 };
        hit |= (low..=range.unwrap_or(low)).contains(&byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_marks_and_classes_match() {
        for (pattern, name, expected) in [
            ("*.json", "a.json", true),
            ("*.json", ".json", true),
            ("*.json", "a.json~", false),
            ("t?rgets*.yml", "targets-1.yml", true),
            ("[ab]*", "box", true),
            ("[^ab]*", "box", false),
            ("[a-c]x", "cx", true),
            ("[a-c]x", "dx", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("[a", "a", false),
            ("", "", true),
            ("*", "", true),
        ] {
            let got = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(got, expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_that_match_are_found_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json", "c.yml"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            glob(&folder.path().join(pattern))
                .iter()
                .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(names("*.json"), ["a.json", "b.json"]);
        assert_eq!(names("c.yml"), ["c.yml"]);
        assert!(names("nope.yml").is_empty());
        assert!(names("nope/*.yml").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_is_taken_without_panic(pattern: Vec<u8>, name: Vec<u8>) {
            let _ = matches(&pattern, &name);
        }
    }
}
