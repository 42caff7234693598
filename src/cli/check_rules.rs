//! `trilobite check rules FILE…`: reads rule files as a server would, and looks for rules that are there twice.
//! Prints and exits as `promtool check rules`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Features, Outcome};
use crate::config::rule_file::{self, Pairs, RuleGroup};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Rule files
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) lint: Lint,
}

/// What to look for beyond faults.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Lint {
    /// What to look for beyond faults, separated by commas: all, duplicate-rules, none
    #[arg(
        long = "lint",
        value_delimiter = ',',
        default_value = "duplicate-rules",
        value_name = "NAMES"
    )]
    names: Vec<String>,

    /// Exit with 3 where something is found
    #[arg(long = "lint-fatal")]
    pub(super) fatal: bool,
}

impl Lint {
    fn duplicates(&self) -> bool {
        self.names
            .iter()
            .any(|name| name == "all" || name == "duplicate-rules")
    }

    /// Names something that is not known.
    fn warn(&self) {
        for name in &self.names {
            if !matches!(
                name.as_str(),
                "all" | "duplicate-rules" | "none" | "too-long-scrape-interval"
            ) {
                println!("WARNING: unknown lint option: {name:?}");
            }
        }
    }
}

pub(super) fn run(args: &Args, features: &Features) -> Outcome {
    args.lint.warn();
    let outcome = if args.files.is_empty() {
        println!("Checking standard input");
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        let groups = match read {
            Ok(_) => rule_file::parse(&text, &features.promql()),
            Err(e) => Err(vec![e.to_string()]),
        };
        report(groups, &args.lint)
    } else {
        check(&args.files, &args.lint, features)
    };
    match outcome {
        Outcome::Lint if !args.lint.fatal => Outcome::Success,
        outcome => outcome,
    }
}

/// Checks files and prints what is wrong with them.
pub(super) fn check(files: &[PathBuf], lint: &Lint, features: &Features) -> Outcome {
    let outcomes = files.iter().map(|file| check_file(file, lint, features));
    outcomes.fold(Outcome::Success, worse)
}

/// Failure before lint before success.
fn worse(a: Outcome, b: Outcome) -> Outcome {
    match (a, b) {
        (Outcome::Failure, _) | (_, Outcome::Failure) => Outcome::Failure,
        (Outcome::Lint, _) | (_, Outcome::Lint) => Outcome::Lint,
        _ => Outcome::Success,
    }
}

fn check_file(file: &Path, lint: &Lint, features: &Features) -> Outcome {
    println!("Checking {}", file.display());
    let read = rule_file::load(file, &features.promql());
    report(read.map(|file| file.groups), lint)
}

fn report(groups: Result<Vec<RuleGroup>, Vec<String>>, lint: &Lint) -> Outcome {
    let groups = match groups {
        Ok(groups) => groups,
        Err(faults) => {
            eprintln!("  FAILED:");
            faults.iter().for_each(|fault| eprintln!("{fault}"));
            return Outcome::Failure;
        }
    };
    let found = if lint.duplicates() {
        duplicates(&groups)
    } else {
        Vec::new()
    };
    let outcome = if found.is_empty() {
        let count: usize = groups.iter().map(|group| group.rules.len()).sum();
        println!("  SUCCESS: {count} rules found");
        Outcome::Success
    } else {
        eprintln!("  FAILED:");
        eprintln!("{}", duplicates_text(&found));
        Outcome::Lint
    };
    println!();
    outcome
}

/// Names and labels that several rules have.
fn duplicates(groups: &[RuleGroup]) -> Vec<(String, Pairs)> {
    let mut counts: BTreeMap<(String, Pairs), usize> = BTreeMap::new();
    for group in groups {
        for rule in &group.rules {
            let key = (rule.name().to_owned(), rule.labels_in(group));
            *counts.entry(key).or_default() += 1;
        }
    }
    counts.retain(|_, count| *count > 1);
    counts.into_keys().collect()
}

fn duplicates_text(found: &[(String, Pairs)]) -> String {
    let mut out = format!("lint error {} duplicate rule(s) found.\n", found.len());
    for (name, labels) in found {
        out.push_str(&format!("Metric: {name}\nLabel(s):\n"));
        for (label, value) in labels {
            out.push_str(&format!("\t{label}: {value}\n"));
        }
    }
    out.push_str("Might cause inconsistency while recording expressions");
    out
}

#[cfg(test)]
mod tests {
    use promql::ParseOptions;

    use super::*;

    #[test]
    fn rules_with_the_same_name_and_labels_are_found_over_all_groups() {
        let text = "groups:\n- name: a\n  labels: {x: '1'}\n  rules:\n  - {record: r, expr: up}\n  - {record: s, expr: up}\n- name: b\n  rules:\n  - {record: r, expr: up, labels: {x: '1'}}\n  - {record: s, expr: up}\n";
        let groups = rule_file::parse(text, &ParseOptions::default()).unwrap();
        let found = duplicates(&groups);
        assert_eq!(
            duplicates_text(&found),
            "lint error 1 duplicate rule(s) found.\nMetric: r\nLabel(s):\n\tx: 1\nMight cause inconsistency while recording expressions"
        );
    }
}
