//! What a request asks: tenant, and parameters of URL and form together.

use std::net::SocketAddr;
use std::num::IntErrorKind;

use axum::extract::{ConnectInfo, FromRequest, OriginalUri, Request};
use http::{HeaderMap, Method, header};
use storage::model::{Matcher, MsRange, Tenant};

use super::error::ApiError;
use crate::app::AppState;
use crate::query_log::Origin;
use crate::tenant;

pub(super) use crate::query::parse_options;

/// Times beyond this many milliseconds are cut to it: sums of a time, a range and an offset then stay within 64 bits.
const MAX_TIME_MS: i64 = 100_000_000_000_000_000;

/// The header that asks for answers as an older Prometheus gave them.
const COMPAT_HEADER: &str = "x-trilobite-compat-prometheus";

/// A request, read.
pub(super) struct Ask {
    pub(super) tenant: Tenant,
    pub(super) params: Params,
    /// Answers as Prometheus 2.45 gave them are wanted.
    pub(super) version_2: bool,
    /// Who asks, where that is logged.
    pub(super) origin: Option<Origin>,
}

impl FromRequest<AppState> for Ask {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let tenant = tenant::of(request.headers(), &app.config)?;
        let version_2 = match text_of(request.headers(), COMPAT_HEADER).trim() {
            "" => app.config.compat_prometheus == "2",
            version => version == "2",
        };
        let form = matches!(*request.method(), Method::POST | Method::PUT)
            && is_form(text_of(request.headers(), header::CONTENT_TYPE.as_str()));
        let origin = app.query_log.is_on().then(|| origin(&request));
        let url = request.uri().query().unwrap_or_default().to_owned();
        let mut params = Params::default();
        if form {
            let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
            params.read(&crate::body::read(request.into_body(), limit).await?);
        }
        params.read(url.as_bytes());
        Ok(Self {
            tenant,
            params,
            version_2,
            origin,
        })
    }
}

/// Whether a content type, whatever its parameters, is that of a form.
fn is_form(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn origin(request: &Request) -> Origin {
    let extensions = request.extensions();
    // Nested routes see the rest of their path.
    let path = extensions.get::<OriginalUri>().map(|uri| uri.0.path());
    Origin::Http {
        client_ip: extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|c| c.0.ip()),
        method: request.method().to_string(),
        path: path.unwrap_or_else(|| request.uri().path()).to_owned(),
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
}

/// Names and values. Those of the form come before those of the URL, and the first of a name counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    /// What is wrong with the first pair that was left out.
    fault: Option<String>,
}

impl Params {
    /// Adds pairs. Those that Go's parser does not take are left out, as upstream has it.
    fn read(&mut self, text: &[u8]) {
        for pair in text.split(|&b| b == b'&') {
            match fault_of(pair) {
                None => self.pairs.extend(form_urlencoded::parse(pair).into_owned()),
                fault => self.fault = self.fault.take().or(fault),
            }
        }
    }

    /// What is wrong with the first pair that was left out, where upstream insists on all.
    pub(super) fn fault(&self) -> Option<String> {
        let fault = self.fault.as_ref()?;
        Some(format!("error parsing form values: {fault}"))
    }

    /// That no pair was left out.
    pub(super) fn are_whole(&self) -> Result<(), ApiError> {
        self.fault().map_or(Ok(()), |f| Err(ApiError::BadData(f)))
    }

    /// The first value; empty where there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        let first = self.pairs.iter().find(|(n, _)| n == name);
        first.map_or("", |(_, value)| value.as_str())
    }

    /// All values.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// `limit`: 0 where absent, which means none.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(0);
        }
        let limit = text.parse::<i64>().map_err(|e| {
            let quoted = promql::lexer::quote(text);
            let fault = match e.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            ApiError::parameter("limit", format!("strconv.Atoi: parsing {quoted}: {fault}"))
        })?;
        usize::try_from(limit)
            .map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
    }

    /// A time in milliseconds, or a default.
    pub(super) fn time_or(&self, name: &str, default_ms: i64) -> Result<i64, ApiError> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(default_ms);
        }
        parse_time(text).map_err(|reason| {
            ApiError::parameter(name, format!("invalid time value for '{name}': {reason}"))
        })
    }

    /// A time in milliseconds that must be there.
    pub(super) fn time(&self, name: &str) -> Result<i64, ApiError> {
        parse_time(self.get(name)).map_err(|reason| ApiError::parameter(name, reason))
    }

    /// `start` and `end`, all of time where absent.
    pub(super) fn range(&self) -> Result<MsRange, ApiError> {
        Ok(MsRange::new(
            self.time_or("start", MsRange::ALL.min_ms)?,
            self.time_or("end", MsRange::ALL.max_ms)?,
        ))
    }

    /// The selectors of `match[]`, each of which must exclude something.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        self.all("match[]")
            .map(|text| {
                let matchers = promql::parse_selector(text).map_err(|e| e.to_string())?;
                if matchers.iter().all(Matcher::matches_empty) {
                    return Err("match[] must contain at least one non-empty matcher".to_owned());
                }
                Ok(matchers)
            })
            .collect()
    }
}

/// What Go's parser of forms has against a pair.
fn fault_of(pair: &[u8]) -> Option<String> {
    if pair.contains(&b';') {
        return Some("invalid semicolon separator in query".to_owned());
    }
    let mut escapes = (0..pair.len()).filter(|&at| pair[at] == b'%');
    let is_escape = |at: usize| {
        let digits = pair.get(at + 1..at + 3);
        digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
    };
    let at = escapes.find(|&at| !is_escape(at))?;
    let bad = String::from_utf8_lossy(&pair[at..pair.len().min(at + 3)]);
    Some(format!("invalid URL escape {}", promql::lexer::quote(&bad)))
}

/// Seconds since the epoch with a fraction, or RFC 3339; in milliseconds.
///
/// # Errors
/// In upstream's words.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && !seconds.is_nan()
    {
        return Ok(((seconds * 1000.0).round() as i64).clamp(-MAX_TIME_MS, MAX_TIME_MS));
    }
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    match text {
        // The earliest and latest time that upstream can write, which its clients send back.
        "-292273086-05-16T16:47:06Z" => Ok(-MAX_TIME_MS),
        "292277025-08-18T07:12:54.999999999Z" => Ok(MAX_TIME_MS),
        _ => Err(format!(
            "cannot parse {} to a valid timestamp",
            promql::lexer::quote(text)
        )),
    }
}

/// Seconds with a fraction, or a Prometheus duration; in nanoseconds.
///
/// # Errors
/// In upstream's words.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    let quoted = promql::lexer::quote(text);
    if let Ok(seconds) = text.parse::<f64>()
        && !seconds.is_nan()
    {
        let nanoseconds = seconds * 1e9;
        if nanoseconds.abs() >= i64::MAX as f64 {
            return Err(format!(
                "cannot parse {quoted} to a valid duration. It overflows int64"
            ));
        }
        return Ok(nanoseconds as i64);
    }
    crate::config::parse_duration(text)
        .ok()
        .and_then(|d| i64::try_from(d.as_nanos()).ok())
        .ok_or_else(|| format!("cannot parse {quoted} to a valid duration"))
}

/// Now, in milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, ms) in [
            ("1793491200", 1_793_491_200_000),
            ("1793491200.123", 1_793_491_200_123),
            ("-1", -1000),
            ("1e3", 1_000_000),
            ("2026-11-01T00:00:00Z", 1_793_491_200_000),
            ("2026-11-01T01:00:00.5+01:00", 1_793_491_200_500),
            ("1e300", MAX_TIME_MS),
        ] {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
        for text in ["", "x", "2026-13-01T00:00:00Z", "NaN"] {
            let expected = format!("cannot parse \"{text}\" to a valid timestamp");
            assert_eq!(parse_time(text), Err(expected));
        }
    }

    #[test]
    fn durations_are_seconds_or_units() {
        assert_eq!(parse_duration("0.5"), Ok(500_000_000));
        assert_eq!(parse_duration("1m30s"), Ok(90_000_000_000));
        assert_eq!(parse_duration("-1"), Ok(-1_000_000_000));
        assert_eq!(
            parse_duration("1e20"),
            Err("cannot parse \"1e20\" to a valid duration. It overflows int64".to_owned())
        );
        assert_eq!(
            parse_duration(""),
            Err("cannot parse \"\" to a valid duration".to_owned())
        );
    }

    #[test]
    fn the_form_comes_before_the_url() {
        let mut params = Params::default();
        params.read(b"query=up%2B1&match[]=a");
        params.read(b"query=down&match%5B%5D=b");
        assert_eq!(params.get("query"), "up+1");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_pair_that_go_does_not_take_is_left_out() {
        let mut params = Params::default();
        params.read(b"a=1&b=%zz&c=2;d=3&e=%4&%41=%25");
        assert_eq!(params.get("a"), "1");
        assert_eq!(params.get("A"), "%");
        for name in ["b", "c", "d", "e"] {
            assert_eq!(params.get(name), "");
        }
        for (text, fault) in [
            ("x=%zz1", "invalid URL escape \"%zz\""),
            ("x=%4", "invalid URL escape \"%4\""),
            ("%&a;b", "invalid URL escape \"%\""),
            ("a;b", "invalid semicolon separator in query"),
        ] {
            let mut params = Params::default();
            params.read(text.as_bytes());
            let error = params.are_whole().unwrap_err();
            let expected = format!("error parsing form values: {fault}");
            assert!(matches!(error, ApiError::BadData(text) if text == expected));
        }
    }
}
