//! Sub-commands, a file each. Without one the server starts.

mod check_config;
mod check_rules;
mod test_rules;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use promql::ParseOptions;

/// Names of the sub-commands.
const NAMES: [&str; 2] = ["check", "test"];

#[derive(Parser)]
#[command(name = "trilobite", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Features by Prometheus's names, separated by commas, e.g. promql-experimental-functions
    #[arg(
        long = "enable-feature",
        value_delimiter = ',',
        value_name = "NAMES",
        global = true
    )]
    features: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Check files before a server reads them
    #[command(subcommand)]
    Check(Check),
    /// Run unit tests
    #[command(subcommand)]
    Test(Test),
}

#[derive(Subcommand)]
enum Check {
    /// Check configuration files and the rule files they name
    Config(check_config::Args),
    /// Check rule files; standard input where none is named
    Rules(check_rules::Args),
}

#[derive(Subcommand)]
enum Test {
    /// Run unit tests of rules
    Rules(test_rules::Args),
}

/// How a sub-command went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    /// Nothing is wrong, but something looks like a mistake.
    Lint,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::SUCCESS,
            Outcome::Failure => Self::FAILURE,
            Outcome::Lint => Self::from(3),
        }
    }
}

/// What the flags say about PromQL.
#[derive(Clone, Debug)]
struct Features(Vec<String>);

impl Features {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|f| f == name)
    }

    fn promql(&self) -> ParseOptions {
        ParseOptions {
            experimental_functions: self.has("promql-experimental-functions"),
            extended_range_selectors: self.has("promql-extended-range-selectors"),
            fill_modifiers: self.has("promql-binop-fill-modifiers"),
        }
    }
}

/// Runs the sub-command that the arguments name; `None` where they name none. The first argument is the program.
#[must_use]
pub fn run(args: &[OsString]) -> Option<ExitCode> {
    let first = args.get(1)?.to_str()?;
    if !NAMES.contains(&first) {
        return None;
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Where standard output is gone nobody reads the help either.
            let _ = e.print();
            return Some(ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2)));
        }
    };
    let features = Features(cli.features);
    let outcome = match &cli.command {
        Command::Check(Check::Config(args)) => check_config::run(args, &features),
        Command::Check(Check::Rules(args)) => check_rules::run(args, &features),
        Command::Test(Test::Rules(args)) => test_rules::run(args, &features),
    };
    Some(outcome.into())
}
