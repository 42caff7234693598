//! `trilobite test rules FILE…`: unit tests of rules, in the files that `promtool test rules` takes; prints and exits as it does.
//!
//! ```text
//!  test file ─ file ─▶ Tests ─ run: samples up to a time, then every group, by the evaluation of the server ─▶ alerts, values
//!                                                              faults ◀─ compare with what is expected ─┘
//! ```

mod compare;
mod file;
mod run;

use std::path::{Path, PathBuf};

use regex::Regex;

use super::{Features, Outcome};
use crate::config::glob;
use file::TestFile;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Files of unit tests
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Run only the tests whose name this regular expression matches; may be given several times
    #[arg(long = "run", value_name = "REGEX")]
    run: Vec<Regex>,
}

pub(super) fn run(args: &Args, features: &Features) -> Outcome {
    let mut outcome = Outcome::Success;
    for file in &args.files {
        let faults = test(file, &args.run, features);
        if faults.is_empty() {
            println!("  SUCCESS");
        } else {
            eprintln!("  FAILED:");
            for fault in faults {
                eprintln!("{fault}");
                println!();
            }
            outcome = Outcome::Failure;
        }
        println!();
    }
    outcome
}

/// Runs the tests of a file; what is not as expected, or wrong with the file.
fn test(path: &Path, wanted: &[Regex], features: &Features) -> Vec<String> {
    let read = || -> Result<TestFile, String> {
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("open {}: {e}", path.display()))?;
        TestFile::parse(&text)
    };
    let file = match read() {
        Ok(file) => file,
        Err(fault) => return vec![fault],
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut rule_files = Vec::new();
    for pattern in &file.rule_files {
        let pattern = folder.join(pattern);
        let found = glob(&pattern);
        if found.is_empty() {
            eprintln!("  WARNING: no file match pattern {}", pattern.display());
        }
        rule_files.extend(found);
    }
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|regex| regex.is_match(name));
    let tests = file.tests.iter().filter(|test| is_wanted(&test.name));
    tests
        .flat_map(|test| run::run(test, &file, &rule_files, features))
        .collect()
}

#[cfg(test)]
mod tests;
