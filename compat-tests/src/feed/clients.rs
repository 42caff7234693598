//! Recorded requests of genuine clients, sent byte for byte: tracing clients to the listener each
//! belongs to, and Promtail's pushes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::case::{Request, read_lines};
use crate::http::Client;
use crate::server::Urls;

/// A tracing client's request.
#[derive(Debug, Deserialize)]
struct TraceRequest {
    client: String,
    to: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: String,
    #[serde(default)]
    answer: Value,
}

/// One request's name and, where it did not go well, why.
pub type Outcome = (String, Option<String>);

/// Sends the requests of tracing clients. Datagrams have no answer and always go well.
///
/// # Errors
/// When the file cannot be read; a refused request is an [`Outcome`].
pub async fn traces(client: &Client, urls: &Urls, path: &Path) -> Result<Vec<Outcome>> {
    let mut out = Vec::new();
    for (i, request) in read_lines::<TraceRequest>(path)?.into_iter().enumerate() {
        let name = format!("{} {} to {}", i + 1, request.client, request.to);
        let problem = match send(client, urls, &request).await {
            Ok(problem) => problem,
            Err(error) => Some(format!("{error:#}")),
        };
        out.push((name, problem));
    }
    Ok(out)
}

async fn send(client: &Client, urls: &Urls, request: &TraceRequest) -> Result<Option<String>> {
    let base = match request.to.as_str() {
        "otlp" => &urls.otlp_http,
        "zipkin" => &urls.zipkin,
        "jaeger" => &urls.jaeger_http,
        to => {
            let address = if to == "compact" {
                &urls.agent_compact
            } else {
                &urls.agent_binary
            };
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
            socket
                .send_to(&STANDARD.decode(&request.body)?, address)
                .await
                .context("datagram")?;
            return Ok(None);
        }
    };
    let call = Request {
        method: "POST".into(),
        path: request.path.clone(),
        headers: request.headers.clone(),
        body_b64: Some(request.body.clone()),
        ..Request::default()
    };
    let answer = client.call(base, &call).await?;
    let wanted = request
        .answer
        .get("status")
        .and_then(Value::as_u64)
        .unwrap_or(200);
    if u64::from(answer.status) == wanted {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&answer.body);
    Ok(Some(format!(
        "HTTP {wanted} expected, got {}: {}",
        answer.status,
        text.trim()
    )))
}

/// Promtail's request.
#[derive(Debug, Deserialize)]
struct PushRequest {
    #[serde(flatten)]
    request: Request,
}

/// Sends Promtail's requests; each must be answered 204.
///
/// # Errors
/// When the file cannot be read; a refused request is an [`Outcome`].
pub async fn promtail(client: &Client, base: &str, path: &Path) -> Result<Vec<Outcome>> {
    let mut out = Vec::new();
    for (i, push) in read_lines::<PushRequest>(path)?.into_iter().enumerate() {
        let problem = match client.call(base, &push.request).await {
            Ok(answer) if answer.status == 204 => None,
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer.body);
                Some(format!(
                    "HTTP 204 expected, got {}: {}",
                    answer.status,
                    text.trim()
                ))
            }
            Err(error) => Some(format!("{error:#}")),
        };
        out.push((format!("promtail {}", i + 1), problem));
    }
    Ok(out)
}
