//! HTTP clients by the sections of `prometheus.yml` that name servers: credentials, headers, proxies, redirects, TLS.

mod tls;

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderName, HeaderValue, Method, header};
use promql::lexer::quote;
use reqwest::redirect::Policy;
use reqwest::{NoProxy, Proxy, RequestBuilder, Url};

use crate::config::HttpClientConfig;

/// How long a connection waits for the next request: longer than any sane interval.
const IDLE: Duration = Duration::from_secs(300);
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// How every client of ours presents itself.
pub(crate) const USER_AGENT: &str = concat!("Trilobite/", env!("CARGO_PKG_VERSION"));

/// The client of a section.
#[derive(Debug)]
pub(crate) struct HttpClient {
    http: reqwest::Client,
    config: HttpClientConfig,
    /// Why TLS cannot be spoken; it matters to servers that want it.
    tls_fault: Option<String>,
}

impl HttpClient {
    /// A client by a section's settings.
    ///
    /// # Errors
    /// Settings that no client can have, in one line.
    pub(crate) fn new(config: &HttpClientConfig) -> Result<Self, String> {
        let redirects = if config.follow_redirects {
            Policy::limited(MAX_REDIRECTS)
        } else {
            Policy::none()
        };
        let mut builder = reqwest::Client::builder()
            .redirect(redirects)
            .pool_idle_timeout(IDLE)
            // Whoever wants to try again does so himself.
            .retry(reqwest::retry::never());
        if !config.proxy_from_environment {
            builder = builder.no_proxy();
        }
        if let Some(url) = &config.proxy_url {
            let excepted = config.no_proxy.as_deref();
            let proxy = Proxy::all(url.as_str()).map_err(|e| format!("proxy_url: {e}"))?;
            builder = builder.proxy(proxy.no_proxy(excepted.and_then(NoProxy::from_string)));
        }
        let (settings, tls_fault) = match tls::settings(config) {
            Ok(settings) => (settings, None),
            Err(e) => (tls::refusing(), Some(e)),
        };
        let http = builder
            .tls_backend_preconfigured(settings)
            .build()
            .map_err(|e| format!("error creating HTTP client: {e}"))?;
        Ok(Self {
            http,
            config: config.clone(),
            tls_fault,
        })
    }

    /// A request with credentials and the section's headers.
    ///
    /// # Errors
    /// A URL that is none, a secret that cannot be read, TLS that cannot be spoken; in one line.
    pub(crate) fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, String> {
        let parsed = Url::parse(url).map_err(|e| format!("parse {}: {e}", quote(url)))?;
        if let (Some(fault), "https") = (&self.tls_fault, parsed.scheme()) {
            return Err(fault.clone());
        }
        let mut request = self.http.request(method, parsed);
        if let Some(authorization) = self.authorization()? {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in self.own_headers()? {
            request = request.header(name, value);
        }
        Ok(request)
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let text = if let Some(basic) = &self.config.basic_auth {
            let name = secret(basic.username.as_ref(), basic.username_file.as_deref())
                .map_err(|e| format!("unable to read basic auth username: {e}"))?;
            let password = secret(basic.password.as_ref(), basic.password_file.as_deref())
                .map_err(|e| format!("unable to read basic auth password: {e}"))?;
            let pair = format!("{name}:{password}");
            format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(pair)
            )
        } else if let Some(a) = &self.config.authorization {
            let credentials = secret(a.credentials.as_ref(), a.credentials_file.as_deref())
                .map_err(|e| format!("unable to read authorization credentials: {e}"))?;
            let kind = a.kind.as_deref().unwrap_or("Bearer");
            format!("{kind} {credentials}")
        } else {
            return Ok(None);
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "credentials have characters that no header can have".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn own_headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let mut out = Vec::new();
        for (name, header) in &self.config.http_headers {
            let bad = |_| format!("http_headers: {} is no header", quote(name));
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(bad)?;
            let mut values = header.values.clone();
            values.extend(header.secrets.iter().cloned());
            for file in &header.files {
                let value = read_secret(file)
                    .map_err(|e| format!("unable to read headers file {}: {e}", file.display()))?;
                values.push(value);
            }
            for value in values {
                let value = HeaderValue::from_str(&value)
                    .map_err(|_| format!("http_headers: bad value of {}", quote(name)))?;
                out.push((key.clone(), value));
            }
        }
        Ok(out)
    }
}

fn secret(text: Option<&String>, file: Option<&Path>) -> Result<String, String> {
    match (text, file) {
        (Some(text), _) => Ok(text.clone()),
        (None, Some(file)) => {
            read_secret(file).map_err(|e| format!("unable to read file {}: {e}", file.display()))
        }
        (None, None) => Ok(String::new()),
    }
}

/// Files of secrets are small and are read for every request, so that a new secret counts at once.
fn read_secret(file: &Path) -> std::io::Result<String> {
    Ok(std::fs::read_to_string(file)?.trim().to_owned())
}

/// An error of the client as Go's would read. `operation` is the method, `Get` or `Post`.
pub(crate) fn describe(operation: &str, url: &str, error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            let address = Url::parse(url).ok().and_then(|u| {
                let port = u.port_or_known_default()?;
                Some(format!("{}:{port}", u.host_str()?))
            });
            let address = address.unwrap_or_default();
            return format!(
                "{operation} {}: dial tcp {address}: connect: connection refused",
                quote(url)
            );
        }
        let text = cause.to_string();
        // Each cause repeats those below it, or does not.
        if !parts.last().is_some_and(|last| last.ends_with(&text)) {
            parts.push(text);
        }
        source = cause.source();
    }
    if parts.is_empty() {
        parts.push(error.to_string());
    }
    format!("{operation} {}: {}", quote(url), parts.join(": "))
}
