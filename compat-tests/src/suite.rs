//! The whole suite: the project's own cases and, where they are there, the recordings; counts are
//! held against `expected.toml`, and a count that falls is a failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::differences::Differences;
use crate::http::Client;
use crate::promqltest::runner::Runner;
use crate::replay::{Report, Selection, groups_of, short_name};

/// Equal answers by file, own and shared apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// The project's own cases.
    #[serde(default)]
    pub own: BTreeMap<String, usize>,
    /// The recordings.
    #[serde(default)]
    pub shared: BTreeMap<String, usize>,
}

/// What is run, and what is told of it.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Only files whose folder and name hold one of these texts; all where there is none.
    pub only: &'a [String],
    /// How many differences are printed for each file.
    pub show: usize,
    /// The cases that differ on purpose.
    pub argued: &'a Differences,
}

/// What is at fault with the suite itself.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Groups that did not run though they are there.
    pub skipped: Vec<String>,
    /// Argued differences that are none.
    pub argued: Vec<String>,
}

/// Where the expected counts are committed.
#[must_use]
pub fn expected_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("expected.toml")
}

/// The project's own data.
#[must_use]
pub fn own_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

/// Reads the expected counts; none where the file is missing.
///
/// # Errors
/// When the file is no such table.
pub fn read_expected(path: &Path) -> Result<Expected> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).with_context(|| path.display().to_string()),
        Err(_) => Ok(Expected::default()),
    }
}

/// Files of a folder with one of these endings, sorted.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    let mut out: Vec<PathBuf> = entries
        .filter(|p| {
            p.extension()
                .and_then(|e| e.to_str())
                .is_some_and(|e| endings.contains(&e))
        })
        .collect();
    out.sort();
    out
}

/// Not cases: data, and what is there for reading.
fn is_case_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    match path.extension().and_then(|e| e.to_str()) {
        Some("json") => name == "grpc_cases.json",
        _ => !matches!(name, "dataset.jsonl" | "v1_differences.jsonl"),
    }
}

/// Runs everything below a root: a folder for each signal, `compliance`, and `promqltest`.
///
/// # Errors
/// When a file cannot be read.
pub async fn root(
    client: &Client,
    root: &Path,
    run: Run<'_>,
    faults: &mut Faults,
) -> Result<Vec<Report>> {
    let only = run.only;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| name.contains(o.as_str()));
    let mut out = Vec::new();
    for folder in ["compliance", "metrics", "logs", "traces"] {
        let path = root.join(folder);
        if !path.is_dir() {
            // The own data has no variant of every folder.
            if root != own_root() {
                println!("skipped: no {}", path.display());
            }
            continue;
        }
        let mut cases = files(&path, &["jsonl", "json"]);
        cases.retain(|p| is_case_file(p));
        if cases.is_empty() {
            faults.skipped.push(format!("{folder}: no case files"));
            continue;
        }
        let dataset: Vec<PathBuf> = [path.join("dataset.jsonl")]
            .into_iter()
            .filter(|p| p.is_file())
            .collect();
        for mut group in groups_of(&dataset, &cases)? {
            if !group.files.iter().any(|f| wanted(&short_name(f))) {
                continue;
            }
            group.extra_args = Vec::new();
            for mut report in group.run(client, None, &Selection::default()).await? {
                faults.argued.extend(run.argued.apply(&mut report));
                report.print(run.show);
                out.push(report);
            }
        }
        let unit_tests = path.join("rules_unit_tests");
        let name = format!("{folder}/rules_unit_tests");
        if unit_tests.is_dir()
            && wanted(&name)
            && let Some(report) = crate::rules::unit_tests(&unit_tests, &name)?
        {
            report.print(run.show);
            out.push(report);
        }
    }
    let scripts = files(&root.join("promqltest"), &["test"]);
    let scripts: Vec<&PathBuf> = scripts.iter().filter(|p| wanted(&short_name(p))).collect();
    if !scripts.is_empty() {
        let mut runner = Runner::new(client.clone(), None).await?;
        for path in scripts {
            let mut report = runner.script(path, &Selection::default()).await?;
            faults.argued.extend(run.argued.apply(&mut report));
            report.print(run.show);
            out.push(report);
        }
    }
    Ok(out)
}

/// Compares counts with the expected ones: what fell, and what rose.
#[must_use]
pub fn judge(reports: &[Report], expected: &BTreeMap<String, usize>) -> (Vec<String>, Vec<String>) {
    let (mut fallen, mut risen) = (Vec::new(), Vec::new());
    for report in reports {
        let wanted = expected.get(&report.file).copied().unwrap_or(0);
        let line = format!("{}: {} expected, got {}", report.file, wanted, report.equal);
        match report.equal.cmp(&wanted) {
            std::cmp::Ordering::Less => fallen.push(line),
            std::cmp::Ordering::Greater => risen.push(line),
            std::cmp::Ordering::Equal => {}
        }
    }
    for (file, wanted) in expected {
        if *wanted > 0 && !reports.iter().any(|r| r.file == *file) {
            fallen.push(format!("{file}: {wanted} expected, not run"));
        }
    }
    (fallen, risen)
}

/// The counts reached, over those that were expected before.
#[must_use]
pub fn updated(reports: &[Report], before: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut out = before.clone();
    out.extend(reports.iter().map(|r| (r.file.clone(), r.equal)));
    out
}

/// Writes the expected counts.
///
/// # Errors
/// When the file cannot be written.
pub fn write_expected(path: &Path, expected: &Expected) -> Result<()> {
    let head = "# Equal answers reached, file by file: `own` are the project's cases in data/, `shared`\n\
                # the recordings. The suite fails when a count falls; `suite --update` rewrites this.\n\n";
    std::fs::write(path, format!("{head}{}", toml::to_string(expected)?))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(file: &str, equal: usize) -> Report {
        Report {
            file: file.to_owned(),
            equal,
            total: 10,
            ..Report::default()
        }
    }

    #[test]
    fn a_count_that_falls_or_a_file_that_is_gone_is_a_failure() {
        let expected = BTreeMap::from([
            ("a".to_owned(), 3),
            ("b".to_owned(), 2),
            ("c".to_owned(), 1),
        ]);
        let (fallen, risen) = judge(&[report("a", 2), report("b", 5)], &expected);
        assert_eq!(fallen, ["a: 3 expected, got 2", "c: 1 expected, not run"]);
        assert_eq!(risen, ["b: 2 expected, got 5"]);
        assert_eq!(
            judge(&[report("a", 3)], &BTreeMap::from([("a".to_owned(), 3)])).0,
            [""; 0]
        );
    }
}
