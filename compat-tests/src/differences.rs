//! Cases in which Trilobite deliberately answers otherwise than the upstream: `differences.toml`.
//!
//! An argued difference is counted apart, never as equal. An entry holds for one difference of one case: a case that
//! differs in another way is no argued one, and an entry that fits nothing any more is told, so that the list cannot rot.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::replay::Report;

/// The list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Differences {
    /// One entry a case.
    #[serde(default)]
    pub difference: Vec<Difference>,
}

/// One argued difference.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The case file, as `folder/name`.
    pub file: String,
    /// The case's id.
    pub case: String,
    /// How the difference begins, as the suite prints it.
    pub shows: String,
    /// Why it is better so, in one line.
    pub reason: String,
}

/// Where the list is committed.
#[must_use]
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("differences.toml")
}

impl Differences {
    /// Reads a list.
    ///
    /// # Errors
    /// When the file is missing or no such list, or an entry has no reason, shows nothing, or comes twice.
    pub fn read(path: &Path) -> Result<Self> {
        let context = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(context)?;
        Self::parse(&text).with_context(context)
    }

    fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text)?;
        for (at, entry) in list.difference.iter().enumerate() {
            let name = format!("{} {}", entry.file, entry.case);
            let says = |text: &String| !text.trim().is_empty() && !text.contains('\n');
            anyhow::ensure!(says(&entry.reason), "{name}: the reason is one line");
            anyhow::ensure!(says(&entry.shows), "{name}: it shows nothing");
            let before = &list.difference[..at];
            let twice = |e: &Difference| e.file == entry.file && e.case == entry.case;
            anyhow::ensure!(!before.iter().any(twice), "{name}: listed twice");
        }
        Ok(list)
    }

    /// Moves the argued differences of a report apart; what is wrong with the entries for its file.
    pub fn apply(&self, report: &mut Report) -> Vec<String> {
        let mut wrong = Vec::new();
        for entry in self.difference.iter().filter(|e| e.file == report.file) {
            let name = format!("{} {}", entry.file, entry.case);
            let found = report.differences.iter();
            let found = found.enumerate().find(|(_, (id, _))| *id == entry.case);
            match found {
                Some((at, (_, problem))) if problem.starts_with(&entry.shows) => {
                    report.differences.remove(at);
                    let argued = (entry.case.clone(), entry.reason.clone());
                    report.argued.push(argued);
                }
                Some((_, (_, problem))) => {
                    wrong.push(format!("{name} differs otherwise than argued: {problem}"));
                }
                None if report.equal_cases.contains(&entry.case) => {
                    wrong.push(format!("{name} is equal, and listed as a difference"));
                }
                // Of a file that was not asked nothing is known.
                None if report.equal + report.differences.len() + report.argued.len() == 0 => {}
                None => wrong.push(format!("{name} is listed, and there is no such case")),
            }
        }
        wrong
    }

    /// Entries for files that are not among the reports of a whole run.
    #[must_use]
    pub fn without_file(&self, reports: &[Report]) -> Vec<String> {
        let gone = self
            .difference
            .iter()
            .filter(|e| !reports.iter().any(|r| r.file == e.file));
        gone.map(|e| format!("{} is listed, and there is no such file", e.file))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(case: &str, shows: &str) -> Differences {
        let entry = Difference {
            file: "logs/push.jsonl".to_owned(),
            case: case.to_owned(),
            shows: shows.to_owned(),
            reason: "a late line is kept".to_owned(),
        };
        Differences {
            difference: vec![entry],
        }
    }

    fn report() -> Report {
        let mut report = Report::new(Path::new("logs/push.jsonl"));
        report.count("a", None);
        report.count("b", Some("HTTP 400 expected, got 204: ".to_owned()));
        report
    }

    #[test]
    fn an_argued_difference_is_counted_apart_and_not_as_equal() {
        let mut report = report();
        let wrong = list("b", "HTTP 400 expected, got 204").apply(&mut report);
        assert_eq!(wrong, [""; 0]);
        assert_eq!(report.counts(), "1 equal, 1 argued differences of 2");
        assert!(report.differences.is_empty());
    }

    #[test]
    fn an_entry_that_fits_nothing_is_told_and_moves_nothing() {
        for (case, shows, words) in [
            ("a", "HTTP", "a is equal, and listed as a difference"),
            ("c", "HTTP", "c is listed, and there is no such case"),
            (
                "b",
                "HTTP 400 expected, got 500",
                "b differs otherwise than argued: HTTP 400 expected, got 204:",
            ),
        ] {
            let mut report = report();
            let wrong = list(case, shows).apply(&mut report);
            assert_eq!(wrong, [format!("logs/push.jsonl {words}")]);
            assert_eq!(report.counts(), "1/2");
        }
    }

    #[test]
    fn a_file_that_did_not_run_says_nothing_of_its_entries_and_one_that_is_gone_does() {
        let mut unasked = Report::new(Path::new("logs/push.jsonl"));
        unasked.total = 7;
        assert_eq!(list("a", "HTTP").apply(&mut unasked), [""; 0]);
        assert_eq!(list("a", "HTTP").without_file(&[unasked]), [""; 0]);
        assert_eq!(list("a", "HTTP").without_file(&[]).len(), 1);
    }

    #[test]
    fn the_committed_list_gives_a_reason_for_each_case() {
        Differences::read(&path()).unwrap();
        for text in [
            "[[difference]]\nfile = 'f'\ncase = 'c'\nshows = 'x'\n",
            "[[difference]]\nfile = 'f'\ncase = 'c'\nshows = 'x'\nreason = ' '\n",
            "[[difference]]\nfile = 'f'\ncase = 'c'\nshows = ''\nreason = 'r'\n",
        ] {
            assert!(Differences::parse(text).is_err(), "{text}");
        }
    }
}
