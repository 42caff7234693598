//! Sends datasets to a server over the wire, as genuine senders do.

pub mod clients;
pub mod logs;
pub mod metrics;
pub mod traces;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::http::Client;
use crate::server::Urls;

/// The three signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Series, as Prometheus knows them.
    Metrics,
    /// Streams, as Loki knows them.
    Logs,
    /// Spans, as OTLP spells them.
    Traces,
}

/// What a dataset file holds, told by its first line.
///
/// # Errors
/// When the file cannot be read or is no dataset.
pub fn signal_of(path: &Path) -> Result<Signal> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    let line: Value =
        serde_json::from_str(first).with_context(|| format!("{}:1", path.display()))?;
    let has = |k: &str| line.get(k).is_some();
    Ok(match () {
        () if has("labels") || has("metadata") => Signal::Metrics,
        () if has("stream") => Signal::Logs,
        () if has("resourceSpans") => Signal::Traces,
        () => bail!("{}: neither series, streams nor spans", path.display()),
    })
}

/// Sends a dataset to the listener it belongs to and says how much was sent.
///
/// # Errors
/// On the first answer that is not 2xx, with the answer's text.
pub async fn dataset(client: &Client, urls: &Urls, path: &Path) -> Result<String> {
    Ok(match signal_of(path)? {
        Signal::Metrics => {
            let set = metrics::load(path)?;
            let n = metrics::feed(client, &urls.web, &set, metrics::Protocol::Write1, &[]).await?;
            format!("{n} samples")
        }
        Signal::Logs => {
            let n = logs::feed(client, &urls.loki, path).await?;
            format!("{n} entries")
        }
        Signal::Traces => {
            let n = traces::feed(client, &urls.otlp_http, path).await?;
            format!("{n} requests with spans")
        }
    })
}
