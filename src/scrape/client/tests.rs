use std::io::Write as _;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::get;

use super::*;
use crate::config::PrometheusConfig;

fn config(job: &str) -> ScrapeConfig {
    let text = format!("scrape_configs: [{{job_name: j, {job}}}]");
    let config = PrometheusConfig::parse(&text).unwrap();
    ScrapeConfig::clone(&config.scrape_configs[0])
}

/// Serves what the tests ask for, on a port of its own.
async fn serve() -> String {
    let echo = |request: Request| async move {
        let headers = request.headers().iter();
        let lines = headers.map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap_or("")));
        lines.collect::<String>()
    };
    let zipped = || async {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&b"a 1\n".repeat(100)).unwrap();
        ([("content-encoding", "gzip")], encoder.finish().unwrap())
    };
    let router = Router::new()
        .route("/echo", get(echo))
        .route("/zipped", get(zipped))
        .route(
            "/moved",
            get(|| async { axum::response::Redirect::to("/echo") }),
        )
        .route(
            "/gone",
            get(|| async { http::StatusCode::SERVICE_UNAVAILABLE.into_response() }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn fetch(job: &str, url: &str) -> Result<Page, String> {
    let client = Client::new(&config(job), 10_000).unwrap();
    let page = client.fetch(url, Duration::from_millis(1500)).await;
    page.map_err(|e| e.to_string())
}

#[tokio::test]
async fn requests_say_what_is_wanted_and_by_whom() {
    let server = serve().await;
    let url = format!("{server}/echo");
    let text = |page: Page| String::from_utf8(page.body).unwrap();
    let page = fetch("scheme: http", &url).await.unwrap();
    assert_eq!(page.content_type, "text/plain; charset=utf-8");
    let plain = text(page);
    for line in [
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "accept-encoding: gzip",
        "x-prometheus-scrape-timeout-seconds: 1.5",
        "user-agent: Trilobite/",
    ] {
        assert!(plain.contains(line), "{line} in\n{plain}");
    }
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "t0ken\n").unwrap();
    for (job, line) in [
        (
            "basic_auth: {username: u, password: p}".to_owned(),
            "authorization: Basic dTpw",
        ),
        (
            format!("bearer_token_file: {}", token.display()),
            "authorization: Bearer t0ken",
        ),
        (
            "authorization: {type: Key, credentials: k}".to_owned(),
            "authorization: Key k",
        ),
        (
            "enable_compression: false".to_owned(),
            "accept-encoding: identity",
        ),
        (
            format!(
                "http_headers: {{X-A: {{values: [v], files: [{}]}}}}",
                token.display()
            ),
            "x-a: v\nx-a: t0ken",
        ),
        (
            "scrape_protocols: [PrometheusText0.0.4]".to_owned(),
            "accept: text/plain;version=0.0.4;q=0.6,*/*;q=0.5",
        ),
    ] {
        let got = text(fetch(&job, &url).await.unwrap());
        assert!(got.contains(line), "{job}: {got}");
    }
    let missing = fetch("bearer_token_file: /nope/token", &url)
        .await
        .unwrap_err();
    assert!(
        missing.starts_with(
            "unable to read authorization credentials: unable to read file /nope/token"
        )
    );
}

#[tokio::test]
async fn pages_are_inflated_and_bounded() {
    let server = serve().await;
    let url = format!("{server}/zipped");
    assert_eq!(fetch("scheme: http", &url).await.unwrap().body.len(), 400);
    assert_eq!(
        fetch("body_size_limit: 401B", &url)
            .await
            .unwrap()
            .body
            .len(),
        400
    );
    for limit in ["400B", "100B"] {
        let error = fetch(&format!("body_size_limit: {limit}"), &url).await;
        assert_eq!(error.unwrap_err(), "body size limit exceeded");
    }
    let plain = fetch("body_size_limit: 10B", &format!("{server}/echo")).await;
    assert_eq!(plain.unwrap_err(), "body size limit exceeded");
    let client = Client::new(&config("scheme: http"), 50).unwrap();
    let error = client
        .fetch(&url, Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("--limits.max-body-bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn failures_are_worded_as_upstream_words_them() {
    let server = serve().await;
    let error = |job: &'static str, url: String| async move { fetch(job, &url).await.unwrap_err() };
    assert_eq!(
        error("scheme: http", format!("{server}/gone")).await,
        "server returned HTTP status 503 Service Unavailable"
    );
    assert_eq!(
        error("scheme: http", format!("{server}/nope")).await,
        "server returned HTTP status 404 Not Found"
    );
    assert_eq!(
        error("follow_redirects: false", format!("{server}/moved")).await,
        "server returned HTTP status 303 See Other"
    );
    assert!(
        fetch("scheme: http", &format!("{server}/moved"))
            .await
            .is_ok()
    );
    // A port that nobody listens on: it was bound and let go.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(
        error("scheme: http", format!("http://{free}/m")).await,
        format!("Get \"http://{free}/m\": dial tcp {free}: connect: connection refused")
    );
    let tls = error(
        "tls_config: {ca_file: /nope/ca}",
        "https://127.0.0.1:1/".to_owned(),
    )
    .await;
    assert!(tls.starts_with("unable to read file /nope/ca"), "{tls}");
}
