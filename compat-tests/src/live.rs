//! Sends the same data and the same requests to Trilobite and to the real servers, and compares.
//!
//! The data is moved in time so that it ends about now: a running Prometheus or Loki refuses what is
//! old. The times within requests move along.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::case::Case;
use crate::compare::{Answer, difference};
use crate::feed;
use crate::http::Client;
use crate::replay::{Report, Selection};
use crate::server::Urls;

/// How far around the start of the data a number counts as a time.
const WINDOW_SECONDS: i64 = 2 * 86_400;

/// Moves every number in a text that is a time near `from` (in s, ms, µs or ns) by `delta` seconds.
#[must_use]
pub fn shifted(text: &str, from: i64, delta: i64) -> String {
    static DIGITS: OnceLock<Option<regex::Regex>> = OnceLock::new();
    let Some(digits) = DIGITS.get_or_init(|| regex::Regex::new(r"\b\d{10,19}\b").ok()) else {
        return text.to_owned();
    };
    let move_one = |found: &regex::Captures<'_>| {
        let number = &found[0];
        let scale: i64 = match number.len() {
            10 => 1,
            13 => 1_000,
            16 => 1_000_000,
            19 => 1_000_000_000,
            _ => return number.to_owned(),
        };
        match number.parse::<i64>() {
            Ok(n) if (n / scale - from).abs() <= WINDOW_SECONDS => (n + delta * scale).to_string(),
            _ => number.to_owned(),
        }
    };
    digits.replace_all(text, move_one).into_owned()
}

/// By how many seconds data that begins at `from` and lasts two hours moves to end about now; a
/// whole number of hours, so that steps and windows stay aligned.
fn delta(from: i64) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as i64);
    (now - 7200 - from).div_euclid(3600) * 3600
}

/// One comparison: a dataset and case files, between two sets of addresses.
pub struct Comparison {
    /// Sent to both; nothing where the data flows already.
    pub dataset: Option<PathBuf>,
    /// The requests; recorded answers are not looked at.
    pub cases: Vec<PathBuf>,
    /// Seconds since the epoch at which the data begins, where it is to be moved to now.
    pub move_from: Option<i64>,
}

impl Comparison {
    /// Sends, asks and compares.
    ///
    /// # Errors
    /// When a file cannot be read or the data is refused.
    pub async fn run(
        &self,
        client: &Client,
        ours: &Urls,
        theirs: &Urls,
        selection: &Selection,
    ) -> Result<Vec<Report>> {
        let moved = |text: &str| match self.move_from {
            Some(from) => shifted(text, from, delta(from)),
            None => text.to_owned(),
        };
        let read =
            |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
        if let Some(path) = &self.dataset {
            let copy = tempfile::NamedTempFile::new()?;
            std::fs::write(copy.path(), moved(&read(path)?))?;
            for (name, urls) in [("the upstream", theirs), ("Trilobite", ours)] {
                let sent = feed::dataset(client, urls, copy.path()).await;
                let sent = sent.with_context(|| format!("{}, sent to {name}", path.display()))?;
                println!("{}: {sent} sent to {name}", path.display());
            }
        }
        let mut out = Vec::new();
        for path in &self.cases {
            let mut report = Report::new(path);
            let kind = crate::replay::kind_of_file(path)?;
            for line in moved(&read(path)?).lines().filter(|l| !l.trim().is_empty()) {
                let case: Case =
                    serde_json::from_str(line).with_context(|| path.display().to_string())?;
                if !selection.takes(&case.id) {
                    continue;
                }
                let base = |urls| crate::replay::base_of(path, kind, &case, urls).to_owned();
                let (a, b) = (base(theirs), base(ours));
                let (upstream, own) = tokio::join!(
                    client.call(&a, &case.request),
                    client.call(&b, &case.request)
                );
                let problem = match (upstream, own) {
                    (Ok(a), Ok(b)) => difference(&case, &Answer::from(&a), &Answer::from(&b)),
                    (Err(error), _) => Some(format!("the upstream: {error:#}")),
                    (_, Err(error)) => Some(format!("Trilobite: {error:#}")),
                };
                report.count(&case.id, problem);
            }
            out.push(report);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_move_in_every_unit_and_other_numbers_stay() {
        let text = r#"["1704067200000000000", 1704067260000, 1704067200.5, "x @ 1704067230", 17, 9999999999]"#;
        let moved = shifted(text, 1_704_067_200, 3600);
        assert_eq!(
            moved,
            r#"["1704070800000000000", 1704070860000, 1704070800.5, "x @ 1704070830", 17, 9999999999]"#
        );
    }
}
