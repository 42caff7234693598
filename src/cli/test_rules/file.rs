//! The files of unit tests.
//!
//! Source: prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::config::document::{self, YamlDuration};
use crate::config::rule_file::Pairs;

/// A file of unit tests.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TestFile {
    pub(super) rule_files: Vec<String>,
    evaluation_interval: YamlDuration,
    group_eval_order: Vec<String>,
    pub(super) tests: Vec<TestGroup>,
    /// Floats that differ in their last bit are the same.
    pub(super) fuzzy_compare: bool,
}

/// Series, and what rules and expressions make of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TestGroup {
    interval: YamlDuration,
    pub(super) input_series: Vec<InputSeries>,
    pub(super) alert_rule_test: Vec<AlertTest>,
    pub(super) promql_expr_test: Vec<ExprTest>,
    pub(super) external_labels: Option<Pairs>,
    pub(super) external_url: String,
    pub(super) name: String,
    pub(super) start_timestamp: StartTime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InputSeries {
    pub(super) series: String,
    pub(super) values: String,
}

/// Alerts that fire at a time.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AlertTest {
    pub(super) eval_time: YamlDuration,
    pub(super) alertname: String,
    pub(super) exp_alerts: Option<Vec<ExpectedAlert>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpectedAlert {
    pub(super) exp_labels: Option<Pairs>,
    pub(super) exp_annotations: Option<Pairs>,
}

/// What an expression gives at a time.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExprTest {
    pub(super) expr: String,
    pub(super) eval_time: YamlDuration,
    pub(super) exp_samples: Option<Vec<ExpectedSample>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpectedSample {
    pub(super) labels: String,
    pub(super) value: f64,
    /// Where there is a text the value does not count.
    pub(super) histogram: String,
}

/// When a test begins, milliseconds since the epoch: written in seconds or by RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StartTime(pub(super) i64);

impl<'de> Deserialize<'de> for StartTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(seconds) = text.parse::<f64>() {
            return Ok(Self((seconds * 1000.0).floor() as i64));
        }
        let time = chrono::DateTime::parse_from_rfc3339(&text).map_err(|_| {
            let quoted = promql::lexer::quote(&text);
            de::Error::custom(format!("cannot parse {quoted} to a valid timestamp"))
        })?;
        Ok(Self(time.timestamp_millis()))
    }
}

impl TestFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first fault in one line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: Self = document::read(text, type_of)?;
        let mut order = file.group_eval_order.iter().enumerate();
        if let Some((_, twice)) = order.find(|(i, name)| file.group_eval_order[..*i].contains(name))
        {
            return Err(format!("group name repeated in evaluation order: {twice}"));
        }
        Ok(file)
    }

    /// From one evaluation of all groups to the next.
    pub(super) fn evaluation_interval(&self) -> Duration {
        let interval = self.evaluation_interval.0;
        if interval.is_zero() {
            Duration::from_secs(60)
        } else {
            interval
        }
    }

    /// Groups that come after those that are not named, by name.
    pub(super) fn group_order(&self) -> HashMap<&str, usize> {
        let names = self.group_eval_order.iter().enumerate();
        names.map(|(i, name)| (name.as_str(), i)).collect()
    }
}

impl TestGroup {
    /// From one value of an input series to the next.
    pub(super) fn interval(&self, file: &TestFile) -> Duration {
        let interval = self.interval.0;
        if interval.is_zero() {
            file.evaluation_interval()
        } else {
            interval
        }
    }

    /// When the last of its tests is.
    pub(super) fn last_eval_time(&self) -> Duration {
        let alerts = self.alert_rule_test.iter().map(|test| test.eval_time.0);
        let exprs = self.promql_expr_test.iter().map(|test| test.eval_time.0);
        alerts.chain(exprs).max().unwrap_or_default()
    }
}

/// Upstream's names of the types, for unknown fields.
fn type_of(path: &str) -> &'static str {
    for (part, name) in [
        ("input_series[", "main.series"),
        ("exp_alerts[", "main.alert"),
        ("alert_rule_test[", "main.alertTestCase"),
        ("exp_samples[", "main.sample"),
        ("promql_expr_test[", "main.promqlTestCase"),
        ("tests[", "main.testGroup"),
    ] {
        if path.contains(part) {
            return name;
        }
    }
    "main.unitTestFile"
}
