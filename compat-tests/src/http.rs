//! One HTTP client for the whole suite: it sends a request as a case spells it and returns the
//! answer whole, unzipped, or says in words why there was none. No request outlives [`TIMEOUT`].

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::case::Request;

/// How long one request may take.
pub const TIMEOUT: Duration = Duration::from_secs(60);

tokio::task_local! {
    static TENANT: String;
}

/// Does something whose requests, of whichever client, name a tenant.
pub async fn as_tenant<T>(tenant: &str, work: impl Future<Output = T>) -> T {
    TENANT.scope(tenant.to_owned(), work).await
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers, names in lower case; of a repeated one the last.
    pub headers: BTreeMap<String, String>,
    /// The body, inflated where it was gzip.
    pub body: Vec<u8>,
}

/// A cheap handle: clones share one pool of connections.
#[derive(Clone)]
pub struct Client {
    inner: Hyper<HttpConnector, Full<Bytes>>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client with an empty pool.
    #[must_use]
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        // A pooled connection that the server has closed would fail a case for no fault of its own.
        let inner = Hyper::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Self { inner }
    }

    /// Sends one request to an absolute URL and follows redirects, as the recordings were made:
    /// GET and HEAD stay what they are, a POST becomes a GET after 301, 302 and 303.
    ///
    /// # Errors
    /// A malformed URL or header, a refused or broken connection, or [`TIMEOUT`].
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<Response> {
        let mut answer = self.exchange(method, url, headers, body).await?;
        let mut url = url.to_owned();
        for _ in 0..10 {
            let kept =
                matches!(method, "GET" | "HEAD") && matches!(answer.status, 301..=303 | 307 | 308);
            let turned = method == "POST" && matches!(answer.status, 301..=303);
            let (true, Some(location)) = (kept || turned, answer.headers.get("location")) else {
                break;
            };
            let origin: String = url.split('/').take(3).collect::<Vec<_>>().join("/");
            url = match location.as_str() {
                l if l.starts_with("http") => l.to_owned(),
                l if l.starts_with('/') => format!("{origin}{l}"),
                l => format!(
                    "{}/{l}",
                    url.rsplit_once('/').map_or("", |(folder, _)| folder)
                ),
            };
            let mut headers = headers.to_vec();
            headers.retain(|(k, _)| !k.to_lowercase().starts_with("content-"));
            let method = if method == "HEAD" { "HEAD" } else { "GET" };
            answer = self.exchange(method, &url, &headers, Vec::new()).await?;
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<Response> {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Ok(tenant) = TENANT.try_with(Clone::clone) {
            request = request.header("x-scope-orgid", tenant);
        }
        if body.is_empty() && matches!(method, "POST" | "PUT" | "PATCH") {
            request = request.header("content-length", "0");
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .with_context(|| format!("cannot send {method} {url}"))?;
        let exchange = async {
            let answer = self.inner.request(request).await.map_err(cause)?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(cause)?.to_bytes();
            anyhow::Ok((parts, body))
        };
        let (parts, body) = tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| anyhow::anyhow!("no answer within {} s", TIMEOUT.as_secs()))??;
        let headers: BTreeMap<String, String> = parts
            .headers
            .iter()
            .map(|(k, v)| {
                (
                    k.as_str().to_owned(),
                    String::from_utf8_lossy(v.as_bytes()).into_owned(),
                )
            })
            .collect();
        let mut body = body.to_vec();
        if headers.get("content-encoding").is_some_and(|e| e == "gzip") {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(&body[..])
                .read_to_end(&mut plain)
                .context("the answer's gzip is broken")?;
            body = plain;
        }
        Ok(Response {
            status: parts.status.as_u16(),
            headers,
            body,
        })
    }

    /// `POST` with a content type.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Response> {
        let headers: Vec<_> = headers
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        self.send("POST", url, &headers, body).await
    }

    /// `GET` without headers.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&self, url: &str) -> Result<Response> {
        self.send("GET", url, &[], Vec::new()).await
    }

    /// Sends a case's request below `base`, the way the recordings were made: method `FORM` is a
    /// POST of the parameters as a form, and a body without a content type gets the form's.
    ///
    /// # Errors
    /// As [`Self::send`], or a body that is not base64.
    pub async fn call(&self, base: &str, request: &Request) -> Result<Response> {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(request.params.iter().map(|(k, v)| (k, v)))
            .finish();
        let mut url = format!("{}{}", base.trim_end_matches('/'), request.path);
        let mut headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let has = |headers: &[(String, String)], name: &str| {
            headers.iter().any(|(k, _)| k.eq_ignore_ascii_case(name))
        };
        let mut method = request.method.as_str();
        let mut body: Option<Vec<u8>> = None;
        if method == "FORM" {
            method = "POST";
            body = Some(query.into_bytes());
        } else {
            if !query.is_empty() {
                url.push('?');
                url.push_str(&query);
            }
            if let Some(text) = &request.body {
                body = Some(text.clone().into_bytes());
            }
            if let Some(text) = &request.body_b64 {
                let raw = base64::engine::general_purpose::STANDARD.decode(text);
                body = Some(raw.context("body_b64 of the case")?);
            }
        }
        if body.is_some() && !has(&headers, "content-type") {
            headers.push((
                "content-type".into(),
                "application/x-www-form-urlencoded".into(),
            ));
        }
        if !has(&headers, "accept-encoding") {
            headers.push(("accept-encoding".into(), "identity".into()));
        }
        // The client computes these two; a recorded length of a genuine client is the body's own.
        headers.retain(|(k, _)| {
            !k.eq_ignore_ascii_case("content-length") && !k.eq_ignore_ascii_case("host")
        });
        self.send(method, &url, &headers, body.unwrap_or_default())
            .await
    }
}

/// The innermost reason of a client error: the outer ones only say "client error".
fn cause(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        text = format!("{text}: {inner}");
        next = inner.source();
    }
    anyhow::anyhow!(text)
}
