//! Compares an answer with the recorded one, in the mode that the case names.
//!
//! [`difference`] returns nothing where the two are equal, else the first difference in words. The
//! invariant: an expectation compared with itself is equal in every mode.

mod jaeger;
mod loki;
mod number;
mod otlp;
mod promql;
mod value;
mod verbatim;

use serde_json::Value;

use crate::case::Case;
use crate::http::Response;
pub use number::same_number;
pub use value::{bag, canonical, close, drop_path, strict};
pub use verbatim::{Part, verbatim};

/// What one side of a comparison holds.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Body,
    /// Response headers, names in lower case.
    pub headers: std::collections::BTreeMap<String, String>,
}

/// A body, read as JSON where it is JSON.
#[derive(Debug, Clone)]
pub enum Body {
    /// The whole body is one JSON value.
    Json(Value),
    /// Anything else, bad UTF-8 replaced.
    Text(String),
}

impl Body {
    fn as_text(&self) -> String {
        match self {
            Self::Json(v) => canonical(v),
            Self::Text(t) => t.clone(),
        }
    }
}

impl From<&Response> for Answer {
    fn from(response: &Response) -> Self {
        let body = match serde_json::from_slice(&response.body) {
            Ok(json) => Body::Json(json),
            Err(_) => Body::Text(String::from_utf8_lossy(&response.body).into_owned()),
        };
        Self {
            status: response.status,
            body,
            headers: response.headers.clone(),
        }
    }
}

/// The recorded answer of a case.
#[must_use]
pub fn expected(case: &Case) -> Answer {
    let body = match (&case.expect.json, &case.expect.text) {
        (Some(json), _) => Body::Json(json.clone()),
        (None, text) => Body::Text(text.clone().unwrap_or_default()),
    };
    let headers = case
        .expect
        .headers
        .iter()
        .map(|(k, v)| (k.to_lowercase(), v.clone()))
        .collect();
    Answer {
        status: case.expect.status,
        body,
        headers,
    }
}

/// The first difference between the upstream's answer and ours, or `None` where they are equal.
#[must_use]
pub fn difference(case: &Case, upstream: &Answer, ours: &Answer) -> Option<String> {
    if upstream.status != ours.status {
        let body: String = ours.body.as_text().chars().take(160).collect();
        return Some(format!(
            "HTTP {} expected, got {}: {body}",
            upstream.status, ours.status
        ));
    }
    for name in &case.check_headers {
        let name = name.to_lowercase();
        let plain = |a: &Answer| {
            a.headers
                .get(&name)
                .map_or(String::new(), |v| v.replace(' ', "").to_lowercase())
        };
        if plain(upstream) != plain(ours) {
            let got = ours.headers.get(&name).cloned().unwrap_or_default();
            let want = upstream.headers.get(&name).cloned().unwrap_or_default();
            return Some(format!("header {name}: {want:?} expected, got {got:?}"));
        }
    }
    match case.compare.as_str() {
        "status" => return None,
        "lines" => return lines(case, &upstream.body.as_text(), &ours.body.as_text()),
        "text" => return text(&raw_text(upstream), &raw_text(ours)),
        _ => {}
    }
    let (mut a, mut b) = match (&upstream.body, &ours.body) {
        (Body::Json(a), Body::Json(b)) => (a.clone(), b.clone()),
        (Body::Text(_), Body::Text(_)) => return None,
        (Body::Text(_), Body::Json(_)) => {
            return Some("JSON where the upstream sends text".to_owned());
        }
        (Body::Json(_), Body::Text(t)) => {
            let start: String = t.chars().take(120).collect();
            return Some(format!("not JSON: {start:?}"));
        }
    };
    for path in &case.ignore {
        drop_path(&mut a, path);
        drop_path(&mut b, path);
    }
    by_mode(&case.compare, a, b)
}

/// Compares two JSON values in a mode; unknown modes compare as `json`.
fn by_mode(mode: &str, mut a: Value, mut b: Value) -> Option<String> {
    match mode {
        "promql" => promql::compare(&a, &b, false),
        "promql_ordered" => promql::compare(&a, &b, true),
        "promql_values" => {
            promql::forget_times(&mut a);
            promql::forget_times(&mut b);
            promql::compare(&a, &b, false)
        }
        "count" => promql::count(&a, &b),
        "keys" => promql::keys(&a, &b),
        "exemplars" => promql::exemplars(&a, &b),
        "unordered" => close(&bag(a), &bag(b), "$"),
        "loki" => loki::compare(&a, &b),
        "jaeger" => jaeger::compare(&a, &b),
        "jaeger_ids" => strict(&jaeger::ids(&a), &jaeger::ids(&b), "traces"),
        "otlp" => otlp::compare(&a, &b),
        "exact" => strict(&a, &b, "$"),
        "bag" => strict(&bag(a), &bag(b), "$"),
        "set" => set(&a, &b),
        _ => close(&a, &b, "$"),
    }
}

/// As sent: mode `text` compares what is written, also where that happens to be JSON.
fn raw_text(answer: &Answer) -> String {
    answer.body.as_text()
}

fn text(a: &str, b: &str) -> Option<String> {
    let cut = |s: &str| s.chars().take(100).collect::<String>();
    (a.trim() != b.trim()).then(|| format!("text {:?} expected, got {:?}", cut(a), cut(b)))
}

/// The same lines in any order, after the case's replacements.
fn lines(case: &Case, a: &str, b: &str) -> Option<String> {
    let sorted = |text: &str| {
        let mut text = text.to_owned();
        for (pattern, replacement) in &case.sub {
            let Ok(regex) = regex::Regex::new(&format!("(?m){pattern}")) else {
                continue;
            };
            let replacement = replacement.replace('$', "$$");
            text = regex.replace_all(&text, replacement.as_str()).into_owned();
        }
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (a, b) = (sorted(a), sorted(b));
    if a == b {
        return None;
    }
    let only = |x: &[String], y: &[String]| x.iter().find(|l| !y.contains(l)).cloned();
    Some(match (only(&a, &b), only(&b, &a)) {
        (Some(line), _) => format!("line missing: {line:?}"),
        (None, Some(line)) => format!("line of ours alone: {line:?}"),
        (None, None) => "a line is repeated on one side only".to_owned(),
    })
}

/// `data` (or the whole list) holds the same entries in any order.
fn set(a: &Value, b: &Value) -> Option<String> {
    if a.is_object() {
        for field in ["status", "errorType"] {
            if a.get(field) != b.get(field) {
                return Some(format!(
                    "{field}: {:?} expected, got {:?}",
                    a.get(field),
                    b.get(field)
                ));
            }
        }
    }
    let entries = |v: &Value| -> Vec<String> {
        let data = if v.is_object() {
            v.get("data").unwrap_or(&Value::Null)
        } else {
            v
        };
        let mut entries: Vec<String> = match data {
            Value::Array(items) => items.iter().map(canonical).collect(),
            Value::Object(members) => members.keys().cloned().collect(),
            _ => Vec::new(),
        };
        entries.sort();
        entries
    };
    let (a, b) = (entries(a), entries(b));
    if a == b {
        return None;
    }
    let missing = a.iter().find(|x| !b.contains(x));
    let extra = b.iter().find(|x| !a.contains(x));
    Some(format!(
        "data: {} entries expected, got {}; missing {missing:?}, extra {extra:?}",
        a.len(),
        b.len()
    ))
}

#[cfg(test)]
mod tests;
