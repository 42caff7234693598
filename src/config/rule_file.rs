//! Rule files: groups of recording and alerting rules, read strictly and checked as upstream checks them.
//!
//! Source: prometheus.io/docs/prometheus/latest/configuration/recording_rules and alerting_rules.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use promql::{Expr, ParseOptions};
use serde::Deserialize;
use storage::model::METRIC_NAME;

use super::document::{self, Step, YamlDuration};
use super::glob;
use crate::template::AlertTemplate;

/// Names and values, by name.
pub type Pairs = BTreeMap<String, String>;

/// A rule file that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its groups; no name comes twice.
    pub groups: Vec<RuleGroup>,
}

/// Rules that are evaluated one after the other, together.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleGroup {
    /// Its name.
    pub name: String,
    /// From one evaluation to the next, where the group says so.
    pub interval: Option<Duration>,
    /// How far in the past its queries are asked, where the group says so.
    pub query_offset: Option<Duration>,
    /// Most series or alerts a rule may give; none where not positive.
    pub limit: i64,
    /// Labels for all rules; those of a rule come before.
    pub labels: Pairs,
    /// The rules, in their order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What becomes of the result.
    pub kind: RuleKind,
    /// What is asked.
    pub expr: Expr,
    /// The rule's own labels.
    pub labels: Pairs,
}

/// What becomes of a rule's result.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// It is stored under a new name.
    Record(String),
    /// It is an alert.
    Alert {
        /// Its name.
        name: String,
        /// How long the condition must hold.
        hold: Duration,
        /// How long it still fires after the condition.
        keep_firing_for: Duration,
        /// Texts for humans.
        annotations: Pairs,
    },
}

impl Rule {
    /// Name of the series or of the alert.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Record(name) | RuleKind::Alert { name, .. } => name,
        }
    }

    /// Labels of a group and of one of its rules together.
    #[must_use]
    pub fn labels_in(&self, group: &RuleGroup) -> Pairs {
        let mut labels = group.labels.clone();
        labels.extend(self.labels.clone());
        labels
    }
}

/// Reads all files of some patterns, in the patterns' order, each file once.
///
/// # Errors
/// The faults of the first bad file, in one line.
pub fn load_all(patterns: &[PathBuf], options: &ParseOptions) -> Result<Vec<RuleFile>, String> {
    let mut files: Vec<RuleFile> = Vec::new();
    for pattern in patterns {
        let quoted = promql::lexer::quote(&pattern.to_string_lossy());
        for path in glob(pattern) {
            if files.iter().any(|f| f.path == path) {
                continue;
            }
            let file = load(&path, options).map_err(|faults| {
                let file = promql::lexer::quote(&path.to_string_lossy());
                format!(
                    "parse rules from file {file} (pattern: {quoted}): {}",
                    faults.join("; ")
                )
            })?;
            files.push(file);
        }
    }
    Ok(files)
}

/// Reads one file.
///
/// # Errors
/// All its faults, each in one line that begins with the file.
pub fn load(path: &Path, options: &ParseOptions) -> Result<RuleFile, Vec<String>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| vec![format!("{shown}: {e}")])?;
    let groups = parse(&text, options).map_err(|faults| {
        let faults = faults.into_iter();
        faults
            .map(|fault| format!("{shown}: {fault}"))
            .collect::<Vec<_>>()
    })?;
    Ok(RuleFile {
        path: path.to_owned(),
        groups,
    })
}

/// Reads the text of a file.
///
/// # Errors
/// All faults, each in one line.
pub fn parse(text: &str, options: &ParseOptions) -> Result<Vec<RuleGroup>, Vec<String>> {
    let read: Groups = document::read(text, type_of).map_err(|fault| vec![fault])?;
    let mut check = Check {
        text,
        options,
        faults: Vec::new(),
    };
    let mut names = HashSet::new();
    let mut groups = Vec::new();
    for (i, group) in read.groups.into_iter().flatten().enumerate() {
        let at = check.place(&[Step::Key("groups"), Step::At(i)]);
        if group.name.is_empty() {
            check
                .faults
                .push(format!("{at}Groupname must not be empty"));
        }
        if !names.insert(group.name.clone()) {
            check.faults.push(format!(
                "{at}groupname: \"{}\" is repeated in the same file",
                group.name
            ));
        }
        groups.push(check.group(i, group));
    }
    if check.faults.is_empty() {
        return Ok(groups);
    }
    Err(check.faults)
}

/// Upstream's names of the types, for unknown fields.
fn type_of(path: &str) -> &'static str {
    if path.contains(".rules[") {
        "rulefmt.Rule"
    } else if path.starts_with("groups[") {
        "rulefmt.RuleGroup"
    } else {
        "rulefmt.RuleGroups"
    }
}

/// A file as written. Null stands for what is left out throughout.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Groups {
    groups: Option<Vec<Group>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Group {
    name: String,
    interval: Option<YamlDuration>,
    query_offset: Option<YamlDuration>,
    limit: Option<i64>,
    labels: Option<Pairs>,
    rules: Option<Vec<WrittenRule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenRule {
    record: Option<String>,
    alert: Option<String>,
    expr: Option<String>,
    #[serde(rename = "for")]
    hold: Option<YamlDuration>,
    keep_firing_for: Option<YamlDuration>,
    labels: Option<Pairs>,
    annotations: Option<Pairs>,
}

/// A file being checked.
struct Check<'a> {
    text: &'a str,
    options: &'a ParseOptions,
    faults: Vec<String>,
}

impl Check<'_> {
    /// `3:5: `, the place of a node; nothing where it is not there.
    fn place(&self, path: &[Step<'_>]) -> String {
        let place = document::place(self.text, path);
        place.map_or_else(String::new, |(line, column)| format!("{line}:{column}: "))
    }

    fn group(&mut self, at: usize, group: Group) -> RuleGroup {
        let labels = group.labels.unwrap_or_default();
        let bad = labels.keys().filter(|name| !is_label_name(name));
        self.faults
            .extend(bad.map(|name| format!("invalid label name: {name}")));
        let rules = group.rules.unwrap_or_default().into_iter().enumerate();
        let rules = rules.filter_map(|(i, rule)| self.rule(&group.name, (at, i), rule));
        RuleGroup {
            rules: rules.collect(),
            name: group.name,
            // Zero means the default.
            interval: group.interval.map(|d| d.0).filter(|d| !d.is_zero()),
            query_offset: group.query_offset.map(|d| d.0),
            limit: group.limit.unwrap_or(0),
            labels,
        }
    }

    /// The rule, where nothing is wrong with it; else its faults are noted.
    fn rule(&mut self, group: &str, at: (usize, usize), written: WrittenRule) -> Option<Rule> {
        let record = written.record.unwrap_or_default();
        let alert = written.alert.unwrap_or_default();
        let name = if alert.is_empty() { &record } else { &alert };
        let mut faults = Vec::new();
        let mut fault = |field: Option<&'static str>, what: String| faults.push((field, what));
        let hold = written.hold.unwrap_or_default().0;
        let keep_firing_for = written.keep_firing_for.unwrap_or_default().0;
        let labels = written.labels.unwrap_or_default();
        let annotations = written.annotations.unwrap_or_default();
        if !record.is_empty() && !alert.is_empty() {
            let what = "only one of 'record' and 'alert' must be set";
            fault(Some("record"), what.to_owned());
        }
        if name.is_empty() {
            let what = "one of 'record' or 'alert' must be set";
            fault(None, what.to_owned());
        }
        let expr = match written.expr.as_deref().unwrap_or_default() {
            "" => {
                fault(None, "field 'expr' must be set in rule".to_owned());
                None
            }
            text => match promql::parse(text, self.options) {
                Ok(expr) => Some(expr),
                Err(e) => {
                    fault(Some("expr"), format!("could not parse expression: {e}"));
                    None
                }
            },
        };
        if !record.is_empty() {
            for (field, is_set) in [
                ("annotations", !annotations.is_empty()),
                ("for", !hold.is_zero()),
                ("keep_firing_for", !keep_firing_for.is_zero()),
            ] {
                if is_set {
                    let what = format!("invalid field '{field}' in recording rule");
                    fault(Some("record"), what);
                }
            }
            // Any text is a name, but whoever writes braces meant an expression.
            if record.contains(['{', '}']) {
                let what = format!(
                    "braces present in the recording rule name; should it be in expr?: {record}"
                );
                fault(Some("record"), what);
            }
        }
        for label in labels.keys().filter(|name| !is_label_name(name)) {
            fault(None, format!("invalid label name: {label}"));
        }
        for annotation in annotations.keys().filter(|name| name.is_empty()) {
            fault(None, format!("invalid annotation name: {annotation}"));
        }
        if !alert.is_empty() {
            let texts = labels.iter().map(|pair| ("label", pair));
            let texts = texts.chain(annotations.iter().map(|pair| ("annotation", pair)));
            for (kind, (name, text)) in texts {
                if let Err(e) = AlertTemplate::parse(&alert, text) {
                    let name = promql::lexer::quote(name);
                    fault(None, format!("{kind} {name}: {e}"));
                }
            }
        }
        for (field, what) in faults {
            let rule = [
                Step::Key("groups"),
                Step::At(at.0),
                Step::Key("rules"),
                Step::At(at.1),
            ];
            let path: Vec<Step<'_>> = rule.into_iter().chain(field.map(Step::Key)).collect();
            let (place, group) = (self.place(&path), promql::lexer::quote(group));
            let (number, name) = (at.1 + 1, promql::lexer::quote(name));
            let what = format!("{place}group {group}, rule {number}, {name}: {what}");
            self.faults.push(what);
        }
        let kind = if alert.is_empty() {
            RuleKind::Record(record)
        } else {
            RuleKind::Alert {
                name: alert,
                hold,
                keep_firing_for,
                annotations,
            }
        };
        Some(Rule {
            kind,
            expr: expr?,
            labels,
        })
    }
}

/// Any text but the name of the metric's own label.
fn is_label_name(name: &str) -> bool {
    !name.is_empty() && name != METRIC_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        parse(text, &ParseOptions::default()).unwrap_err()
    }

    #[test]
    fn groups_and_rules_are_read() {
        let groups = parse(
            "groups:\n- name: g\n  interval: 30s\n  query_offset: 0s\n  limit: 5\n  labels: {team: 1}\n  rules:\n  - record: a:b\n    expr: sum(up)\n    labels: {x: yes}\n  - alert: Down\n    expr: up == 0\n    for: 5m\n    annotations: {text: '{{ $value }}'}\n- name: empty\n",
            &ParseOptions::default(),
        )
        .unwrap();
        let group = &groups[0];
        assert_eq!(group.interval, Some(Duration::from_secs(30)));
        assert_eq!(group.query_offset, Some(Duration::ZERO));
        assert_eq!((group.limit, group.rules.len()), (5, 2));
        assert_eq!(group.rules[0].name(), "a:b");
        let labels = group.rules[0].labels_in(group);
        assert_eq!(labels["team"], "1");
        assert_eq!(labels["x"], "yes");
        let RuleKind::Alert { hold, .. } = &group.rules[1].kind else {
            panic!("no alert");
        };
        assert_eq!(*hold, Duration::from_secs(300));
        assert!(groups[1].rules.is_empty());
        assert!(parse("", &ParseOptions::default()).unwrap().is_empty());
    }

    #[test]
    fn faults_are_upstreams_with_their_place() {
        let rule = |rule: &str| format!("groups:\n- name: g\n  rules:\n  - {rule}\n");
        for (text, expected) in [
            (
                rule("{record: a, alert: b, expr: up}"),
                r#"4:14: group "g", rule 1, "b": only one of 'record' and 'alert' must be set"#,
            ),
            (
                rule("{expr: up}"),
                r#"4:5: group "g", rule 1, "": one of 'record' or 'alert' must be set"#,
            ),
            (
                rule("{record: a}"),
                r#"4:5: group "g", rule 1, "a": field 'expr' must be set in rule"#,
            ),
            (
                rule("{record: a, expr: 'up +'}"),
                r#"4:23: group "g", rule 1, "a": could not parse expression: 1:5: parse error: unexpected end of input"#,
            ),
            (
                rule("{record: a, expr: up, for: 1m}"),
                r#"4:14: group "g", rule 1, "a": invalid field 'for' in recording rule"#,
            ),
            (
                rule("{record: 'a{b=\"c\"}', expr: up}"),
                r#"4:14: group "g", rule 1, "a{b=\"c\"}": braces present in the recording rule name; should it be in expr?: a{b="c"}"#,
            ),
            (
                rule("{record: a, expr: up, labels: {__name__: x}}"),
                r#"4:5: group "g", rule 1, "a": invalid label name: __name__"#,
            ),
            (
                rule("{alert: A, expr: up, annotations: {s: '{{ nope 1 }}'}}"),
                r#"4:5: group "g", rule 1, "A": annotation "s": template: __alert_A:1: function "nope" not defined"#,
            ),
            (
                "groups:\n- name: g\n- name: g\n".to_owned(),
                r#"3:3: groupname: "g" is repeated in the same file"#,
            ),
            (
                "groups:\n- rules: []\n".to_owned(),
                "2:3: Groupname must not be empty",
            ),
            (
                rule("{record: a, exprs: up}"),
                "yaml: unmarshal errors: line 4: field exprs not found in type rulefmt.Rule",
            ),
        ] {
            assert_eq!(faults(&text), [expected], "{text}");
        }
    }
}
