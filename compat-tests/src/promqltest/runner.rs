//! Runs scripts against a server: data by remote write, queries by the HTTP API.
//!
//! Each `clear` gets a store of its own: a fresh tenant where the server keeps tenants apart, else a
//! fresh process. Nothing is ever deleted.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

use super::at;
use super::histogram::{FloatHistogram, Hint};
use super::judge::{self, Outcome};
use super::nhcb;
use super::script::{Action, Eval, Labels, Load, LoadedSample, Value, When, parse};
use crate::case::Request;
use crate::feed::metrics::{self, Dataset, Histogram, Point, PointValue, Protocol, Series};
use crate::http::Client;
use crate::replay::{Report, Selection};
use crate::server::{Options, Server, knows_flag};

const FEATURES: &str = "promql-experimental-functions,promql-duration-expr,native-histograms,\
promql-extended-range-selectors,promql-binop-fill-modifiers,promql-delayed-name-removal,\
st-storage,use-start-timestamps";

/// Where the scripts run.
enum Store {
    /// A running server without tenants: only scripts without `clear` can run there.
    Fixed(String),
    /// One process; each store is a tenant.
    Tenants(Box<Server>),
    /// Each store is a process.
    Processes(Option<Box<Server>>),
}

/// Runs scripts, one after the other.
pub struct Runner {
    client: Client,
    store: Store,
    /// Which tenant is written and asked.
    tenant: usize,
    config: tempfile::NamedTempFile,
}

impl Runner {
    /// A runner with servers of its own, or for the server at `url`: there each store is a tenant
    /// named in `X-Scope-OrgID`, which a server without tenants ignores.
    ///
    /// # Errors
    /// When the server cannot be started.
    pub async fn new(client: Client, url: Option<&str>) -> Result<Self> {
        use std::io::Write as _;
        // The engine of these scripts takes one minute for the step of `[5m:]`.
        let mut config = tempfile::Builder::new().suffix(".yml").tempfile()?;
        config.write_all(b"global:\n  evaluation_interval: 1m\n")?;
        let mut runner = Self {
            client,
            store: Store::Processes(None),
            tenant: 0,
            config,
        };
        if let Some(url) = url {
            runner.store = Store::Fixed(url.trim_end_matches('/').to_owned());
        } else if knows_flag("--multitenancy") {
            let options = runner.options().with("--multitenancy");
            runner.store = Store::Tenants(Box::new(Server::start(&options).await?));
        }
        Ok(runner)
    }

    fn options(&self) -> Options {
        let mut options = Options::common()
            .with(format!("--enable-feature={FEATURES}"))
            .with(format!("--config.file={}", self.config.path().display()));
        if knows_flag("--query.max-samples") {
            options = options.with("--query.max-samples=10000");
        }
        options
    }

    /// Leaves all data behind.
    async fn fresh(&mut self) -> Result<()> {
        self.tenant += 1;
        if matches!(self.store, Store::Processes(_)) {
            let options = self.options();
            self.store = Store::Processes(Some(Box::new(Server::start(&options).await?)));
        }
        Ok(())
    }

    fn base(&self) -> Result<String> {
        Ok(match &self.store {
            Store::Fixed(url) => url.clone(),
            Store::Tenants(server) => server.urls.web.clone(),
            Store::Processes(Some(server)) => server.urls.web.clone(),
            Store::Processes(None) => bail!("no server"),
        })
    }

    /// Says so where our server has ended, and starts it again.
    async fn recover(&mut self) -> Option<String> {
        let (Store::Tenants(server) | Store::Processes(Some(server))) = &mut self.store else {
            return None;
        };
        let status = server.exited()?;
        let note = format!("the server ended with {status}: {}", server.last_words());
        match server.restart().await {
            Ok(()) => Some(note),
            Err(error) => Some(format!("{note}; and not again: {error:#}")),
        }
    }

    /// Runs one script; each `eval` is a case.
    ///
    /// # Errors
    /// When the script cannot be read.
    pub async fn script(&mut self, path: &Path, selection: &Selection) -> Result<Report> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let commands = parse(&text).with_context(|| path.display().to_string())?;
        let mut report = Report::new(path);
        if let Err(error) = self.fresh().await {
            report.notes.push(format!("no server: {error:#}"));
        }
        for command in &commands {
            let id = format!("line {}", command.line);
            match &command.action {
                Action::Clear => {
                    if let Err(error) = self.fresh().await {
                        report.notes.push(format!("{id}: no server: {error:#}"));
                    }
                }
                Action::Load(load) => {
                    if let Err(error) = self.load(load).await {
                        report.notes.push(format!("{id}: load: {error:#}"));
                    }
                    report.notes.extend(self.recover().await);
                }
                Action::Eval(eval) => {
                    if !selection.takes(&id) {
                        continue;
                    }
                    let mut problem = self.eval(eval).await.err();
                    if let Some(note) = self.recover().await {
                        report.notes.push(format!("{id}: {note}"));
                        problem = problem.or(Some(note));
                    }
                    let problem = problem.map(|p| format!("{}: {p}", eval.expr));
                    report.count(&id, problem);
                }
            }
        }
        Ok(report)
    }

    fn tenant_header(&self) -> String {
        format!("script-{}", self.tenant)
    }

    async fn load(&self, load: &Load) -> Result<()> {
        let mut all: Vec<(Labels, Vec<LoadedSample>)> = load
            .series
            .iter()
            .map(|s| (s.labels.clone(), s.samples(load.step_ms).collect()))
            .collect();
        if load.with_nhcb {
            all.extend(nhcb::converted(load));
        }
        let has_start = all
            .iter()
            .flat_map(|(_, s)| s)
            .any(|(_, start, _)| start.is_some());
        // 1.0 has no field for a start timestamp.
        let protocol = if has_start {
            Protocol::Write2
        } else {
            Protocol::Write1
        };
        let series = all.into_iter().map(|(labels, samples)| Series {
            labels,
            points: samples.into_iter().map(point).collect(),
            exemplars: Vec::new(),
        });
        let set = Dataset {
            series: series.collect(),
            metadata: Vec::new(),
        };
        let tenant = self.tenant_header();
        let headers = [("x-scope-orgid", tenant.as_str())];
        metrics::feed(&self.client, &self.base()?, &set, protocol, &headers).await?;
        Ok(())
    }

    async fn ask(&self, path: &str, params: Vec<(String, String)>) -> Result<Json, String> {
        let mut request = Request {
            method: "FORM".to_owned(),
            path: path.to_owned(),
            params,
            ..Request::default()
        };
        request
            .headers
            .insert("x-scope-orgid".to_owned(), self.tenant_header());
        let base = self.base().map_err(|e| e.to_string())?;
        let answer = self
            .client
            .call(&base, &request)
            .await
            .map_err(|e| format!("{e:#}"))?;
        serde_json::from_slice(&answer.body).map_err(|_| {
            let text = String::from_utf8_lossy(&answer.body);
            format!(
                "HTTP {}: {}",
                answer.status,
                text.chars().take(200).collect::<String>()
            )
        })
    }

    async fn eval(&self, eval: &Eval) -> Result<(), String> {
        let query = ("query".to_owned(), eval.expr.clone());
        let at_ms = match eval.when {
            When::Range {
                start_ms,
                end_ms,
                step_ms,
            } => {
                let answer = self.range(query, start_ms, end_ms, step_ms).await?;
                if judge::reception(eval, &answer)? {
                    judge::result(eval, &judge::outcome(&answer)?)?;
                }
                return Ok(());
            }
            When::Instant { at_ms } => at_ms,
        };
        let params = vec![query.clone(), ("time".to_owned(), seconds(at_ms))];
        let answer = self.ask("/api/v1/query", params).await?;
        if !judge::reception(eval, &answer)? {
            return Ok(());
        }
        let outcome = judge::outcome(&answer)?;
        judge::result(eval, &outcome)?;
        // These name the query's own times, which are others when it is asked in another way.
        let context = ["start()", "end()", "step()", "range()"];
        if context.iter().any(|c| eval.expr.contains(c)) {
            return Ok(());
        }
        self.elsewhere(eval, at_ms).await?;
        if matches!(outcome, Outcome::Matrix(_) | Outcome::String(_)) || eval.ordered {
            return Ok(());
        }
        // The same as a range query around that time: the middle step must say the same.
        let answer = self
            .range(query, at_ms - 60_000, at_ms + 60_000, 60_000)
            .await?;
        let again = |e: String| format!("as a range query: {e}");
        if answer.get("status").and_then(Json::as_str) != Some("success") {
            return Err(again(format!(
                "{}",
                answer.get("error").unwrap_or(&Json::Null)
            )));
        }
        let Outcome::Matrix(series) = judge::outcome(&answer).map_err(again)? else {
            return Err(again("not a matrix".to_owned()));
        };
        let middle = series.into_iter().filter_map(|(labels, mut samples)| {
            samples
                .remove(&at_ms)
                .map(|s| (labels, [(at_ms, s)].into_iter().collect()))
        });
        let middle: Vec<(Labels, BTreeMap<i64, judge::Sample>)> = middle.collect();
        let outcome = match (eval.scalar, middle.as_slice()) {
            (Some(_), [(_, samples)]) => match samples.first_key_value() {
                Some((_, judge::Sample::Float(x))) => Outcome::Scalar(*x),
                _ => return Err(again("no float".to_owned())),
            },
            _ => Outcome::Vector(middle),
        };
        judge::result(eval, &outcome).map_err(again)
    }

    /// With every selector fixed to the time by `@`, other times of evaluation say the same.
    async fn elsewhere(&self, eval: &Eval, at_ms: i64) -> Result<(), String> {
        let Some(expr) = at::fixed(&eval.expr, at_ms) else {
            return Ok(());
        };
        let times = match at_ms {
            0 => vec![-1000, 1000],
            t => vec![-10 * t, 0, t / 5, 10 * t],
        };
        for time_ms in times {
            let params = vec![
                ("query".to_owned(), expr.clone()),
                ("time".to_owned(), seconds(time_ms)),
            ];
            let answer = self.ask("/api/v1/query", params).await?;
            let again = |e: String| format!("as {expr} at {}: {e}", seconds(time_ms));
            if answer.get("status").and_then(Json::as_str) != Some("success") {
                return Err(again(format!(
                    "{}",
                    answer.get("error").unwrap_or(&Json::Null)
                )));
            }
            let outcome = judge::outcome(&answer).map_err(again)?;
            judge::result(eval, &outcome).map_err(again)?;
        }
        Ok(())
    }

    async fn range(
        &self,
        query: (String, String),
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Json, String> {
        let params = vec![
            query,
            ("start".to_owned(), seconds(start_ms)),
            ("end".to_owned(), seconds(end_ms)),
            ("step".to_owned(), seconds(step_ms)),
        ];
        self.ask("/api/v1/query_range", params).await
    }
}

fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", ms.abs() / 1000, ms.abs() % 1000)
}

fn point((t_ms, start_ms, value): LoadedSample) -> Point {
    let value = match value {
        Value::Float(x) if x.is_nan() => PointValue::Float(metrics::NAN),
        Value::Float(x) => PointValue::Float(x.to_bits()),
        Value::Histogram(h) => PointValue::Histogram(Box::new(wire(&h))),
        Value::Stale | Value::Omitted => PointValue::Float(metrics::STALE),
    };
    Point {
        t_ms,
        start_ms,
        value,
    }
}

fn wire(h: &FloatHistogram) -> Histogram {
    let spans = |b: &super::histogram::Buckets| match b.counts.len() {
        0 => Vec::new(),
        n => vec![(i64::from(b.offset), n as u64)],
    };
    Histogram {
        float: true,
        schema: h.schema,
        count: h.count,
        sum: if h.sum.is_nan() {
            metrics::NAN
        } else {
            h.sum.to_bits()
        },
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count,
        positive_spans: spans(&h.positive),
        positive: h.positive.counts.clone(),
        negative_spans: spans(&h.negative),
        negative: h.negative.counts.clone(),
        custom_values: h.custom_values.clone(),
        hint: match h.hint {
            None | Some(Hint::Unknown) => 0,
            Some(Hint::Reset) => 1,
            Some(Hint::NotReset) => 2,
            Some(Hint::Gauge) => 3,
        },
    }
}
