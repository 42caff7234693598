//! Replays recorded cases and counts, file by file, how many answers equal the upstream's.
//!
//! A file belongs to a group: the files that may share one server. A group's server is started as
//! its kind asks, fed, and then asked file after file. A server that ends in the middle is reported,
//! started again on its folder, and the case that it did not answer counts as different.

mod group;
mod target;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::case::{self, Case};
use crate::compare::{Answer, difference, expected};
use crate::http::Client;

pub use group::{Group, Kind, base_of, groups_of, kind_of_file};
pub use target::Target;

/// How a file went.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The file, as `folder/name`.
    pub file: String,
    /// Answers equal to the upstream's.
    pub equal: usize,
    /// All cases.
    pub total: usize,
    /// Which they are.
    pub equal_cases: BTreeSet<String>,
    /// Case and first difference, for each that is not equal.
    pub differences: Vec<(String, String)>,
    /// Case and reason, for each that differs on purpose.
    pub argued: Vec<(String, String)>,
    /// What befell the whole file: a refused start, a crash.
    pub notes: Vec<String>,
}

impl Report {
    /// An empty report for a file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            file: short_name(path),
            ..Self::default()
        }
    }

    /// Counts one case.
    pub fn count(&mut self, id: &str, problem: Option<String>) {
        self.total += 1;
        match problem {
            None => {
                self.equal += 1;
                self.equal_cases.insert(id.to_owned());
            }
            Some(problem) => {
                let line = problem.split_whitespace().collect::<Vec<_>>().join(" ");
                self.differences.push((id.to_owned(), line));
            }
        }
    }

    /// The counts in words.
    #[must_use]
    pub fn counts(&self) -> String {
        counts(self.equal, self.argued.len(), self.total)
    }

    /// Prints the file with its counts and the first differences.
    pub fn print(&self, show: usize) {
        println!("{} {}", self.file, self.counts());
        for note in &self.notes {
            println!("  note: {note}");
        }
        for (id, problem) in self.differences.iter().take(show) {
            println!("  {id}: {problem}");
        }
        if self.differences.len() > show && show > 0 {
            println!("  ... and {} more", self.differences.len() - show);
        }
        for (id, reason) in self.argued.iter().take(show) {
            println!("  argued {id}: {reason}");
        }
    }
}

/// `equal/total`, or in words where some differ on purpose.
#[must_use]
pub fn counts(equal: usize, argued: usize, total: usize) -> String {
    match argued {
        0 => format!("{equal}/{total}"),
        n => format!("{equal} equal, {n} argued differences of {total}"),
    }
}

/// The last folder and the file's name.
#[must_use]
pub fn short_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match path.parent().and_then(Path::file_name) {
        Some(folder) => format!("{}/{name}", folder.to_string_lossy()),
        None => name.into_owned(),
    }
}

/// Which cases are asked and how much is printed.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only cases with this id, or whose id starts with it and a `*`.
    pub case: Option<String>,
    /// Print request and both answers of each case that differs.
    pub verbose: bool,
}

impl Selection {
    /// Whether a case is asked for.
    #[must_use]
    pub fn takes(&self, id: &str) -> bool {
        self.case
            .as_deref()
            .is_none_or(|want| match want.strip_suffix('*') {
                Some(start) => id.starts_with(start),
                None => id == want,
            })
    }
}

/// Asks the cases of one file, in their order.
///
/// # Errors
/// When the file cannot be read.
pub async fn file(
    client: &Client,
    target: &mut Target,
    path: &Path,
    kind: Kind,
    selection: &Selection,
) -> Result<Report> {
    let mut report = Report::new(path);
    for case in case::load(path)?.iter().filter(|c| selection.takes(&c.id)) {
        let base = group::base_of(path, kind, case, &target.urls).to_owned();
        let problem = if base.is_empty() {
            Some("the server has no such listener".to_owned())
        } else {
            ask(client, &base, case, selection.verbose).await
        };
        let problem = match target.recover().await {
            Some(note) => {
                report.notes.push(format!("at {}: {note}", case.id));
                Some(problem.unwrap_or(note))
            }
            None => problem,
        };
        report.count(&case.id, problem);
    }
    Ok(report)
}

/// Asks one case; the first difference, or why there was no answer.
async fn ask(client: &Client, base: &str, case: &Case, verbose: bool) -> Option<String> {
    let response = match client.call(base, &case.request).await {
        Ok(response) => response,
        Err(error) => return Some(format!("{error:#}")),
    };
    let (upstream, ours) = (expected(case), Answer::from(&response));
    let problem = difference(case, &upstream, &ours);
    if verbose && problem.is_some() {
        println!(
            "{}: {}",
            case.id,
            serde_json::to_string(&case.request).unwrap_or_default()
        );
        println!("  upstream {} {:?}", upstream.status, upstream.body);
        println!(
            "  ours     {} {}",
            ours.status,
            String::from_utf8_lossy(&response.body)
        );
    }
    problem
}
