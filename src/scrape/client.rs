//! Asks a target for its page: one HTTP client a job, credentials, headers, redirects, and limits on what is read.

use std::io::Read as _;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use promql::lexer::quote;

use crate::config::{EscapingScheme, ScrapeConfig, ScrapeProtocol};
use crate::http_client::{HttpClient, USER_AGENT, describe};

/// A page as the target sent it, inflated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Its content type; empty where the target names none.
    pub(super) content_type: String,
    /// Its bytes.
    pub(super) body: Vec<u8>,
}

/// Why there is no page. The text is what operators see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    /// Larger than the job allows.
    #[error("body size limit exceeded")]
    BodySizeLimit,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

fn failed(text: impl ToString) -> FetchError {
    FetchError::Failed(text.to_string())
}

/// The client of a job.
#[derive(Debug)]
pub(super) struct Client {
    http: HttpClient,
    headers: HeaderMap,
    body_limit: u64,
    own_limit: u64,
}

impl Client {
    /// A client by a job's settings. `own_limit` is what this process takes at most, whatever the job says.
    ///
    /// # Errors
    /// Settings that no client can have, in one line.
    pub(super) fn new(config: &ScrapeConfig, own_limit: u64) -> Result<Self, String> {
        Ok(Self {
            http: HttpClient::new(&config.http)?,
            headers: headers(config)?,
            body_limit: config.limits.body_size_bytes,
            own_limit,
        })
    }

    /// The page at a URL. The caller bounds the time; `timeout` is told to the target.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub(super) async fn fetch(&self, url: &str, timeout: Duration) -> Result<Page, FetchError> {
        let seconds = timeout.as_secs_f64().to_string();
        let request = self.http.request(Method::GET, url).map_err(failed)?;
        let request = request
            .headers(self.headers.clone())
            .header("X-Prometheus-Scrape-Timeout-Seconds", seconds);
        let mut response = request
            .send()
            .await
            .map_err(|e| failed(describe("Get", url, &e)))?;
        let status = response.status();
        if status != http::StatusCode::OK {
            let reason = status.canonical_reason().unwrap_or("");
            let code = status.as_u16();
            return Err(failed(
                format!("server returned HTTP status {code} {reason}").trim_end(),
            ));
        }
        let text = |name| {
            let value: Option<&HeaderValue> = response.headers().get(name);
            let value = value.and_then(|v| v.to_str().ok());
            value.unwrap_or("").to_owned()
        };
        let content_type = text(header::CONTENT_TYPE);
        let gzip = text(header::CONTENT_ENCODING).eq_ignore_ascii_case("gzip");
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|e| failed(describe("Get", url, &e)))?
        {
            self.check(body.len() + chunk.len(), gzip)?;
            body.extend_from_slice(&chunk);
        }
        if gzip {
            body = self.inflate(&body)?;
        }
        Ok(Page { content_type, body })
    }

    /// Refuses what is too large. What is compressed is judged by the job's limit when it is inflated.
    fn check(&self, bytes: usize, compressed: bool) -> Result<(), FetchError> {
        let bytes = bytes as u64;
        if self.body_limit > 0 && bytes >= self.body_limit && !compressed {
            return Err(FetchError::BodySizeLimit);
        }
        if bytes > self.own_limit {
            let limit = self.own_limit;
            return Err(failed(format!(
                "body is larger than {limit} bytes (--limits.max-body-bytes)"
            )));
        }
        Ok(())
    }

    fn inflate(&self, compressed: &[u8]) -> Result<Vec<u8>, FetchError> {
        let mut limit = self.own_limit.saturating_add(1);
        if self.body_limit > 0 {
            limit = limit.min(self.body_limit);
        }
        let decoder = flate2::read::MultiGzDecoder::new(compressed);
        let mut body = Vec::with_capacity(compressed.len().saturating_mul(4).min(1 << 20));
        let read = decoder.take(limit).read_to_end(&mut body);
        read.map_err(|e| failed(format!("gzip: {e}")))?;
        self.check(body.len(), false)?;
        Ok(body)
    }
}

fn headers(config: &ScrapeConfig) -> Result<HeaderMap, String> {
    let mut out = HeaderMap::new();
    let accept = accept(&config.scrape_protocols, config.escaping);
    let accept = HeaderValue::from_str(&accept).map_err(|e| e.to_string())?;
    out.insert(header::ACCEPT, accept);
    let encoding = if config.enable_compression {
        "gzip"
    } else {
        "identity"
    };
    out.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    out.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    Ok(out)
}

/// What a target may answer, the most wanted first.
fn accept(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> String {
    let mut weight = ScrapeProtocol::COUNT + 1;
    let mut out = Vec::new();
    for protocol in protocols {
        let escaping = match protocol {
            ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0 => {
                format!(";escaping={}", escaping.as_str())
            }
            _ => String::new(),
        };
        out.push(format!("{}{escaping};q=0.{weight}", protocol.media_type()));
        weight -= 1;
    }
    out.push(format!("*/*;q=0.{weight}"));
    out.join(",")
}

/// What a scrape that took too long says.
pub(super) fn timed_out(url: &str) -> FetchError {
    failed(format!("Get {}: context deadline exceeded", quote(url)))
}

#[cfg(test)]
mod tests;
