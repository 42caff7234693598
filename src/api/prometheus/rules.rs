//! `GET /api/v1/rules`, `/alerts`, `/alertmanagers`: what the rules in force are, how they fare, and who is told of alerts.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use storage::model::Matcher;

use super::error::ApiError;
use super::format::{success, value_text};
use super::params::{Ask, Params};
use crate::app::AppState;
use crate::config::rule_file::Pairs;
use crate::rules::{self, Alert, Alerting, Group, Rule};

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    ask.params.are_whole()?;
    let wanted = Wanted::read(&ask.params)?;
    let token = ask.params.get("group_next_token");
    let page = page(ask.params.get("group_limit"), token)?;
    let mut groups = app.rules.groups();
    if page.is_some() && !token.is_empty() {
        let Some(at) = groups.iter().position(|group| token_of(group) == token) else {
            return Err(ApiError::parameter(
                "group_next_token",
                format!("invalid group_next_token '{token}'. were rule groups changed?"),
            ));
        };
        groups.drain(..at);
    }
    let (mut shown, mut next) = (Vec::new(), None);
    for group in &groups {
        let Some(json) = wanted.group(group) else {
            continue;
        };
        if page.is_some_and(|most| shown.len() == most) {
            next = Some(token_of(group));
            break;
        }
        shown.push(json);
    }
    let mut data = json!({"groups": shown});
    if let Some(next) = next {
        data["groupNextToken"] = Value::from(next);
    }
    Ok(success(&data))
}

pub(super) async fn alerts(State(app): State<AppState>) -> Response {
    let groups = app.rules.groups();
    let alerting = groups
        .iter()
        .flat_map(|group| &group.rules)
        .filter_map(|rule| rule.alerting());
    let alerts: Vec<Value> = alerting
        .flat_map(Alerting::active)
        .map(|a| alert_json(&a))
        .collect();
    success(&json!({"alerts": alerts}))
}

pub(super) async fn alertmanagers(State(app): State<AppState>) -> Response {
    let (active, dropped) = app.notifier.alertmanagers();
    let urls = |urls: Vec<String>| {
        urls.iter()
            .map(|url| json!({"url": url}))
            .collect::<Vec<_>>()
    };
    success(&json!({"activeAlertmanagers": urls(active), "droppedAlertmanagers": urls(dropped)}))
}

/// Which groups and rules are wanted. What is empty lets everything pass.
struct Wanted<'a> {
    names: Vec<&'a str>,
    groups: Vec<&'a str>,
    files: Vec<&'a str>,
    selectors: Vec<Vec<Matcher>>,
    alerting: bool,
    recording: bool,
    alerts: bool,
}

impl<'a> Wanted<'a> {
    fn read(params: &'a Params) -> Result<Self, ApiError> {
        let selectors = params.selectors().map_err(ApiError::BadData)?;
        let kind = params.get("type").to_lowercase();
        if !matches!(kind.as_str(), "" | "alert" | "record") {
            let quoted = promql::lexer::quote(&kind);
            return Err(ApiError::parameter(
                "type",
                format!("not supported value {quoted}"),
            ));
        }
        Ok(Self {
            names: params.all("rule_name[]").collect(),
            groups: params.all("rule_group[]").collect(),
            files: params.all("file[]").collect(),
            selectors,
            alerting: kind != "record",
            recording: kind != "alert",
            alerts: !exclude_alerts(params.get("exclude_alerts"))?,
        })
    }

    /// The group, where it has any wanted rule.
    fn group(&self, group: &Group) -> Option<Value> {
        let takes = |list: &[&str], text: &str| list.is_empty() || list.contains(&text);
        let file = group.file.to_string_lossy();
        if !takes(&self.groups, &group.name) || !takes(&self.files, &file) {
            return None;
        }
        let rules = group.rules.iter();
        let rules = rules.filter(|rule| takes(&self.names, &rule.name) && self.selects(rule));
        let rules: Vec<Value> = rules.filter_map(|rule| self.rule(rule)).collect();
        let (last, took) = group.last_evaluation();
        (!rules.is_empty()).then(|| {
            json!({
                "name": group.name,
                "file": file,
                "rules": rules,
                "interval": number(group.interval.as_secs_f64()),
                "limit": group.limit,
                "evaluationTime": number(took.as_secs_f64()),
                "lastEvaluation": rfc3339(last),
            })
        })
    }

    fn selects(&self, rule: &Rule) -> bool {
        let value = |name: &str| rule.labels.get(name).map_or("", String::as_str);
        let fits = |selector: &Vec<Matcher>| selector.iter().all(|m| m.matches(value(m.name())));
        self.selectors.is_empty() || self.selectors.iter().any(fits)
    }

    fn rule(&self, rule: &Rule) -> Option<Value> {
        let outcome = rule.outcome();
        let mut out = match rule.alerting() {
            Some(_) if !self.alerting => return None,
            None if !self.recording => return None,
            None => json!({"name": rule.name, "query": rule.query, "labels": rule.labels}),
            Some(alerting) => {
                let state = match outcome.started_ns {
                    None => rules::State::Unknown,
                    Some(_) => alerting.state(),
                };
                let alerts = self
                    .alerts
                    .then(|| alerting.active().iter().map(alert_json).collect::<Vec<_>>());
                json!({
                    "state": state.as_str(),
                    "name": rule.name,
                    "query": rule.query,
                    "duration": number(alerting.hold.as_secs_f64()),
                    "keepFiringFor": number(alerting.keep_firing_for.as_secs_f64()),
                    "labels": rule.labels,
                    "annotations": alerting.annotations,
                    "alerts": alerts,
                })
            }
        };
        out["health"] = Value::from(outcome.health.as_str());
        if let Some(error) = outcome.last_error.filter(|e| !e.is_empty()) {
            out["lastError"] = Value::from(error);
        }
        out["evaluationTime"] = number(outcome.duration.as_secs_f64());
        out["lastEvaluation"] = Value::from(rfc3339(outcome.started_ns));
        let kind = if rule.alerting().is_some() {
            "alerting"
        } else {
            "recording"
        };
        out["type"] = Value::from(kind);
        Some(out)
    }
}

fn alert_json(alert: &Alert) -> Value {
    let labels: Pairs = alert
        .labels
        .iter()
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    let mut out = json!({
        "labels": labels,
        "annotations": alert.annotations,
        "state": alert.state.as_str(),
        "activeAt": rfc3339(Some(alert.active_at_ns)),
    });
    if let Some(since) = alert.keep_firing_since_ns {
        out["keepFiringSince"] = Value::from(rfc3339(Some(since)));
    }
    out["value"] = Value::from(scientific(alert.value));
    out
}

/// A number without a needless fraction or exponent.
fn number(value: f64) -> Value {
    let number = value_text(value).parse::<serde_json::Number>();
    number.map_or(Value::Null, Value::Number)
}

/// `1.2e+01`
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return value_text(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// A time in nanoseconds since the epoch, with as many decimals as it needs; the zero time where there is none.
fn rfc3339(t_ns: Option<i64>) -> String {
    let Some(t_ns) = t_ns else {
        return "0001-01-01T00:00:00Z".to_owned();
    };
    let time = chrono::DateTime::from_timestamp_nanos(t_ns);
    let text = time.format("%Y-%m-%dT%H:%M:%S%.9f").to_string();
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}Z")
}

/// Opaque, and the same as long as the group is known by the same name.
fn token_of(group: &Group) -> String {
    format!(
        "{:032x}",
        xxhash_rust::xxh3::xxh3_128(group.key().as_bytes())
    )
}

/// A boolean as Go reads one; false where absent.
fn exclude_alerts(text: &str) -> Result<bool, ApiError> {
    match text.to_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "" | "0" | "f" | "false" => Ok(false),
        lower => Err(ApiError::parameter(
            "exclude_alerts",
            format!(
                "error converting exclude_alerts: strconv.ParseBool: parsing {}: invalid syntax",
                promql::lexer::quote(lower)
            ),
        )),
    }
}

/// How many groups are wanted; none: all.
fn page(limit: &str, token: &str) -> Result<Option<usize>, ApiError> {
    if limit.is_empty() {
        if token.is_empty() {
            return Ok(None);
        }
        return Err(ApiError::parameter(
            "group_next_token",
            "group_limit needs to be present in order to paginate over the groups",
        ));
    }
    let fault = |what: &str| {
        let quoted = promql::lexer::quote(limit);
        let text = format!(
            "group_limit needs to be a valid number: strconv.ParseInt: parsing {quoted}: {what}"
        );
        ApiError::parameter("group_limit", text)
    };
    let number: i64 = limit.parse().map_err(|_| fault("invalid syntax"))?;
    if i32::try_from(number).is_err() {
        return Err(fault("value out of range"));
    }
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(ApiError::parameter(
            "group_limit",
            "group_limit needs to be greater than 0",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_as_go_writes_them() {
        for (value, expected) in [
            (12.0, "1.2e+01"),
            (0.0, "0e+00"),
            (-0.0005, "-5e-04"),
            (f64::INFINITY, "+Inf"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(scientific(value), expected);
        }
        assert_eq!(number(60.0).to_string(), "60");
        assert_eq!(number(0.000_081).to_string(), "0.000081");
        assert_eq!(
            rfc3339(Some(1_793_491_200_280_000_000)),
            "2026-11-01T00:00:00.28Z"
        );
        assert_eq!(
            rfc3339(Some(1_793_491_200_000_000_000)),
            "2026-11-01T00:00:00Z"
        );
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
    }
}
