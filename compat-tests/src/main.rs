//! The compatibility suite's program; `compat-tests --help` lists what it does.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use compat_tests::http::Client;
use compat_tests::promqltest::runner::Runner;
use compat_tests::replay::{Report, Selection, groups_of};
use compat_tests::server::Urls;

/// Compares Trilobite with the recorded answers of Prometheus, Loki and Jaeger.
#[derive(Parser)]
#[command(name = "compat-tests")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Feed datasets to a server, replay recorded cases, and count equal answers
    Replay(Replay),
    /// Run promqltest scripts
    Promqltest(Promqltest),
}

#[derive(Args)]
struct Show {
    /// How many differences to print for each file
    #[arg(long, default_value_t = 10)]
    show: usize,
    /// Only this case; a trailing * stands for any ending
    #[arg(long, value_name = "ID")]
    case: Option<String>,
    /// Print request and answers of each case that differs
    #[arg(long)]
    verbose: bool,
}

impl Show {
    fn selection(&self) -> Selection {
        Selection {
            case: self.case.clone(),
            verbose: self.verbose,
        }
    }
}

#[derive(Args)]
struct Replay {
    /// A dataset to feed first; may be given for each signal
    #[arg(long, value_name = "FILE")]
    dataset: Vec<PathBuf>,
    /// A running server's base URL; without it the binary is started
    #[arg(long)]
    url: Option<String>,
    /// One listener's URL of the running server, e.g. loki=http://127.0.0.1:3100
    #[arg(long, value_name = "NAME=URL")]
    listener: Vec<String>,
    /// A further flag for the server
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    server_arg: Vec<String>,
    #[command(flatten)]
    show: Show,
    /// Case files
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Args)]
struct Promqltest {
    /// A running server's base URL; each `clear` is a tenant there
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    show: Show,
    /// Scripts, or folders of scripts
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Replay(args) => replay(args).await,
        Command::Promqltest(args) => promqltest(args).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compat-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    Ok(paths
        .iter()
        .map(std::path::absolute)
        .collect::<Result<_, _>>()?)
}

/// Prints the sum; whether all are equal.
fn finish(reports: &[Report]) -> bool {
    let equal: usize = reports.iter().map(|r| r.equal).sum();
    let total: usize = reports.iter().map(|r| r.total).sum();
    if reports.len() > 1 {
        println!("all {equal}/{total}");
    }
    equal == total
}

async fn replay(args: Replay) -> Result<bool> {
    let client = Client::new();
    let mut urls = args.url.as_deref().map(Urls::single);
    for pair in &args.listener {
        let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
        urls.get_or_insert_with(Urls::default).set(name, url)?;
    }
    let mut all = Vec::new();
    for mut group in groups_of(&absolute(&args.dataset)?, &absolute(&args.paths)?)? {
        group.extra_args = args.server_arg.clone();
        let reports = group
            .run(&client, urls.as_ref(), &args.show.selection())
            .await?;
        reports.iter().for_each(|r| r.print(args.show.show));
        all.extend(reports);
    }
    Ok(finish(&all))
}

async fn promqltest(args: Promqltest) -> Result<bool> {
    let mut files = Vec::new();
    for path in absolute(&args.paths)? {
        if path.is_dir() {
            let mut inside: Vec<PathBuf> = std::fs::read_dir(&path)?
                .map(|e| Ok(e?.path()))
                .collect::<Result<_>>()?;
            inside.retain(|p| p.extension().is_some_and(|e| e == "test"));
            inside.sort();
            files.extend(inside);
        } else {
            files.push(path);
        }
    }
    let mut runner = Runner::new(Client::new(), args.url.as_deref()).await?;
    let mut all = Vec::new();
    for path in files {
        let report = runner.script(&path, &args.show.selection()).await?;
        report.print(args.show.show);
        all.push(report);
    }
    Ok(finish(&all))
}
