//! Runs one test: moves all groups on from evaluation to evaluation, and compares.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use promql::notation::{self, Written};
use promql::vector::Sample;
use promql::{Value, VectorSample};
use storage::model::Labels;

use super::compare::{AlertPairs, ExprSample, alerts_text, are_same, indented, samples_text};
use super::file::{AlertTest, ExpectedSample, ExprTest, TestFile, TestGroup};
use crate::cli::Features;
use crate::config::rule_file::{self, Pairs};
use crate::rules::memory::{Language, Memory};
use crate::rules::{Figures, Group, Moment, State, Store};

/// What is not as expected, or wrong with the test.
pub(super) fn run(
    test: &TestGroup,
    file: &TestFile,
    rule_files: &[PathBuf],
    features: &Features,
) -> Vec<String> {
    let prepared = Run::prepare(test, file, rule_files, features);
    match prepared {
        Ok(run) => run.faults(),
        Err(faults) => faults,
    }
}

/// A series that has not been stored whole yet.
struct Input {
    labels: Labels,
    /// Ascending in time.
    samples: std::iter::Peekable<std::vec::IntoIter<(i64, Sample)>>,
}

struct Run<'a> {
    test: &'a TestGroup,
    file: &'a TestFile,
    groups: Vec<Group>,
    inputs: Vec<Input>,
    store: Memory,
    external_labels: Vec<(String, String)>,
    figures: Figures,
}

impl<'a> Run<'a> {
    fn prepare(
        test: &'a TestGroup,
        file: &'a TestFile,
        rule_files: &[PathBuf],
        features: &Features,
    ) -> Result<Self, Vec<String>> {
        let interval = test.interval(file);
        let inputs: Result<Vec<Input>, String> = test
            .input_series
            .iter()
            .enumerate()
            .map(|(at, series)| input(at, series, test.start_timestamp.0, interval))
            .collect();
        let mut groups = Vec::new();
        for path in rule_files {
            let rules = rule_file::load(path, &features.promql())?;
            for written in &rules.groups {
                groups.push(Group::new(&rules.path, written, interval, true).map_err(|e| vec![e])?);
            }
        }
        let order = file.group_order();
        groups.sort_by_key(|group| order.get(group.name.as_str()).copied().unwrap_or(0));
        if let Some(nameless) = test.alert_rule_test.iter().find(|t| t.alertname.is_empty()) {
            let time = crate::config::format_duration(nameless.eval_time.0);
            let test = match test.name.as_str() {
                "" => String::new(),
                name => format!(" (in TestGroup {name})"),
            };
            return Err(vec![format!(
                "an item under alert_rule_test misses required attribute alertname at eval_time {time}{test}"
            )]);
        }
        Ok(Self {
            test,
            file,
            groups,
            inputs: merged(inputs.map_err(|e| vec![e])?),
            store: Memory::new(Language {
                promql: features.promql(),
                subquery_step_ms: millis(file.evaluation_interval()),
                delayed_name_removal: features.has("promql-delayed-name-removal"),
            }),
            external_labels: test
                .external_labels
                .clone()
                .unwrap_or_default()
                .into_iter()
                .collect(),
            figures: Figures::default(),
        })
    }

    fn faults(mut self) -> Vec<String> {
        let mut faults = Vec::new();
        let start_ms = self.test.start_timestamp.0;
        let step_ms = millis(self.file.evaluation_interval());
        let last_ms = millis(self.test.last_eval_time());
        let mut alert_tests: BTreeMap<i64, Vec<&AlertTest>> = BTreeMap::new();
        for test in &self.test.alert_rule_test {
            alert_tests
                .entry(millis(test.eval_time.0))
                .or_default()
                .push(test);
        }
        for since_ms in (0..=last_ms).step_by(usize::try_from(step_ms).unwrap_or(1).max(1)) {
            if let Err(e) = self.store_until(start_ms + since_ms) {
                faults.push(e);
            }
            let failed = self.evaluate(start_ms + since_ms);
            if !failed.is_empty() {
                faults.extend(failed);
                return faults;
            }
            // What is expected between two evaluations is what the first of them gave.
            for (_, tests) in alert_tests.range(since_ms..since_ms + step_ms) {
                for test in tests {
                    faults.extend(self.alert_fault(test));
                }
            }
        }
        for test in &self.test.promql_expr_test {
            faults.extend(self.expr_fault(test));
        }
        faults
    }

    /// Stores the samples up to a time.
    fn store_until(&mut self, t_ms: i64) -> Result<(), String> {
        for input in &mut self.inputs {
            while let Some((t, sample)) = input.samples.next_if(|(t, _)| *t <= t_ms) {
                self.store.put(&input.labels, t, &sample)?;
            }
        }
        Ok(())
    }

    /// Evaluates all groups; what failed.
    fn evaluate(&self, t_ms: i64) -> Vec<String> {
        let t_ns = t_ms.saturating_mul(1_000_000);
        let moment = Moment {
            t_ns,
            query_offset: Duration::ZERO,
            external_labels: &self.external_labels,
            external_url: &self.test.external_url,
            resend_delay: Duration::ZERO,
            notify: &|_, _| {},
            stopped: &|| false,
            now_ns: &|| t_ns,
            figures: &self.figures,
        };
        let mut failed = Vec::new();
        for group in &self.groups {
            group.evaluate(&self.store, &moment);
            for rule in &group.rules {
                if let Some(error) = rule.outcome().last_error {
                    let time = logql::format_go_duration(t_ns);
                    failed.push(format!(
                        "    rule: {}, time: {time}, err: {error}",
                        rule.name
                    ));
                }
            }
        }
        failed
    }

    fn alert_fault(&self, test: &AlertTest) -> Option<String> {
        let rules = self.groups.iter().flat_map(|group| &group.rules);
        let alerting = rules
            .filter(|r| r.name == test.alertname)
            .filter_map(|r| r.alerting());
        let firing = alerting
            .flat_map(|a| a.active())
            .filter(|a| a.state == State::Firing);
        let mut found: Vec<AlertPairs> = firing
            .map(|alert| AlertPairs {
                labels: pairs(&alert.labels),
                annotations: alert.annotations,
            })
            .collect();
        let mut expected: Vec<AlertPairs> = Vec::new();
        for alert in test.exp_alerts.iter().flatten() {
            let mut labels = alert.exp_labels.clone().unwrap_or_default();
            // The label is the test's own name; nobody writes it again.
            labels.insert("alertname".to_owned(), test.alertname.clone());
            expected.push(AlertPairs {
                labels,
                annotations: alert.exp_annotations.clone().unwrap_or_default(),
            });
        }
        found.sort();
        expected.sort();
        if found == expected {
            return None;
        }
        let name = match self.test.name.as_str() {
            "" => String::new(),
            name => format!("    name: {name},\n"),
        };
        let time = crate::config::format_duration(test.eval_time.0);
        let text = |alerts: &[AlertPairs]| indented(&alerts_text(alerts), "            ");
        Some(format!(
            "{name}    alertname: {}, time: {time}, \n        exp:{}, \n        got:{}",
            test.alertname,
            text(&expected),
            text(&found)
        ))
    }

    fn expr_fault(&self, test: &ExprTest) -> Option<String> {
        let time = crate::config::format_duration(test.eval_time.0);
        let quoted = promql::lexer::quote(&test.expr);
        let fault = |e: String| Some(format!("    expr: {quoted}, time: {time}, err: {e}"));
        let mut found = match self.ask(test) {
            Ok(found) => found,
            Err(e) => return fault(e),
        };
        let expected: Result<Vec<ExprSample>, String> = test
            .exp_samples
            .iter()
            .flatten()
            .map(expected_sample)
            .collect();
        let mut expected = match expected {
            Ok(expected) => expected,
            Err(e) => return fault(e),
        };
        (!are_same(&mut expected, &mut found, self.file.fuzzy_compare)).then(|| {
            let (expected, found) = (samples_text(&expected), samples_text(&found));
            format!(
                "    expr: {quoted}, time: {time},\n        exp: {expected}\n        got: {found}"
            )
        })
    }

    fn ask(&self, test: &ExprTest) -> Result<Vec<ExprSample>, String> {
        let expr = self.store.parse(&test.expr)?;
        let t_ms = self.test.start_timestamp.0 + millis(test.eval_time.0);
        let samples = match self.store.query(&expr, t_ms)? {
            Value::Vector(samples) => samples,
            Value::Scalar(t_ms, number) => vec![VectorSample {
                labels: Labels::empty(),
                t_ms,
                sample: Sample::Float(number),
            }],
            _ => return Err("rule result is not a vector or scalar".to_owned()),
        };
        Ok(samples.iter().map(found_sample).collect())
    }
}

/// Faults stand as upstream places them: in a script that has a line of its own before the series.
fn input(
    at: usize,
    series: &super::file::InputSeries,
    start_ms: i64,
    interval: Duration,
) -> Result<Input, String> {
    let text = format!("{} {}", series.series, series.values);
    let (labels, values) = notation::parse_series(&text).map_err(|e| {
        let fault = e.to_string();
        let behind_line = fault.strip_prefix("1:").unwrap_or(&fault);
        format!("{}:{behind_line}", at + 2)
    })?;
    let step_ms = millis(interval);
    let times = (0..).map(|i: i64| start_ms + i * step_ms);
    let samples: Vec<(i64, Sample)> = times
        .zip(values)
        .filter_map(|(t_ms, value)| match value {
            Written::Omitted => None,
            Written::Float(value) => Some((t_ms, Sample::Float(value))),
            Written::Histogram(h) => Some((t_ms, Sample::Histogram(Arc::clone(&h)))),
        })
        .collect();
    Ok(Input {
        labels,
        samples: samples.into_iter().peekable(),
    })
}

/// Of a series that is written twice the last counts.
fn merged(inputs: Vec<Input>) -> Vec<Input> {
    let mut out: Vec<Input> = Vec::with_capacity(inputs.len());
    for input in inputs {
        out.retain(|before| before.labels != input.labels);
        out.push(input);
    }
    out
}

fn expected_sample(sample: &ExpectedSample) -> Result<ExprSample, String> {
    let parse = || -> Result<ExprSample, String> {
        let labels = notation::parse_labels(&sample.labels).map_err(|e| e.to_string())?;
        let mut histogram = String::new();
        if !sample.histogram.is_empty() {
            let text = format!("{{}} {}", sample.histogram);
            let (_, values) = notation::parse_series(&text).map_err(|e| e.to_string())?;
            histogram = match values.as_slice() {
                [Written::Histogram(h)] => h.notation(),
                [_] => return Err("expected histogram, got a number".to_owned()),
                values => return Err(format!("expected 1 value, got {}", values.len())),
            };
        }
        Ok(ExprSample {
            labels: pairs(&labels),
            value: sample.value,
            histogram,
        })
    };
    parse().map_err(|e| format!("labels {}: {e}", promql::lexer::quote(&sample.labels)))
}

fn found_sample(sample: &VectorSample) -> ExprSample {
    let (value, histogram) = match &sample.sample {
        Sample::Float(value) => (*value, String::new()),
        Sample::Histogram(h) => (0.0, h.notation()),
    };
    ExprSample {
        labels: pairs(&sample.labels),
        value,
        histogram,
    }
}

fn pairs(labels: &Labels) -> Pairs {
    labels
        .iter()
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
