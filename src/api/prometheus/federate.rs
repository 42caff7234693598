//! `GET /federate`: the newest sample of each selected series, in the text format, for another server to scrape.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use storage::model::{Labels, METRIC_NAME, Matcher, MsRange, SampleBuf, is_stale};
use storage::read::SeriesSelect;

use super::error::ApiError;
use super::params::{Ask, now_ms};
use crate::app::{App, AppState};

/// The newest sample of a series.
struct Newest {
    labels: Labels,
    t_ms: i64,
    value: f64,
}

pub(super) async fn handle(
    State(app): State<AppState>,
    headers: HeaderMap,
    ask: Ask,
) -> Result<Response, ApiError> {
    if let Some(fault) = ask.params.fault() {
        return Ok((StatusCode::BAD_REQUEST, format!("{fault}\n")).into_response());
    }
    let mut selectors = Vec::new();
    for text in ask.params.all("match[]") {
        match promql::parse_selector(text) {
            Ok(matchers) => selectors.push(matchers),
            Err(error) => {
                return Ok((StatusCode::BAD_REQUEST, format!("{error}\n")).into_response());
            }
        }
    }
    let escaping = Escaping::wanted(&headers);
    let samples = select(&app, &ask, selectors).await?;
    let mut external = app.file().global.external_labels.clone();
    // A federated series always says which instance it is of, were it none.
    if external.iter().all(|(name, _)| name != "instance") {
        external.push(("instance".to_owned(), String::new()));
    }
    external.sort();
    let body = write(samples, &external, escaping);
    let content_type = format!(
        "text/plain; version=0.0.4; charset=utf-8; escaping={}",
        match escaping {
            Escaping::Underscores => "underscores",
            Escaping::AllowUtf8 => "allow-utf-8",
        }
    );
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// Series that any selector matches, each once, with their newest float within the lookback.
async fn select(
    app: &App,
    ask: &Ask,
    selectors: Vec<Vec<Matcher>>,
) -> Result<Vec<Newest>, ApiError> {
    let now = now_ms();
    let lookback = app.config.query_lookback_delta.0.as_millis();
    let range = MsRange::new(now - i64::try_from(lookback).unwrap_or(i64::MAX) + 1, now);
    let mut newest: Vec<Newest> = Vec::new();
    for matchers in selectors {
        let select = SeriesSelect { matchers, range };
        let mut set = app.storage.select_series(&ask.tenant, &select).await?;
        while let Some(batch) = set.next_batch().await? {
            tokio::task::block_in_place(|| -> Result<(), ApiError> {
                let mut buf = SampleBuf::default();
                for series in batch {
                    buf.clear();
                    series
                        .samples(&mut buf)
                        .map_err(|e| ApiError::Internal(e.to_string()))?;
                    let Some(last) = buf.len().checked_sub(1) else {
                        continue;
                    };
                    // The text format has no native histograms.
                    if buf.histogram(last).is_some() || is_stale(buf.values[last]) {
                        continue;
                    }
                    newest.push(Newest {
                        labels: series.labels().clone(),
                        t_ms: buf.t_ms[last],
                        value: buf.values[last],
                    });
                }
                Ok(())
            })?;
        }
    }
    newest.sort_by(|a, b| {
        let name = |n: &Newest| n.labels.metric_name().unwrap_or_default().to_owned();
        name(a).cmp(&name(b)).then_with(|| a.labels.cmp(&b.labels))
    });
    newest.dedup_by(|a, b| a.labels == b.labels);
    Ok(newest)
}

/// How names that the old text format cannot write are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escaping {
    /// Other characters become underscores.
    Underscores,
    /// Quoted, as they are.
    AllowUtf8,
}

impl Escaping {
    fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        if accept.contains("escaping=allow-utf-8") {
            Self::AllowUtf8
        } else {
            Self::Underscores
        }
    }

    /// A label name, or with `colon` a metric name.
    fn name(self, name: &str, colon: bool) -> String {
        if is_plain(name, colon) {
            return name.to_owned();
        }
        if self == Self::AllowUtf8 {
            return format!("\"{}\"", escaped(name));
        }
        let letter = |(i, c): (usize, char)| {
            let plain = c.is_ascii_alphabetic()
                || c == '_'
                || (colon && c == ':')
                || (i > 0 && c.is_ascii_digit());
            if plain { c } else { '_' }
        };
        name.chars().enumerate().map(letter).collect()
    }
}

fn is_plain(name: &str, colon: bool) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':'))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn write(samples: Vec<Newest>, external: &[(String, String)], escaping: Escaping) -> String {
    let mut out = String::new();
    let mut family: Option<String> = None;
    for sample in samples {
        let Some(metric) = sample.labels.metric_name() else {
            continue;
        };
        let name = escaping.name(metric, true);
        if family.as_deref() != Some(&name) {
            let _ = writeln!(out, "# TYPE {name} untyped");
        }
        let mut pairs: Vec<String> = Vec::new();
        let quoted = name.starts_with('"');
        if quoted {
            pairs.push(name.clone());
        } else {
            out.push_str(&name);
        }
        let own = sample.labels.iter().filter(|(n, _)| *n != METRIC_NAME);
        let mut pair = |name: &str, value: &str| {
            pairs.push(format!(
                "{}=\"{}\"",
                escaping.name(name, false),
                escaped(value)
            ));
        };
        own.for_each(|(name, value)| pair(name, value));
        for (name, value) in external {
            if sample.labels.get(name).is_none() {
                pair(name, value);
            }
        }
        let value = super::format::value_text(sample.value);
        let _ = writeln!(out, "{{{}}} {value} {}", pairs.join(","), sample.t_ms);
        family = Some(name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pairs: &[(&str, &str)], value: f64) -> Newest {
        Newest {
            labels: Labels::from_pairs(pairs.iter().copied()),
            t_ms: 5,
            value,
        }
    }

    #[test]
    fn a_family_has_one_type_line_and_external_labels_follow_its_own() {
        let samples = vec![
            sample(
                &[("__name__", "up"), ("instance", "a"), ("q", "x\"\\\n")],
                1.0,
            ),
            sample(&[("__name__", "up"), ("instance", "b")], f64::INFINITY),
        ];
        let external = [("cluster".to_owned(), "c".to_owned())];
        assert_eq!(
            write(samples, &external, Escaping::Underscores),
            "# TYPE up untyped\nup{instance=\"a\",q=\"x\\\"\\\\\\n\",cluster=\"c\"} 1 5\nup{instance=\"b\",cluster=\"c\"} +Inf 5\n"
        );
    }

    #[test]
    fn names_of_other_scripts_are_quoted_or_underscored() {
        let samples = || {
            vec![sample(
                &[("__name__", "a.b"), ("instance", "i"), ("c d", "x")],
                1.0,
            )]
        };
        assert_eq!(
            write(samples(), &[], Escaping::Underscores),
            "# TYPE a_b untyped\na_b{c_d=\"x\",instance=\"i\"} 1 5\n"
        );
        assert_eq!(
            write(samples(), &[], Escaping::AllowUtf8),
            "# TYPE \"a.b\" untyped\n{\"a.b\",\"c d\"=\"x\",instance=\"i\"} 1 5\n"
        );
    }
}
