//! The fixed scrape target of the live cases: the pages of a folder on 127.0.0.1:19501, the address
//! that the recorded configuration and answers name.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const ADDRESS: &str = "127.0.0.1:19501";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `folder/<path>.txt` at `/<path>` until the task is aborted.
///
/// # Errors
/// When the address is taken.
pub async fn serve(folder: &Path) -> Result<JoinHandle<()>> {
    let listener = TcpListener::bind(ADDRESS)
        .await
        .with_context(|| ADDRESS.to_owned())?;
    let folder = folder.to_path_buf();
    Ok(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, folder.clone()));
        }
    }))
}

async fn connection(mut stream: TcpStream, folder: PathBuf) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") else {
            match stream.read(&mut buffer).await {
                Ok(n) if n > 0 && seen.len() < 1 << 16 => seen.extend_from_slice(&buffer[..n]),
                _ => return,
            }
            continue;
        };
        let head = String::from_utf8_lossy(&seen[..end]).into_owned();
        seen.drain(..end + 4);
        let path = head.split(' ').nth(1).unwrap_or("/");
        let answer = page(&folder, path.split('?').next().unwrap_or("/"));
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn page(folder: &Path, path: &str) -> Vec<u8> {
    let name = path.trim_matches('/');
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let content = plain
        .then(|| std::fs::read(folder.join(format!("{name}.txt"))).ok())
        .flatten();
    let status = if content.is_some() {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let content_type = if path.contains("openmetrics") {
        OPEN_METRICS
    } else {
        TEXT
    };
    let body = content.unwrap_or_else(|| b"no such page\n".to_vec());
    let length = body.len();
    let mut out = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes();
    out.extend(body);
    out
}
