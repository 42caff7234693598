//! Logs by Loki's push, as JSON.

use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::Client;

const BATCH: usize = 1000;

/// A stream with entries in order of time; an entry is `[ns, line]` or `[ns, line, {metadata}]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stream {
    /// The labels.
    pub stream: Value,
    /// The entries.
    pub values: Vec<Value>,
}

/// Sends a dataset to `{base}/loki/api/v1/push` and returns the number of entries.
///
/// # Errors
/// On the first answer that is not 2xx, with the answer's text.
pub async fn feed(client: &Client, base: &str, path: &Path) -> Result<usize> {
    let (mut batch, mut size, mut sent) = (Vec::new(), 0, 0);
    for stream in crate::case::read_lines::<Stream>(path)? {
        for part in stream.values.chunks(BATCH) {
            if size > 0 && size + part.len() > BATCH {
                push(client, base, &batch).await?;
                sent += size;
                (batch, size) = (Vec::new(), 0);
            }
            batch.push(Stream {
                stream: stream.stream.clone(),
                values: part.to_vec(),
            });
            size += part.len();
        }
    }
    if size > 0 {
        push(client, base, &batch).await?;
    }
    Ok(sent + size)
}

async fn push(client: &Client, base: &str, streams: &[Stream]) -> Result<()> {
    let body = serde_json::to_vec(&json!({ "streams": streams }))?;
    let url = format!("{}/loki/api/v1/push", base.trim_end_matches('/'));
    let answer = client
        .post(&url, &[("content-type", "application/json")], body)
        .await?;
    if !(200..300).contains(&answer.status) {
        bail!(
            "HTTP {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body).trim()
        );
    }
    Ok(())
}
