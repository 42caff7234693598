//! The crash matrix: the server kills itself at each of its fail points, and all is there afterwards, once.
//!
//! ```text
//!  before ─▶ then, told where to die ─▶ dead, there ─▶ read whole ─▶ write, flush, compact, clean ─▶ read whole ─▶ kill ─▶ read whole
//! ```
//!
//! A row that does not get to its point fails, and so does a point without a row. Processes between the one that dies and the last one may
//! go without the bucket; several tenants have the same written and read back.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

#[path = "../bucket/data.rs"]
#[allow(dead_code, reason = "shared with the tests of the bucket")]
mod data;
mod rows;
#[path = "../bucket/s3.rs"]
#[allow(dead_code, reason = "shared with the tests of the bucket")]
mod s3;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use compat_tests::feed::metrics::{self, Dataset, Point, PointValue, Protocol, Series};
use compat_tests::http::{Client, as_tenant};
use compat_tests::sample::T0;
use compat_tests::server::{Options, Server, Urls};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};

use data::{Answers, NEXT_DAY, PADDING_BYTES, answers, expected, pad, write};
use rows::{Limit, Of, Phase, Row, Step, rows};
use s3::{BUCKET, S3};

/// Rows at work at once.
const AT_ONCE: usize = 4;

/// How long a process may live on after its work: some points are reached by background tasks.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

const SIGABRT: i32 = 6;

/// How many paddings make the head be written down.
const PADDINGS: usize = 17;

const NOISE_BYTES: usize = 4 << 20;

/// A batch that no row writes.
const AFTERWARDS: usize = 8;

/// Tenants of rows that have several.
const TENANTS: [&str; 3] = ["here", "there", "elsewhere"];

/// Bytes that are cut off a log: less than a record has.
const TORN_BYTES: u64 = 10;

/// What the server has to have.
#[derive(Clone, Debug, Default)]
struct Kept {
    batches: Vec<usize>,
    /// What is deleted of the batches, from one time to another, in seconds of the first batch, both included.
    deleted: Vec<(Of, i64, i64)>,
    remembered: usize,
    /// Acknowledged and sent.
    padding: (usize, usize),
    noise: bool,
    /// Of what there is, it drops some.
    limit: Option<Limit>,
}

impl Kept {
    /// What it answers, with or without what a limit of the age drops.
    fn answers(&self, with_old: bool) -> Answers {
        let stays = |batch: &usize| with_old || *batch >= NEXT_DAY;
        let mut all = expected(self.batches.iter().copied().filter(stays));
        for &(of, from_s, to_s) in &self.deleted {
            let stays = |t_s: i64| !(T0 + from_s..=T0 + to_s).contains(&t_s);
            match of {
                Of::Even => {
                    if let Some(samples) = all.samples.get_mut("s0") {
                        samples.retain(|(t_s, _)| stays(*t_s));
                    }
                }
                Of::Sizes => all.histograms.retain(|(t_s, _)| stays(*t_s)),
            }
        }
        all.samples.retain(|_, samples| !samples.is_empty());
        all
    }

    /// Takes account of a step that was done.
    fn note(&mut self, step: &Step) {
        match *step {
            Step::Write(batch) => self.batches.push(batch),
            Step::Remember => self.remembered += 1,
            Step::Noise => self.noise = true,
            Step::Delete(of, from_s, to_s) => {
                let deleted = of.iter().map(|&of| (of, from_s, to_s));
                self.deleted.extend(deleted);
            }
            Step::Torn(_)
            | Step::Pad
            | Step::HeadSnapshot
            | Step::Flush
            | Step::Compact
            | Step::Clean
            | Step::Snapshot
            | Step::Stop => {}
        }
    }

    /// Reads everything; `limited` tells whether what a limit drops is gone, `None` that some of it may be.
    async fn check(&self, urls: &Urls, limited: Option<bool>) -> Result<()> {
        let found = answers(urls).await;
        let old = match (self.limit, limited) {
            (Some(Limit::Age), Some(gone)) => vec![!gone],
            (Some(Limit::Age), None) => vec![true, false],
            _ => vec![true],
        };
        let wanted: Vec<Answers> = old.into_iter().map(|old| self.answers(old)).collect();
        // A limit drops the blocks of one signal after those of another.
        let samples = wanted
            .iter()
            .any(|w| (&w.samples, &w.histograms) == (&found.samples, &found.histograms));
        let lines = wanted
            .iter()
            .any(|w| (&w.texts, w.lines) == (&found.texts, found.lines));
        let spans = wanted
            .iter()
            .any(|w| (&w.spans, &w.services) == (&found.spans, &found.services));
        ensure!(
            samples && lines && spans,
            "found {found:?}\nwanted one of {wanted:?}"
        );

        let found = get(&format!("{}/api/v1/metadata?metric=remembered", urls.web)).await?;
        let help = found.pointer("/data/remembered").and_then(Value::as_array);
        let found = help.map_or(0, Vec::len);
        ensure!(found == self.remembered, "{found} texts of help");
        let (from, to) = (T0, T0 + 3600);
        let url = format!(
            "{}/api/v1/query_exemplars?query=remembered&start={from}&end={to}",
            urls.web
        );
        let found = get(&url).await?;
        let exemplars = found.pointer("/data/0/exemplars").and_then(Value::as_array);
        let found = exemplars.map_or(0, Vec::len);
        ensure!(found == self.remembered, "{found} exemplars");
        let found = count_samples(urls, "remembered").await?;
        ensure!(found == self.remembered, "{found} samples beside them");

        let found = count_samples(urls, "padding").await?;
        let (acknowledged, sent) = self.padding;
        ensure!(
            (acknowledged..=sent).contains(&found),
            "{found} paddings: {acknowledged} were acknowledged, {sent} sent"
        );

        let all = if self.noise { NOISE_BYTES >> 14 } else { 0 };
        let found = count_noise(urls).await?;
        let fine = match limited {
            Some(true) => found == 0,
            Some(false) => found == all,
            None => found == 0 || found == all,
        };
        ensure!(fine, "{found} of {all} lines of noise");

        let figures = Client::new().get(&format!("{}/metrics", urls.web)).await?;
        let figures = String::from_utf8(figures.body)?;
        let damaged = figures
            .lines()
            .find(|l| l.starts_with("trilobite_damaged_file{"));
        ensure!(damaged.is_none(), "{damaged:?}");
        Ok(())
    }
}

async fn get(url: &str) -> Result<Value> {
    let answer = Client::new().get(url).await?;
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.status == 200, "{url}: {}: {said}", answer.status);
    Ok(serde_json::from_str(&said)?)
}

async fn count_samples(urls: &Urls, name: &str) -> Result<usize> {
    let url = format!(
        "{}/api/v1/query?query={name}%5B2h%5D&time={}",
        urls.web,
        T0 + 3600
    );
    let found = get(&url).await?;
    let values = found.pointer("/data/result/0/values");
    Ok(values.and_then(Value::as_array).map_or(0, Vec::len))
}

async fn count_noise(urls: &Urls) -> Result<usize> {
    let url = format!(
        "{}/loki/api/v1/query_range?query=%7Bapp%3D%22noise%22%7D&start={T0}&end={}&limit=5000",
        urls.loki,
        T0 + 60
    );
    let found = get(&url).await?;
    let values = found.pointer("/data/result/0/values");
    Ok(values.and_then(Value::as_array).map_or(0, Vec::len))
}

async fn post(urls: &Urls, path: &str) -> Result<()> {
    let url = format!("{}{path}", urls.web);
    let answer = Client::new().post(&url, &[], Vec::new()).await?;
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    let fine = (200..300).contains(&answer.status);
    ensure!(fine, "{path}: {}: {said}", answer.status);
    Ok(())
}

/// Metadata, an exemplar and the sample it came with.
async fn remember(urls: &Urls, n: usize) -> Result<()> {
    let t_ms = (T0 + n as i64) * 1000;
    let value = (n as f64).to_bits();
    let labels = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let series = Series {
        labels: labels("__name__", "remembered"),
        points: vec![Point {
            t_ms,
            start_ms: None,
            value: PointValue::Float(value),
        }],
        exemplars: vec![(t_ms, value, labels("trace_id", "t"))],
    };
    let metadata = json!({"family": "remembered", "type": "counter", "help": n.to_string()});
    let set = Dataset {
        series: vec![series],
        metadata: vec![serde_json::from_value(metadata)?],
    };
    metrics::feed(&Client::new(), &urls.web, &set, Protocol::Write1, &[]).await?;
    Ok(())
}

/// Whether a log has a snapshot, and has lost what that covers.
fn is_head_written_down(log: &Path) -> Result<bool> {
    let (mut snapshots, mut log_bytes) = (0, 0);
    for entry in std::fs::read_dir(log)? {
        let path = entry?.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("snapshot") => snapshots += 1,
            // It may go at this very moment.
            Some("wal") => log_bytes += path.metadata().map_or(0, |m| m.len()),
            _ => {}
        }
    }
    Ok(snapshots > 0 && log_bytes < 8 * PADDING_BYTES as u64)
}

/// Cuts the end of the last record off each log, as if no more of it had got to the disk.
fn tear_logs(storage: &Path) -> Result<()> {
    for signal in ["metrics", "logs", "traces"] {
        let mut segments: Vec<_> = std::fs::read_dir(storage.join("wal").join(signal))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        segments.retain(|path| path.extension().is_some_and(|e| e == "wal"));
        let last = segments.iter().max().context("no segment")?;
        // Behind the last record are zeros.
        let bytes = std::fs::read(last)?;
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1) as u64;
        let file = std::fs::OpenOptions::new().write(true).open(last)?;
        file.set_len(end.saturating_sub(TORN_BYTES))?;
    }
    Ok(())
}

/// Does a step for each tenant, or once where it is not about one's data. What it was answered for is noted.
async fn run(
    server: &Server,
    storage: &Path,
    row: &Row,
    step: &Step,
    kept: &mut Kept,
) -> Result<()> {
    if row.has_tenants && matches!(step, Step::Write(_) | Step::Remember) {
        let before = kept.clone();
        for tenant in TENANTS {
            kept.clone_from(&before);
            as_tenant(tenant, run_once(server, storage, step, kept)).await?;
        }
        return Ok(());
    }
    run_once(server, storage, step, kept).await
}

async fn run_once(server: &Server, storage: &Path, step: &Step, kept: &mut Kept) -> Result<()> {
    let urls = &server.urls;
    match *step {
        Step::Write(batch) | Step::Torn(batch) => write(urls, batch).await?,
        Step::Remember => remember(urls, kept.remembered).await?,
        Step::Noise => data::write_noise(urls, NOISE_BYTES).await,
        Step::Pad => {
            for _ in 0..PADDINGS {
                let n = kept.padding.1;
                kept.padding.1 += 1;
                let answer = pad(urls, n).await?;
                ensure!(answer.status == 204, "padding: {}", answer.status);
                kept.padding.0 += 1;
            }
        }
        Step::HeadSnapshot => {
            let until = Instant::now() + DEATH_LIMIT;
            while !is_head_written_down(&storage.join("wal/metrics"))? {
                ensure!(Instant::now() < until, "the head was not written down");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Step::Flush => post(urls, "/-/flush").await?,
        Step::Compact => post(urls, "/-/compact").await?,
        Step::Clean => post(urls, "/api/v1/admin/tsdb/clean_tombstones").await?,
        Step::Snapshot => post(urls, "/api/v1/admin/tsdb/snapshot").await?,
        Step::Delete(of, from_s, to_s) => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            for of in of {
                query.append_pair("match[]", of.matcher());
            }
            query.append_pair("start", &(T0 + from_s).to_string());
            query.append_pair("end", &(T0 + to_s).to_string());
            let query = query.finish();
            post(urls, &format!("/api/v1/admin/tsdb/delete_series?{query}")).await?;
        }
        Step::Stop => {
            let kill = format!("kill -TERM {}", server.pid());
            let sent = Command::new("sh").args(["-c", &kill]).status()?;
            ensure!(sent.success(), "{kill}");
        }
    }
    kept.note(step);
    Ok(())
}

/// Lets a server work that has to die at a point; an error says how it did not.
async fn die(
    options: &Options,
    row: &Row,
    phase: &Phase,
    storage: &Path,
    kept: &mut Kept,
) -> Result<()> {
    let (point, time) = phase.dies_at.unwrap_or_default();
    let mut options = options.clone();
    let at = format!("{point}={time}");
    options.env.push(("TRILOBITE_FAIL_POINT".to_owned(), at));
    let reached = format!("fail point {point} reached");
    let mut server = match Server::start(&options).await {
        Ok(server) => server,
        Err(e) => {
            let said = format!("{e:#}");
            let there = said.contains(&format!("signal: {SIGABRT}")) && said.contains(&reached);
            ensure!(there && phase.steps.is_empty(), "at its start: {said}");
            return Ok(());
        }
    };
    ensure!(
        !phase.steps.is_empty(),
        "{point} was not reached by a start"
    );
    let mut failure = None;
    for step in &phase.steps {
        if let Err(e) = run(&server, storage, row, step, kept).await {
            if let Step::Delete(of, from_s, to_s) = *step {
                let holds = of.iter().take(phase.holds).map(|&of| (of, from_s, to_s));
                kept.deleted.extend(holds);
            }
            failure = Some(format!("{step:?}: {e:#}"));
            break;
        }
    }
    let until = Instant::now() + DEATH_LIMIT;
    let status = loop {
        match server.exited() {
            Some(status) => break status,
            None if Instant::now() < until => tokio::time::sleep(Duration::from_millis(5)).await,
            None => bail!("{point} was not reached ({})", failure.unwrap_or_default()),
        }
    };
    let said = std::fs::read_to_string(server.log())?;
    ensure!(
        status.signal() == Some(SIGABRT) && said.contains(&reached),
        "it ended with {status}, and not at {point}: {}",
        server.last_words()
    );
    Ok(())
}

fn options(storage: &Path, s3: Option<&S3>) -> Options {
    let mut options = Options::common()
        .with("--storage.min-free=0")
        .with("--web.enable-admin-api");
    options.storage = Some(storage.to_owned());
    if let Some(s3) = s3 {
        options = options.with(format!("--storage.bucket=s3://{BUCKET}/some/prefix"));
        options.env = s3.env();
    }
    options
}

/// How far a row got.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    died: bool,
    read_back: bool,
}

/// Reads what every tenant has.
async fn check(row: &Row, server: &Server, kept: &Kept, limited: Option<bool>) -> Result<()> {
    if !row.has_tenants {
        return kept.check(&server.urls, limited).await;
    }
    for tenant in TENANTS {
        let check = kept.check(&server.urls, limited);
        as_tenant(tenant, check).await.context(tenant)?;
    }
    Ok(())
}

async fn play(row: &Row, outcome: &mut Outcome) -> Result<()> {
    let mut s3 = match row.in_bucket {
        true => Some(S3::start().await),
        false => None,
    };
    let folder = tempfile::tempdir()?;
    let storage = folder.path().join("data");
    let mut kept = Kept::default();
    let mut plain = options(&storage, s3.as_ref());
    if row.has_tenants {
        plain = plain.with("--multitenancy");
    }
    let mut flagged = plain.clone();
    let flags = row.limit.iter().flat_map(|limit| limit.flags());
    flagged.args.extend(flags.map(|&flag| flag.to_owned()));
    for phase in &row.phases {
        if let Some(s3) = s3.as_mut().filter(|_| phase.without_bucket) {
            s3.stop().await;
        }
        if phase.dies_at.is_some() {
            die(&flagged, row, phase, &storage, &mut kept).await?;
        } else {
            let server = Server::start(&plain).await?;
            for step in &phase.steps {
                run(&server, &storage, row, step, &mut kept).await?;
            }
        }
        if let Some(s3) = s3.as_mut().filter(|_| phase.without_bucket) {
            s3.resume().await;
        }
        if phase.steps.iter().any(|s| matches!(s, Step::Torn(_))) {
            tear_logs(&storage)?;
        }
    }
    outcome.died = true;

    let mut server = Server::start(&flagged).await?;
    kept.limit = row.limit;
    let (limited, after) = match row.limit {
        Some(_) => (None, Some(true)),
        None => (Some(false), Some(false)),
    };
    check(row, &server, &kept, limited)
        .await
        .context("restarted")?;
    let rest = match row.limit {
        // What is older would be dropped, too.
        Some(Limit::Age) => vec![Step::Write(NEXT_DAY + AFTERWARDS)],
        _ => vec![Step::Write(AFTERWARDS), Step::Remember],
    };
    for step in rest
        .iter()
        .chain(&[Step::Flush, Step::Compact, Step::Clean])
    {
        run(&server, &storage, row, step, &mut kept).await?;
    }
    check(row, &server, &kept, after)
        .await
        .context("compacted")?;
    server.restart().await?;
    check(row, &server, &kept, after)
        .await
        .context("restarted once more")?;
    let tombstones = storage.join("tombstones/metrics/anonymous");
    let left = std::fs::read_dir(tombstones).map_or(0, Iterator::count);
    ensure!(left == 0, "{left} tombstones stay for ever");
    outcome.read_back = true;
    Ok(())
}

/// The names of all points, as a start with a wrong one gives them.
fn all_points() -> BTreeSet<String> {
    let refused = Command::new(compat_tests::paths::built_binary().unwrap())
        .env("TRILOBITE_FAIL_POINT", "nowhere")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    let (_, names) = said.split_once("there are ").unwrap();
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '.' || c == '-';
    let names = names.lines().next().unwrap().split(", ");
    names
        .map(|name| name.trim_end_matches(|c| !is_of_name(c)).to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_point_the_process_dies_at_all_is_read_back_whole() {
    let all = all_points();
    let rows = rows();
    let driven: BTreeSet<String> = rows.iter().map(|r| r.point().0.to_owned()).collect();
    let began = Instant::now();
    let only = std::env::var("FAIL_POINT_ROW").unwrap_or_default();
    let chosen = rows
        .into_iter()
        .filter(|row| row.to_string().contains(&only));
    let mut played: Vec<(usize, Row, Outcome, Option<String>)> =
        futures::stream::iter(chosen.enumerate())
            .map(async |(n, row)| {
                let mut outcome = Outcome::default();
                let played = AssertUnwindSafe(play(&row, &mut outcome)).catch_unwind();
                let failure = match played.await {
                    Ok(result) => result.err().map(|e| format!("{e:#}")),
                    Err(_) => Some("it panicked: see above".to_owned()),
                };
                (n, row, outcome, failure)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
    played.sort_by_key(|(n, ..)| *n);
    let word = |done: bool| if done { "yes" } else { "NO" };
    println!("{:<74} {:<5} read back", "point", "died");
    for (_, row, outcome, _) in &played {
        let (died, read_back) = (word(outcome.died), word(outcome.read_back));
        println!("{:<74} {died:<5} {read_back}", row.to_string());
    }
    println!("{} rows in {:?}", played.len(), began.elapsed());
    let failures: Vec<String> = played
        .iter()
        .filter_map(|(_, row, _, failure)| Some(format!("{row}: {}", failure.as_ref()?)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert_eq!(driven, all, "each point has a row, each row a point");
}
