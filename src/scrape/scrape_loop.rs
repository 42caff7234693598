//! The life of a target: when it is asked, and what becomes of its page.
//!
//! ```text
//! offset ─▶ tick ─▶ fetch ─▶ parse ─▶ one write: samples, ends of series, report ─▶ next tick
//!                     └ fails, or cannot be read: ends of all series, report (up = 0)
//! ```
//! Samples, staleness markers and report of a scrape are one write: a query sees all of them or none.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use promql::lexer::quote;
use storage::model::{METRIC_NAME, NO_START_MS, STALE_NAN, Tenant};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, timeout};

use super::client::{Client, FetchError, Page, timed_out};
use super::counters::add;
use super::exposition::{Exposition, TextOptions};
use super::protobuf::{HistogramForms, ProtobufParser};
use super::series::{Counts, PageError, Rules, SeriesCache};
use super::stop;
use super::target::{Status, Target};
use super::text::Parser;
use crate::app::AppState;
use crate::config::{ScrapeConfig, ScrapeProtocol, format_duration};
use crate::ingest::remote_write::{append_in_order, append_written, now_ms};
use crate::telemetry::exposition;
use crate::wire::remote_write::{Writer, encode_labels};

/// Samples further ahead of the clock are left out.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;
/// A scrape that begins so little late counts as begun in time: even distances take the least room in storage.
const LATE_MS: i64 = 2;
/// Pages beyond this are read where other tasks do not wait for it.
const LARGE_PAGE_BYTES: usize = 1 << 20;
/// What every scrape is reported as.
const REPORT: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];
/// What it is reported as besides, where the job wants it.
const EXTRA_REPORT: [&str; 3] = [
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

/// Where pages come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// From the target's URL.
    Http(Arc<Client>),
    /// From this process itself.
    Own,
}

/// What may change while a target is scraped.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: Arc<ScrapeConfig>,
    pub(super) source: Source,
    /// Why no target of the job is scraped at all.
    pub(super) forced_error: Option<String>,
}

/// What a loop is told.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Scrape by these settings.
    Run(Arc<Settings>),
    /// The target is gone: end its series.
    Retire,
}

/// A target and what is known of its series.
pub(super) struct ScrapeLoop {
    app: AppState,
    target: Arc<Target>,
    settings: Arc<Settings>,
    series: SeriesCache,
    /// Encoded labels of the report.
    report: Vec<Box<[u8]>>,
    last_begun: Option<Instant>,
}

impl ScrapeLoop {
    pub(super) fn new(app: &AppState, target: Arc<Target>, settings: Arc<Settings>) -> Self {
        let names = REPORT.iter().chain(&EXTRA_REPORT);
        let labels = names.map(|name| {
            let mut labels = target.public.to_builder();
            labels.set(METRIC_NAME, name);
            encode_labels(&labels.finish())
        });
        Self {
            app: Arc::clone(app),
            report: labels.collect(),
            target,
            settings,
            series: SeriesCache::default(),
            last_begun: None,
        }
    }

    /// Scrapes until the target is gone or the process stops.
    pub(super) async fn run(
        mut self,
        mut orders: watch::Receiver<Order>,
        mut stopped: watch::Receiver<bool>,
        seed: u64,
    ) {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let offset = self
            .target
            .offset(since_epoch.map_or(0, |d| d.as_nanos()), seed);
        let begin = tokio::time::Instant::now() + offset;
        let mut ticks = tokio::time::interval_at(begin, self.target.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut aligned_ms = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = orders.changed() => {
                    // Whoever gives orders goes away when the process stops.
                    if changed.is_err() {
                        return;
                    }
                    match orders.borrow_and_update().clone() {
                        Order::Run(settings) => self.follow(settings),
                        Order::Retire => break,
                    }
                    continue;
                }
                () = stop(&mut stopped) => return,
            }
            let at_ms = align(now_ms(), self.target.interval, &mut aligned_ms);
            self.scrape(at_ms, &mut stopped).await;
        }
        self.end(ticks, stopped).await;
    }

    /// Goes on by other settings.
    pub(super) fn follow(&mut self, settings: Arc<Settings>) {
        let old = std::mem::replace(&mut self.settings, settings);
        if !shows_the_same(&old.config, &self.settings.config) {
            self.series.start_over();
        }
    }

    /// One scrape. A stop of the process while the target is asked leaves no trace.
    pub(super) async fn scrape(&mut self, at_ms: i64, stopped: &mut watch::Receiver<bool>) {
        let app = Arc::clone(&self.app);
        let counters = &app.telemetry.scrape;
        let begun = Instant::now();
        if let Some(last) = self.last_begun.replace(begun) {
            counters.interval(&format_duration(self.target.interval), begun - last);
        }
        let page = tokio::select! {
            page = self.fetch() => page,
            () = stop(stopped) => return,
        };
        let mut writer = Writer::default();
        let mut counts = Counts::default();
        let mut body_bytes = 0.0;
        let outcome = match page {
            Ok(page) => {
                body_bytes = page.body.len() as f64;
                self.take_page(page, at_ms, &mut writer, &mut counts)
            }
            Err(e) => {
                if e == FetchError::BodySizeLimit {
                    body_bytes = -1.0;
                    add(&counters.exceeded_body_size_limit, 1);
                }
                Err(e.to_string())
            }
        };
        if let Err(fault) = &outcome {
            tracing::debug!("scrape of {} failed: {fault}", self.target.url);
            writer = Writer::default();
            if self.series.fail(at_ms, &mut writer) {
                add(&counters.cache_flushes, 1);
            }
        }
        add(&counters.duplicates, counts.duplicates);
        add(&counters.out_of_bounds, counts.out_of_bounds);
        let took = begun.elapsed();
        let up = f64::from(u8::from(outcome.is_ok()));
        self.target.report(Status {
            at_ms: Some(at_ms),
            took,
            error: outcome.err(),
        });
        let report = [
            up,
            took.as_secs_f64(),
            counts.scraped as f64,
            counts.kept as f64,
            counts.added as f64,
            self.target.timeout.as_secs_f64(),
            self.settings.config.limits.samples as f64,
            body_bytes,
        ];
        self.write_report(report, at_ms, &mut writer);
        self.store(writer, &counts).await;
    }

    async fn fetch(&self) -> Result<Page, FetchError> {
        if let Some(error) = &self.settings.forced_error {
            return Err(FetchError::Failed(error.clone()));
        }
        let (url, limit) = (&self.target.url, self.target.timeout);
        match &self.settings.source {
            Source::Own => {
                let app = &self.app;
                let families = app.families();
                Ok(Page {
                    content_type: "text/plain; version=0.0.4".to_owned(),
                    body: exposition(&families).into_bytes(),
                })
            }
            Source::Http(client) => match timeout(limit, client.fetch(url, limit)).await {
                Ok(page) => page,
                Err(_) => Err(timed_out(url)),
            },
        }
    }

    fn take_page(
        &mut self,
        mut page: Page,
        at_ms: i64,
        out: &mut Writer,
        counts: &mut Counts,
    ) -> Result<(), String> {
        if page.body.is_empty() {
            self.series.fail(at_ms, out);
            return Ok(());
        }
        let fallback = self.settings.config.fallback_protocol;
        let format = format_of(&page.content_type, fallback)?;
        // Targets that leave out the last line break are forgiven.
        if format == Format::Text && !page.body.ends_with(b"\n") {
            page.body.push(b'\n');
        }
        let options = &self.app.config;
        let options = TextOptions {
            created_timestamps: options.feature("created-timestamp-zero-ingestion")
                || options.feature("st-storage"),
            type_and_unit_labels: options.feature("type-and-unit-labels"),
        };
        let body = &page.body;
        let mut read = || match format {
            Format::Text => self.read(Parser::prometheus(body, options), at_ms, out, counts),
            Format::OpenMetrics => {
                self.read(Parser::open_metrics(body, options), at_ms, out, counts)
            }
            Format::Protobuf => {
                let forms = HistogramForms {
                    native: self.target.native_histograms,
                    classic_too: self.target.classic_histograms,
                };
                let parser = ProtobufParser::new(body, options, forms);
                self.read(parser, at_ms, out, counts)
            }
        };
        let outcome = if body.len() > LARGE_PAGE_BYTES {
            tokio::task::block_in_place(read)
        } else {
            read()
        };
        outcome.map_err(|e| e.to_string())
    }

    fn read<'a>(
        &mut self,
        parser: impl Exposition<'a>,
        at_ms: i64,
        out: &mut Writer,
        counts: &mut Counts,
    ) -> Result<(), PageError> {
        let features = &self.app.config;
        let rules = Rules {
            config: &self.settings.config,
            target: &self.target.public,
            at_ms,
            latest_ms: now_ms() + MAX_AHEAD_MS,
            zero_at_start: features.feature("created-timestamp-zero-ingestion"),
        };
        let mut families = self.target.families.lock();
        let counters = &self.app.telemetry.scrape;
        self.series
            .page(parser, &rules, &mut families, out, counts)
            .inspect_err(|e| match e {
                PageError::SampleLimit => add(&counters.exceeded_sample_limit, 1),
                PageError::LabelLimit(_) => add(&counters.exceeded_label_limits, 1),
                PageError::Parse(_) | PageError::BadSeries(_) => {}
            })?;
        self.series.succeed(at_ms, &mut families, out);
        Ok(())
    }

    fn write_report(&self, values: [f64; 8], at_ms: i64, out: &mut Writer) {
        let extra =
            self.settings.config.extra_metrics || self.app.config.feature("extra-scrape-metrics");
        let count = REPORT.len() + if extra { EXTRA_REPORT.len() } else { 0 };
        for (labels, value) in self.report.iter().zip(values).take(count) {
            out.series_encoded(labels);
            out.float(at_ms, value, NO_START_MS);
        }
    }

    async fn store(&self, writer: Writer, counts: &Counts) {
        let url = &self.target.url;
        let written = append_written(&self.app, &Tenant::anonymous(), &writer.finish()).await;
        let refused = match written {
            Ok(written) => {
                let counters = &self.app.telemetry.scrape;
                counters.refused(&written.report.refused);
                written.report.refused_count
            }
            Err(e) => {
                tracing::error!("scrape of {url} is not stored: {e}");
                return;
            }
        };
        let refused = refused + counts.duplicates + counts.out_of_bounds;
        if refused > 0 {
            tracing::warn!(
                "scrape of {url}: {refused} samples were not taken (duplicates, out of order, or out of bounds)"
            );
        }
    }

    /// Ends the series of a target that is gone, late enough that one which comes back at once has written on: then
    /// nothing ends.
    async fn end(mut self, mut ticks: Interval, mut stopped: watch::Receiver<bool>) {
        if self.last_begun.is_none() {
            return;
        }
        let wait = async {
            ticks.tick().await;
            let at_ms = now_ms();
            ticks.tick().await;
            tokio::time::sleep(self.target.interval / 10).await;
            at_ms
        };
        let at_ms = tokio::select! {
            at_ms = wait => at_ms,
            () = stop(&mut stopped) => return,
        };
        self.write_end(at_ms).await;
    }

    pub(super) async fn write_end(&mut self, at_ms: i64) {
        let mut writer = Writer::default();
        self.series.end_all(at_ms, &mut writer);
        self.write_report([STALE_NAN; 8], at_ms, &mut writer);
        let body = writer.finish();
        if let Err(e) = append_in_order(&self.app, &Tenant::anonymous(), &body).await {
            tracing::error!("end of {} is not stored: {e}", self.target.url);
        }
    }
}

/// Whether two versions of a job show the same series for the same page.
fn shows_the_same(a: &ScrapeConfig, b: &ScrapeConfig) -> bool {
    let plain = |config: &ScrapeConfig| {
        let mut plain = config.clone();
        plain.scrape_interval = Duration::ZERO;
        plain.scrape_timeout = Duration::ZERO;
        plain.limits.samples = 0;
        plain.http = crate::config::HttpClientConfig::default();
        plain.static_configs.clear();
        plain.file_sd_configs.clear();
        plain
    };
    plain(a) == plain(b)
}

/// The time of a scrape that begins now, given the times of those before it.
fn align(now_ms: i64, interval: Duration, aligned_ms: &mut Option<i64>) -> i64 {
    let interval_ms = i64::try_from(interval.as_millis())
        .unwrap_or(i64::MAX)
        .max(1);
    let tolerance_ms = LATE_MS.min(interval_ms / 100);
    let last_ms = aligned_ms.get_or_insert(now_ms);
    // A clock that was set back begins anew.
    if now_ms < *last_ms - tolerance_ms {
        *last_ms = now_ms;
    }
    *last_ms += (now_ms - *last_ms).max(0) / interval_ms * interval_ms;
    if now_ms - *last_ms <= tolerance_ms {
        *last_ms
    } else {
        now_ms
    }
}

/// A format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    OpenMetrics,
    Protobuf,
}

/// The format of a page by its content type, or by what the job says where that is of no use.
fn format_of(content_type: &str, fallback: Option<ScrapeProtocol>) -> Result<Format, String> {
    let fault = if content_type.trim().is_empty() {
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target".to_owned()
    } else {
        let media = content_type.split(';').next().unwrap_or("").trim();
        match media.to_ascii_lowercase().as_str() {
            "text/plain" => return Ok(Format::Text),
            "application/openmetrics-text" => return Ok(Format::OpenMetrics),
            "application/vnd.google.protobuf" => return Ok(Format::Protobuf),
            _ => format!(
                "received unsupported Content-Type {} and no fallback_scrape_protocol specified for target",
                quote(content_type)
            ),
        }
    };
    match fallback {
        Some(ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0) => {
            Ok(Format::Text)
        }
        Some(ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0) => {
            Ok(Format::OpenMetrics)
        }
        Some(ScrapeProtocol::PrometheusProto) => Ok(Format::Protobuf),
        None => Err(fault),
    }
}

#[cfg(test)]
mod tests;
