//! Which files share a server, how that server is started, and what it is fed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Report, Selection, Target, file, short_name};
use crate::case::Case;
use crate::feed::{self, Signal};
use crate::http::Client;
use crate::scrape_target;
use crate::server::{Options, Urls};

const FEATURES: &str = "promql-experimental-functions,exemplar-storage,native-histograms,\
promql-duration-expr,promql-extended-range-selectors,promql-binop-fill-modifiers";

/// What a group's server is started with and fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Metrics queries over a dataset.
    Metrics,
    /// Writes into an empty server that refuses what is out of order.
    Write,
    /// A server that scrapes a fixed target and evaluates rules.
    Live,
    /// Log queries over a dataset.
    Logs,
    /// Promtail's own pushes and what they left.
    Promtail,
    /// Trace queries over a dataset.
    Traces,
    /// Trace queries with clock-skew adjustment, cut traces and an archive.
    Adjusted,
    /// Requests of genuine tracing clients and what they left.
    Clients,
}

/// The files that one server is asked.
#[derive(Debug, Clone)]
pub struct Group {
    /// How the server is started.
    pub kind: Kind,
    /// The datasets it is fed with first.
    pub datasets: Vec<PathBuf>,
    /// The files, in the order in which they are asked.
    pub files: Vec<PathBuf>,
    /// Flags besides those of the kind.
    pub extra_args: Vec<String>,
}

/// The kind a file's name asks for, where the name is a special one.
fn special(path: &Path) -> Option<Kind> {
    Some(match path.file_name()?.to_str()? {
        "write.jsonl" => Kind::Write,
        "live.jsonl" => Kind::Live,
        "promtail_requests.jsonl" | "promtail_after.jsonl" => Kind::Promtail,
        "adjusted.jsonl" => Kind::Adjusted,
        "client_requests.jsonl" | "ingest.jsonl" => Kind::Clients,
        _ => return None,
    })
}

/// Rank of a file within its group: doors come last, pushes after the queries.
fn rank(path: &Path) -> u8 {
    match path.file_name().and_then(|n| n.to_str()).unwrap_or("") {
        "promtail_requests.jsonl" | "client_requests.jsonl" => 0,
        "push.jsonl" => 2,
        "push_after.jsonl" => 3,
        "otlp_http.jsonl" | "zipkin_http.jsonl" | "jaeger_http.jsonl" => 4,
        _ => 1,
    }
}

/// Sorts files into groups. A file without a special name goes to the group of the datasets' signal;
/// without a dataset its folder's name or its first case tells the signal.
///
/// # Errors
/// When a dataset cannot be read.
pub fn groups_of(datasets: &[PathBuf], files: &[PathBuf]) -> Result<Vec<Group>> {
    let mut fed = Vec::new();
    for path in datasets {
        fed.push((feed::signal_of(path)?, path.clone()));
    }
    let mut groups: Vec<Group> = Vec::new();
    for path in files {
        let kind = match special(path) {
            Some(kind) => kind,
            None => match fed.as_slice() {
                [] => kind_of_file(path)?,
                [(signal, _)] => kind_of(*signal),
                // One server holds several signals; any of the kinds will do.
                [..] => kind_of_file(path)?,
            },
        };
        let group = match groups.iter_mut().find(|g| g.kind == kind) {
            Some(group) => group,
            None => {
                let wanted = match kind {
                    Kind::Metrics => Some(Signal::Metrics),
                    Kind::Logs => Some(Signal::Logs),
                    Kind::Traces | Kind::Adjusted => Some(Signal::Traces),
                    Kind::Write | Kind::Live | Kind::Promtail | Kind::Clients => None,
                };
                let mine = fed.iter().filter(|(s, _)| Some(*s) == wanted);
                groups.push(Group {
                    kind,
                    datasets: mine.map(|(_, p)| p.clone()).collect(),
                    files: Vec::new(),
                    extra_args: Vec::new(),
                });
                let last = groups.len() - 1;
                &mut groups[last]
            }
        };
        group.files.push(path.clone());
    }
    for group in &mut groups {
        group.files.sort_by_key(|p| rank(p));
    }
    groups.sort_by_key(|g| g.kind);
    Ok(groups)
}

fn kind_of(signal: Signal) -> Kind {
    match signal {
        Signal::Metrics => Kind::Metrics,
        Signal::Logs => Kind::Logs,
        Signal::Traces => Kind::Traces,
    }
}

/// The kind of a file that has no dataset beside it, told by its first case.
///
/// # Errors
/// When the file cannot be read.
pub fn kind_of_file(path: &Path) -> Result<Kind> {
    if path.extension().is_some_and(|e| e == "json") {
        return Ok(Kind::Traces);
    }
    let first = crate::case::load(path)?.into_iter().next();
    let asked = first.map(|c| c.request.path).unwrap_or_default();
    Ok(match asked.as_str() {
        p if p.starts_with("/loki/") || p.starts_with("/api/prom/") => Kind::Logs,
        p if p.starts_with("/api/v3/")
            || (p.starts_with("/api/") && !p.starts_with("/api/v1/")) =>
        {
            Kind::Traces
        }
        p if p.starts_with("/v1/traces") || p.starts_with("/sampling") => Kind::Traces,
        _ => Kind::Metrics,
    })
}

/// The listener that a case goes to; empty where the server has none.
#[must_use]
pub fn base_of<'a>(path: &Path, kind: Kind, case: &Case, urls: &'a Urls) -> &'a str {
    match path.file_name().and_then(|n| n.to_str()).unwrap_or("") {
        "otlp_http.jsonl" => return &urls.otlp_http,
        "zipkin_http.jsonl" => return &urls.zipkin,
        "jaeger_http.jsonl" => return &urls.jaeger_http,
        "sampling.jsonl" => return &urls.sampling,
        "health.jsonl" => return &urls.web,
        _ => {}
    }
    match kind {
        Kind::Metrics | Kind::Write | Kind::Live => &urls.web,
        Kind::Logs | Kind::Promtail => &urls.loki,
        Kind::Traces | Kind::Adjusted | Kind::Clients => {
            if case.request.path.starts_with("/v1/") {
                &urls.otlp_http
            } else {
                &urls.jaeger
            }
        }
    }
}

impl Group {
    /// A file beside the group's first file or dataset, where there is one.
    fn beside(&self, name: &str) -> Option<PathBuf> {
        let near = self.files.iter().chain(&self.datasets);
        near.filter_map(|p| p.parent())
            .map(|folder| folder.join(name))
            .find(|p| p.is_file())
    }

    fn options(&self) -> Options {
        let mut options = Options::common();
        match self.kind {
            Kind::Metrics | Kind::Write | Kind::Live => {
                let name = if self.kind == Kind::Live {
                    "live/prometheus.yml"
                } else {
                    "prometheus.yml"
                };
                let config = self.beside(name).or_else(|| {
                    // The compliance cases ran on the server of the metrics cases.
                    self.beside("../metrics/prometheus.yml")
                });
                if let Some(config) = config {
                    options = options.with(format!("--config.file={}", config.display()));
                }
                options = options.with(format!("--enable-feature={FEATURES}"));
                if self.kind == Kind::Write {
                    options = options.with("--storage.out-of-order-window=0");
                }
            }
            Kind::Traces => {
                let strategies = self.beside("sampling_strategies.json");
                let known = crate::server::knows_flag("--jaeger.sampling-file");
                if let Some(path) = strategies.filter(|_| known) {
                    options = options.with(format!("--jaeger.sampling-file={}", path.display()));
                }
            }
            Kind::Adjusted => {
                options = options
                    .with("--jaeger.max-clock-skew-adjustment=10s")
                    .with("--jaeger.max-trace-size=100")
                    .with("--jaeger.archive");
            }
            Kind::Logs | Kind::Promtail | Kind::Clients => {}
        }
        options.args.extend(self.extra_args.iter().cloned());
        options
    }

    /// Runs the group on a fresh server, or on the running one that is given.
    ///
    /// # Errors
    /// When a file cannot be read. What goes wrong with the server is in the reports.
    pub async fn run(
        &self,
        client: &Client,
        running: Option<&Urls>,
        selection: &Selection,
    ) -> Result<Vec<Report>> {
        let mut notes = Vec::new();
        let mut fixed_target = None;
        if self.kind == Kind::Live && running.is_none() {
            match self.beside("live/metrics.txt") {
                Some(page) => match scrape_target::serve(page.parent().unwrap_or(&page)).await {
                    Ok(task) => fixed_target = Some(task),
                    Err(error) => notes.push(format!("no scrape target: {error:#}")),
                },
                None => bail!("{}: no live/ beside it", self.files[0].display()),
            }
        }
        let target = match running {
            Some(urls) => Ok(Target::running(urls.clone())),
            None => Target::start(&self.options()).await,
        };
        let mut target = match target {
            Ok(target) => target,
            Err(error) => return self.nothing(&format!("no server: {error:#}"), selection),
        };
        for path in &self.datasets {
            if let Err(error) = feed::dataset(client, &target.urls, path).await {
                notes.push(format!("feeding {}: {error:#}", short_name(path)));
                notes.extend(target.recover().await);
            }
        }
        if fixed_target.is_some() {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let mut reports = Vec::new();
        for path in &self.files {
            let mut report = self.one(client, &mut target, path, selection).await?;
            report.notes.splice(0..0, notes.drain(..));
            reports.push(report);
        }
        if let Some(task) = fixed_target {
            task.abort();
        }
        Ok(reports)
    }

    async fn one(
        &self,
        client: &Client,
        target: &mut Target,
        path: &Path,
        selection: &Selection,
    ) -> Result<Report> {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let outcomes = match name {
            "client_requests.jsonl" => {
                let outcomes = feed::clients::traces(client, &target.urls, path).await?;
                self.settle(client, target, path).await;
                outcomes
            }
            "promtail_requests.jsonl" => {
                feed::clients::promtail(client, &target.urls.loki, path).await?
            }
            _ if path.extension().is_some_and(|e| e == "json") => {
                crate::grpc::cases(&target.urls.jaeger_grpc, path, selection).await?
            }
            _ => {
                if matches!(name, "push_after.jsonl" | "promtail_after.jsonl") {
                    // Loki shows what is this old after a flush; a server that answers at once may
                    // not have the page.
                    let url = format!("{}/flush", target.urls.loki);
                    let _ = client.send("POST", &url, &[], Vec::new()).await;
                }
                return file(client, target, path, self.kind, selection).await;
            }
        };
        let mut report = Report::new(path);
        report.notes.extend(target.recover().await);
        for (id, problem) in outcomes {
            report.count(&id, problem);
        }
        Ok(report)
    }

    /// Datagrams have no answer: waits until their services are there, or a few seconds.
    async fn settle(&self, client: &Client, target: &Target, requests: &Path) {
        let Ok(text) = std::fs::read_to_string(requests.with_file_name("client_services.json"))
        else {
            return;
        };
        let wanted: Vec<String> = serde_json::from_str(&text).unwrap_or_default();
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if let Ok(answer) = client
                .get(&format!("{}/api/services", target.urls.jaeger))
                .await
            {
                let text = String::from_utf8_lossy(&answer.body);
                if wanted.iter().all(|s| text.contains(&format!("\"{s}\""))) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The reports of a group whose server did not start: every case counts, none is equal.
    fn nothing(&self, why: &str, selection: &Selection) -> Result<Vec<Report>> {
        let mut out = Vec::new();
        for path in &self.files {
            let mut report = Report::new(path);
            report.notes.push(why.to_owned());
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if path.extension().is_some_and(|e| e == "json") {
                report.total = crate::grpc::load(path)?.len();
            } else if matches!(name, "client_requests.jsonl" | "promtail_requests.jsonl") {
                report.total = crate::case::read_lines::<serde_json::Value>(path)?.len();
            } else {
                let cases = crate::case::load(path)?;
                report.total = cases.iter().filter(|c| selection.takes(&c.id)).count();
            }
            out.push(report);
        }
        Ok(out)
    }
}
