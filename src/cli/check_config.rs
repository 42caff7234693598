//! `trilobite check config FILE…`: reads configuration files, and the rule files that they name, as a server would.
//! Prints and exits as `promtool check config`.

use std::path::{Path, PathBuf};

use super::check_rules::{self, Lint};
use super::{Features, Outcome};
use crate::config::{PrometheusConfig, glob};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Configuration files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Check the files alone, not what they name
    #[arg(long = "syntax-only")]
    syntax_only: bool,

    #[command(flatten)]
    lint: Lint,
}

pub(super) fn run(args: &Args, features: &Features) -> Outcome {
    let (mut failed, mut found) = (false, false);
    for file in &args.files {
        println!("Checking {}", file.display());
        let mut rule_files = Vec::new();
        match check(file, args.syntax_only) {
            Ok(named) => {
                if !named.is_empty() {
                    println!("  SUCCESS: {} rule files found", named.len());
                }
                println!(
                    " SUCCESS: {} is valid prometheus config file syntax",
                    file.display()
                );
                rule_files = named;
            }
            Err(e) => {
                eprintln!("  FAILED: {e}");
                failed = true;
            }
        }
        println!();
        let outcome = check_rules::check(&rule_files, &args.lint, features);
        failed |= outcome == Outcome::Failure;
        found |= outcome == Outcome::Lint;
    }
    match (failed, found && args.lint.fatal) {
        (true, _) => Outcome::Failure,
        (false, true) => Outcome::Lint,
        (false, false) => Outcome::Success,
    }
}

/// Reads a file; returns the rule files that it names.
fn check(file: &Path, syntax_only: bool) -> Result<Vec<PathBuf>, String> {
    let config = PrometheusConfig::load(file)?;
    let mut rule_files = Vec::new();
    if syntax_only {
        return Ok(rule_files);
    }
    for pattern in &config.alerting.rule_files {
        let found = glob(pattern);
        if found.is_empty() && !pattern.to_string_lossy().contains('*') {
            let quoted = promql::lexer::quote(&pattern.to_string_lossy());
            return Err(format!("{quoted} does not point to an existing file"));
        }
        rule_files.extend(found);
    }
    for alertmanager in &config.alerting.alertmanagers {
        for pattern in alertmanager.file_sd_configs.iter().flat_map(|d| &d.files) {
            if glob(pattern).is_empty() {
                let quoted = promql::lexer::quote(&pattern.to_string_lossy());
                println!(
                    "  WARNING: file {quoted} for file_sd in alertmanager config does not exist"
                );
            }
        }
    }
    Ok(rule_files)
}
