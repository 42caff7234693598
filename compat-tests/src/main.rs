//! The compatibility suite's program; `compat-tests --help` lists what it does.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use compat_tests::differences::{self, Differences};
use compat_tests::differential;
use compat_tests::http::Client;
use compat_tests::live::Comparison;
use compat_tests::promqltest::runner::Runner;
use compat_tests::replay::{Kind, Report, Selection, counts, groups_of, kind_of_file};
use compat_tests::server::Urls;
use compat_tests::{paths, sample, suite};

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
    /// Run the own cases and the recordings, and hold the counts against expected.toml
    Suite(Suite),
    /// Send the same data and requests to Trilobite and to the real servers, and compare
    Live(Live),
    /// Ask Trilobite and a real Prometheus expressions made up from a seed, and compare
    Differential(Differential),
    /// Write the own datasets anew
    Sample,
}

#[derive(Args)]
struct Differential {
    /// Trilobite's web address; an empty server, or one that holds the dataset already
    #[arg(long)]
    ours: String,
    /// A real Prometheus with --web.enable-remote-write-receiver, likewise
    #[arg(long)]
    prometheus: String,
    /// The seed of the expressions
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The seed of the dataset
    #[arg(long, default_value_t = 1)]
    data: u64,
    /// A dataset whose histograms list empty buckets too: it shows nothing of how upstream fills chunks up with them
    #[arg(long)]
    all_buckets: bool,
    /// How many expressions
    #[arg(long, default_value_t = 2000)]
    count: u64,
    /// Only the expression of this number, with both answers
    #[arg(long)]
    case: Option<u64>,
    /// Count a difference in the last digits too
    #[arg(long)]
    exact: bool,
}

#[derive(Args)]
struct Suite {
    /// The recordings; ../shared/conformance where that exists
    #[arg(long)]
    root: Option<PathBuf>,
    /// Only files whose folder/name holds this text; counts are not held against expected.toml
    #[arg(long)]
    only: Vec<String>,
    /// Rewrite expected.toml with the counts reached
    #[arg(long)]
    update: bool,
    /// How many differences to print for each file
    #[arg(long, default_value_t = 0)]
    show: usize,
}

#[derive(Args)]
struct Live {
    /// Trilobite's web address, e.g. http://127.0.0.1:9090
    #[arg(long)]
    ours: String,
    /// A listener of Trilobite's that is not the web port, e.g. loki=http://127.0.0.1:3100
    #[arg(long, value_name = "NAME=URL")]
    listener: Vec<String>,
    /// A real Prometheus with --web.enable-remote-write-receiver
    #[arg(long)]
    prometheus: Option<String>,
    /// A real Loki
    #[arg(long)]
    loki: Option<String>,
    /// A real Jaeger's query port
    #[arg(long)]
    jaeger: Option<String>,
    /// The real Jaeger's OTLP port over HTTP; 4318 on the same host when absent
    #[arg(long)]
    jaeger_otlp: Option<String>,
    /// Ask only: the same data flows to both already
    #[arg(long)]
    no_feed: bool,
    /// A dataset to send instead of the own one
    #[arg(long, value_name = "FILE")]
    dataset: Option<PathBuf>,
    /// The dataset begins at this second; data and times in requests are moved to now
    #[arg(long, value_name = "SECONDS")]
    move_from: Option<i64>,
    #[command(flatten)]
    show: Show,
    /// Case files; the own cases when absent
    paths: Vec<PathBuf>,
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
        Command::Suite(args) => run_suite(args).await,
        Command::Live(args) => run_live(args).await,
        Command::Differential(args) => run_differential(args).await,
        Command::Sample => compat_tests::sample::write(&suite::own_root()).map(|()| true),
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
    let argued: usize = reports.iter().map(|r| r.argued.len()).sum();
    let total: usize = reports.iter().map(|r| r.total).sum();
    if reports.len() > 1 {
        println!("all {}", counts(equal, argued, total));
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

async fn run_suite(args: Suite) -> Result<bool> {
    let client = Client::new();
    let mut faults = suite::Faults::default();
    let path = suite::expected_path();
    let mut expected = suite::read_expected(&path)?;
    let argued = Differences::read(&differences::path())?;
    let run = suite::Run {
        only: &args.only,
        show: args.show,
        argued: &argued,
    };
    println!("own cases");
    let own = suite::root(&client, &suite::own_root(), run, &mut faults).await?;
    let shared = match args.root.or_else(paths::conformance) {
        Some(root) => {
            println!("recordings of {}", root.display());
            Some(suite::root(&client, &root, run, &mut faults).await?)
        }
        None => {
            println!("skipped: no recordings");
            None
        }
    };
    let all: Vec<Report> = own.iter().chain(shared.iter().flatten()).cloned().collect();
    if args.only.is_empty() && shared.is_some() {
        faults.argued.extend(argued.without_file(&all));
    }
    for name in &faults.skipped {
        println!("skipped: {name}, which is there");
    }
    for line in &faults.argued {
        println!("differences.toml: {line}");
    }
    let mut good = faults.skipped.is_empty() && faults.argued.is_empty();
    finish(&all);
    if !args.only.is_empty() {
        return Ok(good);
    }
    if args.update {
        expected.own = suite::updated(&own, &expected.own);
        if let Some(shared) = &shared {
            expected.shared = suite::updated(shared, &expected.shared);
        }
        suite::write_expected(&path, &expected)?;
        println!("wrote {}", path.display());
        return Ok(good);
    }
    let mut both = vec![suite::judge(&own, &expected.own)];
    both.extend(shared.map(|shared| suite::judge(&shared, &expected.shared)));
    for (fallen, risen) in both {
        for line in risen {
            println!("rose: {line}; `suite --update` notes it");
        }
        for line in fallen {
            println!("FELL: {line}");
            good = false;
        }
    }
    Ok(good)
}

async fn run_live(args: Live) -> Result<bool> {
    let mut ours = Urls::single(&args.ours);
    for pair in &args.listener {
        let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
        ours.set(name, url)?;
    }
    let signals = [
        ("metrics", args.prometheus.as_deref()),
        ("logs", args.loki.as_deref()),
        ("traces", args.jaeger.as_deref()),
    ];
    let own = args.paths.is_empty();
    let mut all = Vec::new();
    for (signal, url) in signals {
        let Some(url) = url else { continue };
        let mut theirs = Urls::single(url);
        if signal == "traces" {
            let host = url.rsplit_once(':').map_or(url, |(host, _)| host);
            theirs.otlp_http = args.jaeger_otlp.clone().unwrap_or(format!("{host}:4318"));
        }
        let folder = suite::own_root().join(signal);
        let (dataset, cases, move_from) = if own {
            (
                Some(folder.join("dataset.jsonl")),
                vec![folder.join("cases.jsonl")],
                Some(sample::T0),
            )
        } else {
            let mut cases = absolute(&args.paths)?;
            cases.retain(|p| kind_of_file(p).is_ok_and(|k| signal_of(k) == signal));
            (args.dataset.clone(), cases, args.move_from)
        };
        let dataset = dataset.filter(|_| !args.no_feed);
        let comparison = Comparison {
            dataset,
            cases,
            move_from,
        };
        let reports = comparison
            .run(&Client::new(), &ours, &theirs, &args.show.selection())
            .await?;
        reports.iter().for_each(|r| r.print(args.show.show));
        all.extend(reports);
    }
    anyhow::ensure!(
        !all.is_empty(),
        "give --prometheus, --loki or --jaeger, and cases for it"
    );
    Ok(finish(&all))
}

async fn run_differential(args: Differential) -> Result<bool> {
    let options = differential::Options {
        ours: args.ours,
        prometheus: args.prometheus,
        seed: args.seed,
        data: args.data,
        all_buckets: args.all_buckets,
        count: args.count,
        case: args.case,
        exact: args.exact,
    };
    let summary = differential::run(&options).await?;
    println!("seed {}: {summary}", options.seed);
    Ok(summary.differ.is_empty())
}

/// The signal that a kind of cases asks for, as the folders of the own data are called.
fn signal_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Metrics | Kind::Write | Kind::Live => "metrics",
        Kind::Logs | Kind::Promtail => "logs",
        Kind::Traces | Kind::Adjusted | Kind::Clients => "traces",
    }
}
