//! How a client of ours presents itself to the servers it asks: credentials, TLS, proxies, headers. The same keys
//! stand in every section of `prometheus.yml` that names servers.
//!
//! Source: prometheus.io/docs/prometheus/latest/configuration/configuration/#http_config.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use promql::lexer::quote;
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::yaml::{Yaml, YamlMap};

/// What is printed in place of a secret.
const HIDDEN: &str = "<secret>";

/// Headers that the client sets itself.
const RESERVED_HEADERS: [&str; 18] = [
    "Authorization",
    "Host",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "User-Agent",
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Www-Authenticate",
    "Accept-Encoding",
    "X-Prometheus-Remote-Write-Version",
    "X-Prometheus-Remote-Read-Version",
    "X-Prometheus-Scrape-Timeout-Seconds",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amz-Content-Sha256",
];

/// The keys as written; a section that has them lists them among its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpClientFields {
    /// `basic_auth`
    pub basic_auth: Option<BasicAuth>,
    /// `authorization`
    pub authorization: Option<Authorization>,
    /// `oauth2`
    pub oauth2: Option<Value>,
    /// `bearer_token`
    pub bearer_token: Option<String>,
    /// `bearer_token_file`
    pub bearer_token_file: Option<PathBuf>,
    /// `tls_config`
    pub tls_config: Option<TlsConfig>,
    /// `follow_redirects`
    pub follow_redirects: Option<bool>,
    /// `enable_http2`
    pub enable_http2: Option<bool>,
    /// `proxy_url`
    pub proxy_url: Option<String>,
    /// `no_proxy`
    pub no_proxy: Option<String>,
    /// `proxy_from_environment`
    pub proxy_from_environment: Option<bool>,
    /// `proxy_connect_header`
    pub proxy_connect_header: Option<BTreeMap<String, Vec<String>>>,
    /// `http_headers`
    pub http_headers: Option<BTreeMap<String, HeaderValues>>,
}

/// Settings of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpClientConfig {
    /// Name and password.
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header; `bearer_token` and its file are turned into it.
    pub authorization: Option<Authorization>,
    /// OAuth 2, as written.
    pub oauth2: Option<Value>,
    /// TLS.
    pub tls: TlsConfig,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 is offered.
    pub enable_http2: bool,
    /// Proxy for all requests.
    pub proxy_url: Option<String>,
    /// Hosts that are asked without the proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// Whether the usual environment variables name the proxy.
    pub proxy_from_environment: bool,
    /// Headers for the proxy.
    pub proxy_connect_header: BTreeMap<String, Vec<String>>,
    /// Headers of every request.
    pub http_headers: BTreeMap<String, HeaderValues>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            tls: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: true,
            proxy_url: None,
            no_proxy: None,
            proxy_from_environment: false,
            proxy_connect_header: BTreeMap::new(),
            http_headers: BTreeMap::new(),
        }
    }
}

/// Name and password, written down or in files that are read for every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the names are the configuration's")]
pub struct BasicAuth {
    pub username: Option<String>,
    pub username_file: Option<PathBuf>,
    pub username_ref: Option<String>,
    pub password: Option<String>,
    pub password_file: Option<PathBuf>,
    pub password_ref: Option<String>,
}

/// Type and credentials of the `Authorization` header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the names are the configuration's")]
pub struct Authorization {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub credentials: Option<String>,
    pub credentials_file: Option<PathBuf>,
    pub credentials_ref: Option<String>,
}

/// TLS towards servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the names are the configuration's")]
pub struct TlsConfig {
    pub ca: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub ca_ref: Option<String>,
    pub cert_ref: Option<String>,
    pub key_ref: Option<String>,
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum TlsVersion {
    #[serde(rename = "TLS10")]
    Tls10,
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

impl TlsVersion {
    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls10 => "TLS10",
            Self::Tls11 => "TLS11",
            Self::Tls12 => "TLS12",
            Self::Tls13 => "TLS13",
        }
    }
}

/// The values of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the names are the configuration's")]
pub struct HeaderValues {
    pub values: Vec<String>,
    pub secrets: Vec<String>,
    pub files: Vec<PathBuf>,
}

/// How many of these are given.
fn count(given: &[bool]) -> usize {
    given.iter().filter(|g| **g).count()
}

fn some(text: Option<&String>) -> bool {
    text.is_some_and(|t| !t.is_empty())
}

impl HttpClientFields {
    /// Checks the keys, in upstream's words, and resolves relative paths from a folder.
    ///
    /// # Errors
    /// What contradicts itself.
    pub fn resolve(self, base_dir: &Path) -> Result<HttpClientConfig, String> {
        let mut out = HttpClientConfig {
            authorization: self.authorization()?,
            basic_auth: self.basic_auth,
            oauth2: self.oauth2,
            tls: self.tls_config.unwrap_or_default(),
            follow_redirects: self.follow_redirects.unwrap_or(true),
            enable_http2: self.enable_http2.unwrap_or(true),
            proxy_url: self.proxy_url.filter(|u| !u.is_empty()),
            no_proxy: self.no_proxy.filter(|n| !n.is_empty()),
            proxy_from_environment: self.proxy_from_environment.unwrap_or(false),
            proxy_connect_header: self.proxy_connect_header.unwrap_or_default(),
            http_headers: self.http_headers.unwrap_or_default(),
        };
        out.tls.check()?;
        out.check_proxy()?;
        for name in out.http_headers.keys() {
            if let Some(reserved) = RESERVED_HEADERS
                .iter()
                .find(|r| r.eq_ignore_ascii_case(name))
            {
                return Err(format!("setting header {} is not allowed", quote(reserved)));
            }
        }
        out.join_paths(base_dir);
        Ok(out)
    }

    fn authorization(&self) -> Result<Option<Authorization>, String> {
        let bearer = some(self.bearer_token.as_ref());
        let bearer_file = self.bearer_token_file.is_some();
        let other = self.basic_auth.is_some() || self.oauth2.is_some();
        let fault = |text: &str| Err(text.to_owned());
        if bearer && bearer_file {
            return fault("at most one of bearer_token & bearer_token_file must be configured");
        }
        if other && (bearer || bearer_file) {
            return fault(
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
            );
        }
        if let Some(b) = &self.basic_auth {
            let names = [
                some(b.username.as_ref()),
                b.username_file.is_some(),
                b.username_ref.is_some(),
            ];
            let passwords = [
                some(b.password.as_ref()),
                b.password_file.is_some(),
                b.password_ref.is_some(),
            ];
            if count(&names) > 1 {
                return fault(
                    "at most one of basic_auth username, username_file & username_ref must be configured",
                );
            }
            if count(&passwords) > 1 {
                return fault(
                    "at most one of basic_auth password, password_file & password_ref must be configured",
                );
            }
            if b.username_ref.is_some() || b.password_ref.is_some() {
                return fault("cannot use secret ref without manager");
            }
        }
        if self.basic_auth.is_some() && self.oauth2.is_some() {
            return fault("at most one of basic_auth, oauth2 & authorization must be configured");
        }
        let Some(given) = &self.authorization else {
            return Ok((bearer || bearer_file).then(|| Authorization {
                kind: Some("Bearer".to_owned()),
                credentials: self.bearer_token.clone(),
                credentials_file: self.bearer_token_file.clone(),
                credentials_ref: None,
            }));
        };
        if bearer || bearer_file {
            return fault("authorization is not compatible with bearer_token & bearer_token_file");
        }
        let credentials = [
            some(given.credentials.as_ref()),
            given.credentials_file.is_some(),
            given.credentials_ref.is_some(),
        ];
        if count(&credentials) > 1 {
            return fault(
                "at most one of authorization credentials & credentials_file must be configured",
            );
        }
        if given.credentials_ref.is_some() {
            return fault("cannot use secret ref without manager");
        }
        let kind = given.kind.as_deref().unwrap_or("").trim();
        if kind.eq_ignore_ascii_case("basic") {
            return fault(
                "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
            );
        }
        if other {
            return fault("at most one of basic_auth, oauth2 & authorization must be configured");
        }
        Ok(Some(Authorization {
            kind: Some(if kind.is_empty() { "Bearer" } else { kind }.to_owned()),
            ..given.clone()
        }))
    }
}

impl TlsConfig {
    fn check(&self) -> Result<(), String> {
        let ca = [self.ca.is_some(), self.ca_file.is_some()];
        let cert = [self.cert.is_some(), self.cert_file.is_some()];
        let key = [self.key.is_some(), self.key_file.is_some()];
        let fault = |text: &str| Err(text.to_owned());
        if self.ca_ref.is_some() || self.cert_ref.is_some() || self.key_ref.is_some() {
            return fault("cannot use secret ref without manager");
        }
        match (count(&ca), count(&cert), count(&key)) {
            (2, ..) => fault("at most one of ca, ca_file & ca_ref must be configured"),
            (_, 2, _) => fault("at most one of cert, cert_file & cert_ref must be configured"),
            (.., 2) => fault("at most one of key and key_file must be configured"),
            (_, 1, 0) => fault(
                "exactly one of key or key_file must be configured when a client certificate is configured",
            ),
            (_, 0, 1) => fault(
                "exactly one of cert or cert_file must be configured when a client key is configured",
            ),
            _ => Ok(()),
        }
    }
}

impl HttpClientConfig {
    fn check_proxy(&self) -> Result<(), String> {
        let fault = |text: &str| Err(text.to_owned());
        let (url, environment) = (self.proxy_url.is_some(), self.proxy_from_environment);
        if !self.proxy_connect_header.is_empty() && !url && !environment {
            return fault(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
            );
        }
        if environment && url {
            return fault(
                "if proxy_from_environment is configured, proxy_url must not be configured",
            );
        }
        if environment && self.no_proxy.is_some() {
            return fault(
                "if proxy_from_environment is configured, no_proxy must not be configured",
            );
        }
        if !url && self.no_proxy.is_some() {
            return fault("if no_proxy is configured, proxy_url must also be configured");
        }
        Ok(())
    }

    fn join_paths(&mut self, base_dir: &Path) {
        let join = |file: &mut Option<PathBuf>| {
            if let Some(file) = file {
                *file = base_dir.join(&*file);
            }
        };
        let tls = &mut self.tls;
        [&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file]
            .into_iter()
            .for_each(join);
        if let Some(basic) = &mut self.basic_auth {
            join(&mut basic.username_file);
            join(&mut basic.password_file);
        }
        if let Some(authorization) = &mut self.authorization {
            join(&mut authorization.credentials_file);
        }
        for header in self.http_headers.values_mut() {
            for file in &mut header.files {
                *file = base_dir.join(&*file);
            }
        }
    }

    /// Adds the keys as upstream prints them, secrets hidden.
    pub fn add_to(&self, out: &mut YamlMap) {
        if let Some(b) = &self.basic_auth {
            let mut map = Yaml::map();
            add_text(&mut map, "username", b.username.as_deref());
            add_file(&mut map, "username_file", b.username_file.as_deref());
            add_text(&mut map, "password", b.password.as_ref().map(|_| HIDDEN));
            add_file(&mut map, "password_file", b.password_file.as_deref());
            out.add("basic_auth", map.finish());
        }
        if let Some(a) = &self.authorization {
            let mut map = Yaml::map();
            add_text(&mut map, "type", a.kind.as_deref());
            let credentials = a.credentials.as_ref().map(|_| HIDDEN);
            add_text(&mut map, "credentials", credentials);
            add_file(&mut map, "credentials_file", a.credentials_file.as_deref());
            out.add("authorization", map.finish());
        }
        if self.tls != TlsConfig::default() {
            out.add("tls_config", self.tls.to_yaml());
        }
        out.add("follow_redirects", self.follow_redirects);
        out.add("enable_http2", self.enable_http2);
        add_text(out, "proxy_url", self.proxy_url.as_deref());
        add_text(out, "no_proxy", self.no_proxy.as_deref());
        out.add_if(self.proxy_from_environment, "proxy_from_environment", true);
        let headers = self.proxy_connect_header.iter();
        let headers = headers.map(|(n, v)| (n.clone(), Yaml::texts(v.iter().map(|_| HIDDEN))));
        out.add_some("proxy_connect_header", Yaml::Map(headers.collect()));
        let headers = self.http_headers.iter();
        let headers = headers.map(|(name, h)| {
            let mut map = Yaml::map();
            map.add_some("values", Yaml::texts(&h.values));
            map.add_some("secrets", Yaml::texts(h.secrets.iter().map(|_| HIDDEN)));
            let files = h.files.iter().map(|f| f.display().to_string());
            map.add_some("files", Yaml::texts(files));
            (name.clone(), map.finish())
        });
        out.add_some("http_headers", Yaml::Map(headers.collect()));
    }
}

impl TlsConfig {
    fn to_yaml(&self) -> Yaml {
        let mut map = Yaml::map();
        add_text(&mut map, "ca", self.ca.as_deref());
        add_text(&mut map, "cert", self.cert.as_deref());
        add_text(&mut map, "key", self.key.as_ref().map(|_| HIDDEN));
        add_file(&mut map, "ca_file", self.ca_file.as_deref());
        add_file(&mut map, "cert_file", self.cert_file.as_deref());
        add_file(&mut map, "key_file", self.key_file.as_deref());
        add_text(&mut map, "server_name", self.server_name.as_deref());
        map.add("insecure_skip_verify", self.insecure_skip_verify);
        add_text(
            &mut map,
            "min_version",
            self.min_version.map(TlsVersion::as_str),
        );
        add_text(
            &mut map,
            "max_version",
            self.max_version.map(TlsVersion::as_str),
        );
        map.finish()
    }
}

fn add_text(map: &mut YamlMap, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        map.add(key, text);
    }
}

fn add_file(map: &mut YamlMap, key: &str, file: Option<&Path>) {
    if let Some(file) = file {
        map.add(key, file.display().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(fields: HttpClientFields) -> Result<HttpClientConfig, String> {
        fields.resolve(Path::new("/etc/trilobite"))
    }

    #[test]
    fn a_bearer_token_becomes_an_authorization() {
        let config = resolve(HttpClientFields {
            bearer_token_file: Some("token".into()),
            ..HttpClientFields::default()
        });
        let authorization = config.unwrap().authorization.unwrap();
        assert_eq!(authorization.kind.as_deref(), Some("Bearer"));
        assert_eq!(
            authorization.credentials_file,
            Some(PathBuf::from("/etc/trilobite/token"))
        );
    }

    #[test]
    fn contradictions_are_refused_in_upstreams_words() {
        let basic = || Some(BasicAuth::default());
        let cases = [
            (
                HttpClientFields {
                    basic_auth: basic(),
                    bearer_token: Some("x".to_owned()),
                    ..HttpClientFields::default()
                },
                "at most one of basic_auth, oauth2, bearer_token",
            ),
            (
                HttpClientFields {
                    basic_auth: basic(),
                    authorization: Some(Authorization::default()),
                    ..HttpClientFields::default()
                },
                "at most one of basic_auth, oauth2 & authorization",
            ),
            (
                HttpClientFields {
                    authorization: Some(Authorization {
                        kind: Some("Basic".to_owned()),
                        ..Authorization::default()
                    }),
                    ..HttpClientFields::default()
                },
                "use \"basic_auth\" instead",
            ),
            (
                HttpClientFields {
                    tls_config: Some(TlsConfig {
                        cert_file: Some("c".into()),
                        ..TlsConfig::default()
                    }),
                    ..HttpClientFields::default()
                },
                "exactly one of key or key_file",
            ),
            (
                HttpClientFields {
                    no_proxy: Some("a".to_owned()),
                    ..HttpClientFields::default()
                },
                "proxy_url must also be configured",
            ),
            (
                HttpClientFields {
                    http_headers: Some(BTreeMap::from([(
                        "user-agent".to_owned(),
                        HeaderValues::default(),
                    )])),
                    ..HttpClientFields::default()
                },
                "setting header \"User-Agent\" is not allowed",
            ),
        ];
        for (fields, fault) in cases {
            let error = resolve(fields).unwrap_err();
            assert!(error.contains(fault), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = resolve(HttpClientFields {
            basic_auth: Some(BasicAuth {
                username: Some("u".to_owned()),
                password: Some("hunter2".to_owned()),
                ..BasicAuth::default()
            }),
            http_headers: Some(BTreeMap::from([(
                "X-Key".to_owned(),
                HeaderValues {
                    secrets: vec!["hunter2".to_owned()],
                    ..HeaderValues::default()
                },
            )])),
            ..HttpClientFields::default()
        });
        let mut map = Yaml::map();
        config.unwrap().add_to(&mut map);
        let text = map.finish().to_string();
        assert!(
            !text.contains("hunter2") && text.contains("<secret>"),
            "{text}"
        );
    }
}
