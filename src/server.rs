//! Opens storage, merges routers, binds every listener, and drains on a signal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::ListenerExt;
use storage::{ReplayProgress, Storage};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::{App, AppState};
use crate::config::{Config, KNOWN_FEATURES, PrometheusConfig};
use crate::ingest::jaeger_udp::{self, Protocol};
use crate::ingest::record::Decoder;
use crate::query_log::QueryLog;
use crate::starting::{Door, Opening};
use crate::{allocator, api, ingest, notify, rules, scrape, warm_up};

/// How long open requests may take once a stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A start-up failure, or a stop that could not make everything durable. One line names the flag
/// or file at fault.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let file = config.load_file().map_err(|e| anyhow!(e))?;
    let deltas = ["otlp-deltatocumulative", "otlp-native-delta-ingestion"];
    if deltas.iter().all(|name| config.feature(name)) {
        let [a, b] = deltas;
        return Err(anyhow!(
            "--enable-feature: cannot enable {a} and {b} features at the same time"
        ));
    }
    warn_about(&config, &file);
    let query_log = QueryLog::default();
    let log = file.global.query_log_file.as_deref();
    query_log.set_file(log).map_err(|e| anyhow!(e))?;
    let listeners = Listeners::bind(&config).await?;
    let web_address = listeners.web_address.clone();
    print_start(&config, &listeners);
    let options = config.storage_options(&file);
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let waiting = listeners.serve(&options.progress, &stopped, &mut tasks);
    let storage = Storage::open(options, Arc::new(Decoder))
        .await
        .with_context(|| format!("--storage.path={}", config.storage_path.display()))?;
    let app = Arc::new(App {
        web_address,
        file: watch::Sender::new(Arc::new(file)),
        storage: Arc::clone(&storage),
        queries: tokio::sync::Semaphore::new(config.query_max_concurrency.max(1)),
        query_log,
        otlp_totals: ingest::otlp_metrics::Totals::default(),
        telemetry: crate::telemetry::Telemetry::default(),
        scrapes: crate::scrape::Pools::default(),
        rules: crate::rules::Rules::default(),
        notifier: crate::notify::Notifier::default(),
        started_at: SystemTime::now(),
        started: Instant::now(),
        config,
    });
    app.telemetry.config_reloaded(true);
    waiting.open(&app, &stopped, &mut tasks);
    tracing::info!("ready");
    tasks.spawn({
        let (app, mut stopped) = (Arc::clone(&app), stopped.clone());
        async move {
            tokio::select! {
                () = warm_up::run(app) => {}
                _ = stopped.wait_for(|s| *s) => {}
            }
        }
    });
    tasks.spawn(allocator::run(Arc::clone(&app), stopped.clone()));
    tasks.spawn(scrape::run(Arc::clone(&app), stopped.clone()));
    let (no_more_alerts, notifier_stopped) = watch::channel(false);
    tasks.spawn({
        let (app, stopped) = (Arc::clone(&app), stopped.clone());
        async move {
            rules::run(app, stopped).await;
            no_more_alerts.send_replace(true);
        }
    });
    tasks.spawn(notify::run(Arc::clone(&app), notifier_stopped));
    wait_for_stop(&app).await?;
    tracing::info!(
        "stopping: no new requests, {} s for open ones",
        DRAIN.as_secs()
    );
    let _ = stop.send(true);
    let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!("some requests did not end in time and were cut off");
        tasks.shutdown().await;
    }
    storage.close().await.context("stopping")?;
    tracing::info!("stopped, everything is durable");
    Ok(())
}

/// Every route of the web port.
pub fn web_router(app: &AppState) -> Router {
    let prometheus = Router::new()
        .merge(api::prometheus::router(&app.config))
        .merge(ingest::remote_write::router())
        .merge(ingest::otlp_metrics::router());
    let prometheus = match app.config.route_prefix().as_str() {
        "/" => prometheus,
        prefix => Router::new().nest(prefix, prometheus),
    };
    let router = prometheus
        .merge(api::loki::router())
        .merge(api::jaeger::router())
        .merge(api::jaeger::health_router())
        .merge(ingest::loki_push::router())
        .merge(ingest::otlp_http::router())
        .merge(ingest::otlp_grpc::router())
        .merge(ingest::zipkin::router())
        .merge(ingest::jaeger_thrift::router())
        .fallback(api::not_found);
    finish(router, app)
}

fn finish(router: Router<AppState>, app: &AppState) -> Router {
    let router = router.layer(axum::extract::DefaultBodyLimit::disable());
    // A layer around routes is refused where there are none.
    let router = if router.has_routes() {
        let prefix: Arc<str> = app.config.route_prefix().trim_end_matches('/').into();
        let state = (Arc::clone(app), prefix);
        router.route_layer(axum::middleware::from_fn_with_state(state, count))
    } else {
        router
    };
    router.with_state(Arc::clone(app))
}

/// Counts a request by its route, without the prefix that all may have.
async fn count(
    State((app, prefix)): State<(AppState, Arc<str>)>,
    request: Request,
    next: Next,
) -> Response {
    let handler = request
        .extensions()
        .get::<MatchedPath>()
        .map(|p| p.as_str().to_owned());
    let response = next.run(request).await;
    let handler = handler.as_deref().unwrap_or("other");
    let handler = handler.strip_prefix(&*prefix).unwrap_or(handler);
    app.telemetry.request(handler, response.status().as_u16());
    response
}

/// Makes the routes of a listener.
type Routes = fn() -> Router<AppState>;

struct HttpListener {
    flag: &'static str,
    serves: &'static str,
    socket: TcpListener,
    routes: Routes,
}

struct Listeners {
    web_address: String,
    http: Vec<HttpListener>,
    udp: Vec<(&'static str, UdpSocket, Protocol)>,
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let l = &config.listen;
        let jaeger = || {
            let own = api::jaeger::router().merge(api::jaeger::own_port_router());
            own.method_not_allowed_fallback(api::not_found)
        };
        let loki = || {
            let own = api::loki::router().merge(api::loki::own_port_router());
            own.merge(ingest::loki_push::router())
                .fallback(api::not_found)
        };
        // The web router is built apart, because it needs every API at once.
        let web: Routes = Router::new;
        let otlp = || ingest::otlp_http::router().fallback(api::not_found);
        let collector = || ingest::jaeger_thrift::router().fallback(api::not_found);
        let wanted: [(&str, &String, &str, Routes); 10] = [
            (
                "web.listen-address",
                &l.web,
                "every HTTP API, health, /metrics",
                web,
            ),
            ("loki.listen-address", &l.loki, "Loki", loki),
            ("jaeger.listen-address", &l.jaeger, "Jaeger query", jaeger),
            (
                "jaeger.grpc-listen-address",
                &l.jaeger_grpc,
                "Jaeger query over gRPC",
                api::jaeger::grpc_router,
            ),
            (
                "otlp.grpc-listen-address",
                &l.otlp_grpc,
                "OTLP over gRPC",
                ingest::otlp_grpc::router,
            ),
            (
                "otlp.http-listen-address",
                &l.otlp_http,
                "OTLP over HTTP",
                otlp,
            ),
            (
                "jaeger.collector-listen-address",
                &l.jaeger_collector,
                "Jaeger Thrift over HTTP",
                collector,
            ),
            (
                "jaeger.collector-grpc-listen-address",
                &l.jaeger_collector_grpc,
                "Jaeger spans over gRPC",
                ingest::jaeger_grpc::router,
            ),
            (
                "jaeger.sampling-listen-address",
                &l.jaeger_sampling,
                "Jaeger remote sampling",
                api::jaeger::sampling_router,
            ),
            (
                "zipkin.listen-address",
                &l.zipkin,
                "Zipkin spans",
                ingest::zipkin::own_port_router,
            ),
        ];
        let mut http = Vec::new();
        for (flag, address, serves, routes) in wanted {
            if address.is_empty() {
                continue;
            }
            let socket = TcpListener::bind(full(address))
                .await
                .with_context(|| format!("--{flag}={address}"))?;
            http.push(HttpListener {
                flag,
                serves,
                socket,
                routes,
            });
        }
        let mut udp = Vec::new();
        for (flag, address, protocol) in [
            (
                "jaeger.agent-compact-listen-address",
                &l.jaeger_agent_compact,
                Protocol::Compact,
            ),
            (
                "jaeger.agent-binary-listen-address",
                &l.jaeger_agent_binary,
                Protocol::Binary,
            ),
        ] {
            if !address.is_empty() {
                let socket = UdpSocket::bind(full(address))
                    .await
                    .with_context(|| format!("--{flag}={address}"))?;
                udp.push((flag, socket, protocol));
            }
        }
        let web = http.iter().find(|h| h.flag == "web.listen-address");
        let web = web.and_then(|h| h.socket.local_addr().ok());
        Ok(Self {
            web_address: web.map_or_else(String::new, reachable),
            http,
            udp,
        })
    }

    /// Answers on every HTTP port that the start is not through yet.
    fn serve(
        self,
        progress: &Arc<ReplayProgress>,
        stopped: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Waiting {
        let opening = Opening::new(Arc::clone(progress));
        let mut doors = Vec::new();
        for listener in self.http {
            let door = opening.door();
            let router = door.clone().router();
            doors.push((listener.flag, listener.routes, door));
            let mut stopped = stopped.clone();
            tasks.spawn(async move {
                let socket = listener.socket.tap_io(|io| {
                    // Small answers should not wait for more to send.
                    let _ = io.set_nodelay(true);
                });
                let stop = async move {
                    let _ = stopped.wait_for(|s| *s).await;
                };
                if let Err(e) = axum::serve(
                    socket,
                    router.into_make_service_with_connect_info::<SocketAddr>(),
                )
                .with_graceful_shutdown(stop)
                .await
                {
                    tracing::error!("--{}: {e}", listener.flag);
                }
            });
        }
        Waiting {
            opening,
            doors,
            udp: self.udp,
        }
    }
}

/// Listeners that have no routes yet.
struct Waiting {
    opening: Opening,
    doors: Vec<(&'static str, Routes, Door)>,
    udp: Vec<(&'static str, UdpSocket, Protocol)>,
}

impl Waiting {
    /// Serves in earnest.
    fn open(self, app: &AppState, stopped: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        for (flag, routes, door) in self.doors {
            door.furnish(match flag {
                "web.listen-address" => web_router(app),
                _ => finish(routes(), app),
            });
        }
        self.opening.end();
        for (_, socket, protocol) in self.udp {
            let (app, mut stopped) = (Arc::clone(app), stopped.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = jaeger_udp::serve(socket, protocol, app) => {}
                    _ = stopped.wait_for(|s| *s) => {}
                }
            });
        }
    }
}

/// `:9090` means all addresses, as in the upstreams.
fn full(address: &str) -> String {
    if address.starts_with(':') {
        format!("0.0.0.0{address}")
    } else {
        address.to_owned()
    }
}

/// An address that a command on this machine can ask.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

fn warn_about(config: &Config, file: &PrometheusConfig) {
    for name in &config.features {
        if !KNOWN_FEATURES.contains(&name.as_str()) {
            tracing::warn!("--enable-feature={name}: unknown feature, ignored");
        }
    }
    for warning in file.warnings() {
        tracing::warn!("{warning}");
    }
}

fn print_start(config: &Config, listeners: &Listeners) {
    println!("Trilobite {}", env!("CARGO_PKG_VERSION"));
    for listener in &listeners.http {
        if let Ok(address) = listener.socket.local_addr() {
            println!(
                "  {address:<22} {:<34} --{}",
                listener.serves, listener.flag
            );
        }
    }
    for (flag, socket, protocol) in &listeners.udp {
        if let Ok(address) = socket.local_addr() {
            let serves = format!("Jaeger agent, {protocol:?} Thrift, UDP").to_lowercase();
            println!("  {address:<22} {serves:<34} --{flag}");
        }
    }
    let place = config.storage_path.display();
    match &config.storage_bucket {
        Some(bucket) => println!("  data in {place}, blocks in {bucket}"),
        None => println!("  data in {place}"),
    }
    let web = &listeners.web_address;
    println!("Try:");
    let prefix = config.route_prefix();
    let prefix = prefix.trim_end_matches('/');
    println!("  curl 'http://{web}{prefix}/api/v1/query?query=up'");
    println!(
        "  curl -H 'Content-Type: application/json' http://{web}/loki/api/v1/push -d '{{\"streams\":[{{\"stream\":{{\"job\":\"demo\"}},\"values\":[[\"'$(date +%s%N)'\",\"hello\"]]}}]}}'"
    );
    println!("  curl 'http://{web}/api/services'");
}

/// Ends at SIGTERM or SIGINT; SIGHUP reloads meanwhile.
async fn wait_for_stop(app: &AppState) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => match app.reload() {
                Ok(()) => tracing::info!("configuration reloaded"),
                Err(e) => tracing::error!("configuration not reloaded, the old one stays: {e}"),
            },
        }
    }
}
