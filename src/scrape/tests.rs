use axum::Router;
use axum::routing::get;
use storage::model::{Labels, Matcher, MsRange, SampleBuf, Tenant, is_stale};
use storage::read::SeriesSelect;

use super::client::Client;
use super::scrape_loop::{ScrapeLoop, Settings, Source};
use super::target::discovered_labels;
use super::*;
use crate::discovery::Group;
use crate::ingest::remote_write::now_ms;

async fn app(folder: &std::path::Path) -> AppState {
    crate::app::testing::open(folder, &["--config.file=unused"]).await
}

/// All samples, a line a series: labels, then values by time; times are counted from a base.
async fn stored(app: &App, base_ms: i64) -> Vec<String> {
    let select = SeriesSelect {
        matchers: vec![Matcher::new(storage::model::MatchOp::NotEqual, "__name__", "").unwrap()],
        range: MsRange::new(base_ms, base_ms + 1_000_000),
    };
    let tenant = Tenant::anonymous();
    let mut set = app.storage.select_series(&tenant, &select).await.unwrap();
    let mut out = Vec::new();
    while let Some(batch) = set.next_batch().await.unwrap() {
        for series in batch {
            let mut buf = SampleBuf::default();
            series.samples(&mut buf).unwrap();
            let samples = buf.t_ms.iter().zip(&buf.values).map(|(t_ms, value)| {
                let value = match *value {
                    value if is_stale(value) => "stale".to_owned(),
                    value => value.to_string(),
                };
                format!("{value}@{}", t_ms - base_ms)
            });
            let samples: Vec<String> = samples.collect();
            out.push(format!("{} {}", series.labels(), samples.join(" ")));
        }
    }
    out.retain(|line| !line.contains("scrape_duration_seconds"));
    out.sort();
    out
}

/// A target whose page can be changed; its address.
async fn serve(page: Arc<Mutex<&'static str>>) -> String {
    let answer = move || {
        let page = Arc::clone(&page);
        async move { *page.lock() }
    };
    let router = Router::new().route("/metrics", get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

fn config(jobs: &str) -> PrometheusConfig {
    PrometheusConfig::parse(&format!("scrape_configs:\n{jobs}")).unwrap()
}

fn scrape_loop(app: &AppState, job: &str, address: &str) -> (ScrapeLoop, Arc<Target>) {
    let config = config(job);
    let job = Arc::clone(&config.scrape_configs[0]);
    let labels = discovered_labels(&job, &Group::default(), address);
    let target = Arc::new(Target::new(&job, labels).unwrap().unwrap());
    let client = Arc::new(Client::new(&job, 1 << 20).unwrap());
    let settings = Arc::new(Settings {
        config: job,
        source: Source::Http(client),
        forced_error: None,
    });
    (ScrapeLoop::new(app, Arc::clone(&target), settings), target)
}

const JOB_J: &str =
    "- {job_name: j, relabel_configs: [{target_label: instance, replacement: i}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_stored_with_its_report_and_a_failed_one_ends_the_series() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path()).await;
    let page = Arc::new(Mutex::new("# TYPE a gauge\na 1\nb 2\n"));
    let (mut own, target) = scrape_loop(&app, JOB_J, &serve(Arc::clone(&page)).await);
    let (_stop, mut stopped) = watch::channel(false);
    let base = now_ms();
    own.scrape(base, &mut stopped).await;
    assert_eq!(target.status().health(), "up");
    *page.lock() = "a 3\n";
    own.scrape(base + 1000, &mut stopped).await;
    *page.lock() = "a{ 3\n";
    own.scrape(base + 2000, &mut stopped).await;
    let status = target.status();
    assert_eq!((status.health(), status.at_ms), ("down", Some(base + 2000)));
    assert!(
        status
            .error
            .unwrap()
            .starts_with("expected label name, got")
    );
    assert_eq!(
        stored(&app, base).await,
        [
            r#"{__name__="a", instance="i", job="j"} 1@0 3@1000 stale@2000"#,
            r#"{__name__="b", instance="i", job="j"} 2@0 stale@1000"#,
            r#"{__name__="scrape_samples_post_metric_relabeling", instance="i", job="j"} 2@0 1@1000 0@2000"#,
            r#"{__name__="scrape_samples_scraped", instance="i", job="j"} 2@0 1@1000 0@2000"#,
            r#"{__name__="scrape_series_added", instance="i", job="j"} 2@0 0@1000 0@2000"#,
            r#"{__name__="up", instance="i", job="j"} 1@0 1@1000 0@2000"#,
        ]
    );
    let families = target.families.lock();
    assert_eq!(families.get("a").unwrap().metric_type.as_str(), "gauge");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_gone_ends_unless_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path()).await;
    let address = serve(Arc::new(Mutex::new("a 1\n"))).await;
    let (mut gone, _) = scrape_loop(&app, JOB_J, &address);
    let (mut back, _) = scrape_loop(&app, JOB_J, &address);
    let (_stop, mut stopped) = watch::channel(false);
    let base = now_ms();
    gone.scrape(base, &mut stopped).await;
    back.scrape(base + 3000, &mut stopped).await;
    gone.write_end(base + 1000).await;
    let up = |lines: Vec<String>| lines.into_iter().find(|l| l.contains("\"up\"")).unwrap();
    let expected = r#"{__name__="up", instance="i", job="j"} 1@0 1@3000"#;
    assert_eq!(up(stored(&app, base).await), expected);
    back.write_end(base + 4000).await;
    let lines = stored(&app, base).await;
    assert!(
        lines.iter().all(|line| line.ends_with(" stale@4000")),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_too_slow_or_stops_answering_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path()).await;
    // Bound and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let job = "- {job_name: j, scrape_interval: 1s, scrape_timeout: 20ms}\n";
    let (mut slow, target) = scrape_loop(&app, job, &address);
    let (_stop, mut stopped) = watch::channel(false);
    slow.scrape(now_ms(), &mut stopped).await;
    assert_eq!(
        target.status().error.unwrap(),
        format!("Get \"http://{address}/metrics\": context deadline exceeded")
    );
}

/// What runs by a configuration, without anybody who scrapes: intervals are long.
async fn scraping(app: &AppState) -> Scraping {
    let (_, stopped) = watch::channel(false);
    Scraping {
        app: Arc::clone(app),
        pools: BTreeMap::new(),
        loops: Loops {
            app: Arc::clone(app),
            tasks: JoinSet::new(),
            stopped,
            seed: 0,
        },
    }
}

fn urls(pool: &PoolView) -> Vec<&str> {
    pool.active.iter().map(|t| t.url.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_alone_what_it_does_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path()).await;
    let mut running = scraping(&app).await;
    let first = "- {job_name: a, static_configs: [{targets: ['a:1', 'a:2', 'a:2']}]}\n- {job_name: b, static_configs: [{targets: ['b:1']}]}\n";
    running.apply(&config(first)).await;
    let before = app.scrapes.all();
    assert_eq!(
        urls(&before["a"]),
        ["http://a:1/metrics", "http://a:2/metrics"]
    );
    let second = "- {job_name: a, sample_limit: 9, static_configs: [{targets: ['a:2', 'a:3']}]}\n- {job_name: c, static_configs: [{targets: ['c:1']}]}\n";
    running.apply(&config(second)).await;
    let after = app.scrapes.all();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(
        urls(&after["a"]),
        ["http://a:2/metrics", "http://a:3/metrics"]
    );
    assert!(Arc::ptr_eq(&before["a"].active[1], &after["a"].active[0]));
    assert_eq!(after["a"].config.limits.samples, 9);
    // Bad settings leave the old job as it is.
    let bad = "- {job_name: a, proxy_url: '::', static_configs: [{targets: ['a:2', 'a:3']}]}\n";
    running.apply(&config(bad)).await;
    assert_eq!(app.scrapes.get("a").unwrap().active.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_files_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(&folder.path().join("data")).await;
    let mut running = scraping(&app).await;
    let file = folder.path().join("t.json");
    std::fs::write(&file, r#"[{"targets": ["a:1", "drop:1"]}]"#).unwrap();
    let rules = "relabel_configs: [{source_labels: [__address__], regex: 'drop.*', action: drop}]";
    let job = format!(
        "- {{job_name: a, {rules}, file_sd_configs: [{{files: ['{}']}}]}}\n",
        file.display()
    );
    running.apply(&config(&job)).await;
    let pool = app.scrapes.get("a").unwrap();
    assert_eq!(urls(&pool), ["http://a:1/metrics"]);
    assert_eq!((pool.dropped.len(), pool.dropped_count), (1, 1));
    assert_eq!(pool.dropped[0].get("__address__"), Some("drop:1"));
    std::fs::write(&file, r#"[{"targets": ["a:1", "a:2", "drop:1"]}]"#).unwrap();
    running.look(false).await;
    assert_eq!(app.scrapes.get("a").unwrap().active.len(), 2);
    std::fs::remove_file(&file).unwrap();
    running.look(false).await;
    assert!(app.scrapes.get("a").unwrap().active.is_empty());
    let families = app.telemetry.families(&app.storage, app.started_at);
    let figure = |name: &str| {
        let family = families.iter().find(|f| f.name == name).unwrap();
        family.samples.clone()
    };
    let of_a = Labels::from_pairs([("scrape_job", "a")]);
    assert_eq!(
        figure("prometheus_target_scrape_pool_sync_total"),
        [(of_a, 3.0)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_too_many_targets_scrapes_none() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path()).await;
    let (mut limited, target) = scrape_loop(&app, JOB_J, "a:1");
    let (_stop, mut stopped) = watch::channel(false);
    let settings = Settings {
        config: Arc::clone(&config(JOB_J).scrape_configs[0]),
        source: Source::Own,
        forced_error: Some("target_limit exceeded (number of targets: 2, limit: 1)".to_owned()),
    };
    limited.follow(Arc::new(settings));
    let base = now_ms();
    limited.scrape(base, &mut stopped).await;
    assert_eq!(
        target.status().error.as_deref(),
        Some("target_limit exceeded (number of targets: 2, limit: 1)")
    );
    let lines = stored(&app, base).await;
    assert!(lines.contains(&r#"{__name__="up", instance="i", job="j"} 0@0"#.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_this_process_scrapes_itself() {
    let folder = tempfile::tempdir().unwrap();
    let own = crate::app::testing::open(folder.path(), &[]).await;
    scraping(&own).await.apply(&own.file()).await;
    let pool = own.scrapes.get(JOB).unwrap();
    let target = Arc::clone(&pool.active[0]);
    assert_eq!(
        target.public.to_string(),
        r#"{instance="localhost:9090", job="trilobite"}"#
    );
    assert_eq!(target.interval, INTERVAL);
    let settings = Settings {
        config: pool.config,
        source: Source::Own,
        forced_error: None,
    };
    let (_stop, mut stopped) = watch::channel(false);
    let base = now_ms();
    let mut own_loop = ScrapeLoop::new(&own, Arc::clone(&target), Arc::new(settings));
    own_loop.scrape(base, &mut stopped).await;
    assert_eq!(target.status().error, None);
    let lines = stored(&own, base).await;
    let up = r#"{__name__="up", instance="localhost:9090", job="trilobite"} 1@0"#.to_owned();
    assert!(lines.contains(&up), "{lines:?}");
    assert!(
        lines
            .iter()
            .any(|l| l.contains("process_start_time_seconds"))
    );
}
