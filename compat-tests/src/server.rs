//! The server under test: started with free loopback ports and a folder of its own, watched, and
//! ended with the value that holds it; or the addresses of one that runs already.

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::http::Client;

/// Where each listener is: base URLs, and `host:port` for datagrams.
#[derive(Debug, Clone, Default)]
pub struct Urls {
    /// Every HTTP API at once.
    pub web: String,
    /// Loki's port.
    pub loki: String,
    /// Jaeger query over HTTP.
    pub jaeger: String,
    /// Jaeger query over gRPC.
    pub jaeger_grpc: String,
    /// OTLP over HTTP.
    pub otlp_http: String,
    /// OTLP over gRPC.
    pub otlp_grpc: String,
    /// Jaeger Thrift over HTTP.
    pub jaeger_http: String,
    /// Jaeger's gRPC collector.
    pub jaeger_collector_grpc: String,
    /// Remote sampling.
    pub sampling: String,
    /// Zipkin.
    pub zipkin: String,
    /// Jaeger's agent, compact datagrams.
    pub agent_compact: String,
    /// Jaeger's agent, binary datagrams.
    pub agent_binary: String,
}

impl Urls {
    /// One base URL for everything over HTTP.
    #[must_use]
    pub fn single(base: &str) -> Self {
        let mut urls = Self::default();
        for (name, _) in LISTENERS {
            *urls.slot(name) = base.trim_end_matches('/').to_owned();
        }
        urls
    }

    /// Sets one listener's address by name, e.g. `loki`, `otlp_http`.
    ///
    /// # Errors
    /// When there is no such listener.
    pub fn set(&mut self, name: &str, url: &str) -> Result<()> {
        if !LISTENERS.iter().any(|(n, _)| *n == name) {
            let names: Vec<&str> = LISTENERS.iter().map(|(n, _)| *n).collect();
            bail!("no listener {name:?}; there are {}", names.join(", "));
        }
        *self.slot(name) = url.trim_end_matches('/').to_owned();
        Ok(())
    }

    fn slot(&mut self, name: &str) -> &mut String {
        match name {
            "loki" => &mut self.loki,
            "jaeger" => &mut self.jaeger,
            "jaeger_grpc" => &mut self.jaeger_grpc,
            "otlp_http" => &mut self.otlp_http,
            "otlp_grpc" => &mut self.otlp_grpc,
            "jaeger_http" => &mut self.jaeger_http,
            "jaeger_collector_grpc" => &mut self.jaeger_collector_grpc,
            "sampling" => &mut self.sampling,
            "zipkin" => &mut self.zipkin,
            "agent_compact" => &mut self.agent_compact,
            "agent_binary" => &mut self.agent_binary,
            _ => &mut self.web,
        }
    }
}

/// Listeners by name, with the flag that sets each.
const LISTENERS: [(&str, &str); 12] = [
    ("web", "--web.listen-address"),
    ("loki", "--loki.listen-address"),
    ("jaeger", "--jaeger.listen-address"),
    ("jaeger_grpc", "--jaeger.grpc-listen-address"),
    ("otlp_http", "--otlp.http-listen-address"),
    ("otlp_grpc", "--otlp.grpc-listen-address"),
    ("jaeger_http", "--jaeger.collector-listen-address"),
    (
        "jaeger_collector_grpc",
        "--jaeger.collector-grpc-listen-address",
    ),
    ("sampling", "--jaeger.sampling-listen-address"),
    ("zipkin", "--zipkin.listen-address"),
    ("agent_compact", "--jaeger.agent-compact-listen-address"),
    ("agent_binary", "--jaeger.agent-binary-listen-address"),
];

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Flags besides the listeners', the folder and `--upstream-ports`.
    pub args: Vec<String>,
    /// The storage folder; a temporary one when absent.
    pub storage: Option<PathBuf>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
}

impl Options {
    /// The flags every group has in common: nothing is too old, nothing is scraped.
    #[must_use]
    pub fn common() -> Self {
        let args = [
            "--retention.metrics=0",
            "--retention.logs=0",
            "--retention.traces=0",
            "--scrape.self=false",
        ];
        Self {
            args: args.map(str::to_owned).to_vec(),
            ..Self::default()
        }
    }

    /// One more flag.
    #[must_use]
    pub fn with(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }
}

/// A running server. Dropping it kills the process and removes its temporary folder.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub urls: Urls,
    options: Options,
    log: PathBuf,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts the binary and waits until it says that it is ready.
    ///
    /// # Errors
    /// When the binary is missing, ends at once (with the end of what it printed), or is not ready
    /// within half a minute.
    pub async fn start(options: &Options) -> Result<Self> {
        let mut last = None;
        // A port may be taken between asking for a free one and using it.
        for _ in 0..3 {
            let folder = tempfile::Builder::new()
                .prefix("trilobite-compat-")
                .tempdir()?;
            let (child, urls, log) = spawn(options, folder.path())?;
            let mut server = Self {
                child,
                urls,
                options: options.clone(),
                log,
                folder,
            };
            match server.ready().await {
                Ok(()) => return Ok(server),
                Err(error) if server.exited().is_some_and(|s| s.code() == Some(1)) => {
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("the server did not start")))
    }

    async fn ready(&mut self) -> Result<()> {
        let client = Client::new();
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.exited() {
                bail!("the server ended with {status}: {}", self.last_words());
            }
            let url = format!("{}/-/ready", self.urls.web);
            // 503 means not yet; any other answer comes from a server that serves.
            if client.get(&url).await.is_ok_and(|a| a.status != 503) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("not ready within 30 s: {}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The exit status, where the process is no more.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of what the process printed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        // The panic itself says more than what follows it.
        let panic = lines.iter().rposition(|l| l.contains("panicked at"));
        let from = panic.unwrap_or(lines.len().saturating_sub(3));
        lines
            .iter()
            .skip(from)
            .take(3)
            .copied()
            .collect::<Vec<_>>()
            .join(" | ")
    }

    /// Where the data lies.
    #[must_use]
    pub fn storage(&self) -> PathBuf {
        self.options
            .storage
            .clone()
            .unwrap_or_else(|| self.folder.path().join("data"))
    }

    /// Where the process prints.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process at once, as `kill -9` does, and waits for it.
    pub fn kill(&mut self) {
        // Both fail only where the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the process again on the same folder, on new ports.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn restart(&mut self) -> Result<()> {
        let mut tries = 0;
        loop {
            self.kill();
            let (child, urls, log) = spawn(&self.options, self.folder.path())?;
            (self.child, self.urls, self.log) = (child, urls, log);
            tries += 1;
            match self.ready().await {
                // As at a start; any other end is the server's own, and is not tried again.
                Err(_) if tries < 3 && self.last_words().contains("Address already in use") => {}
                result => return result,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(options: &Options, folder: &Path) -> Result<(Child, Urls, PathBuf)> {
    let binary = crate::paths::built_binary()?;
    let known = known_flags(&binary)?;
    let mut command = Command::new(&binary);
    command.arg("--upstream-ports=false");
    let mut urls = Urls::default();
    for (name, flag) in LISTENERS {
        if !known.contains(flag) {
            continue;
        }
        let datagram = name.starts_with("agent");
        let address = if datagram {
            free_datagram_address()?
        } else {
            free_address()?
        };
        command.arg(format!("{flag}={address}"));
        *urls.slot(name) = if datagram {
            address
        } else {
            format!("http://{address}")
        };
    }
    let storage = options
        .storage
        .clone()
        .unwrap_or_else(|| folder.join("data"));
    command.arg(format!("--storage.path={}", storage.display()));
    command.args(&options.args);
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    let log = folder.join("log");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .current_dir(folder);
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    Ok((child, urls, log))
}

/// A loopback address with a port that is free now.
///
/// # Errors
/// When no port can be bound.
pub fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The same for datagrams.
fn free_datagram_address() -> Result<String> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Whether the binary's help names a flag.
#[must_use]
pub fn knows_flag(flag: &str) -> bool {
    let binary = crate::paths::built_binary();
    binary
        .and_then(|b| known_flags(&b))
        .is_ok_and(|flags| flags.contains(flag))
}

/// The flags that the binary's help names: a listener that is not there yet is left out, and cases
/// for it fail, instead of the whole start.
fn known_flags(binary: &Path) -> Result<&'static BTreeSet<String>> {
    static FLAGS: OnceLock<BTreeSet<String>> = OnceLock::new();
    if let Some(flags) = FLAGS.get() {
        return Ok(flags);
    }
    let help = Command::new(binary)
        .arg("--help")
        .output()
        .with_context(|| format!("cannot run {}; build it first", binary.display()))?;
    let text = String::from_utf8_lossy(&help.stdout);
    let flags = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_'))
        .filter(|word| word.starts_with("--"))
        .map(|word| word.trim_end_matches('.').to_owned())
        .collect();
    Ok(FLAGS.get_or_init(|| flags))
}
