//! Traces by OTLP over HTTP, as JSON: each line of a dataset is one request.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::http::Client;

/// Sends each line to `{base}/v1/traces` as it stands and returns the number of lines.
///
/// # Errors
/// On the first answer that is not 2xx, with the answer's text.
pub async fn feed(client: &Client, base: &str, path: &Path) -> Result<usize> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let url = format!("{}/v1/traces", base.trim_end_matches('/'));
    let mut sent = 0;
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let body = line.as_bytes().to_vec();
        let answer = client
            .post(&url, &[("content-type", "application/json")], body)
            .await?;
        if !(200..300).contains(&answer.status) {
            let text = String::from_utf8_lossy(&answer.body);
            bail!("line {}: HTTP {}: {}", sent + 1, answer.status, text.trim());
        }
        sent += 1;
    }
    Ok(sent)
}
