use super::*;

const RULES: &str = "groups:
- name: second
  rules:
  - {record: double, expr: 'total * 2'}
- name: first
  rules:
  - {record: total, expr: sum(n)}
  - {alert: High, expr: 'n > 2', for: 1m, labels: {site: '{{ $externalLabels.site }}'}, annotations: {text: '{{ $value }} at {{ $externalURL }}'}}
";

/// The faults of a test file beside those rules.
fn faults(test: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let path = folder.path().join("a.test.yml");
    std::fs::write(&path, format!("rule_files: ['*les.yml']\n{test}")).unwrap();
    super::test(&path, &[], &Features(Vec::new()))
}

const SERIES: &str = "
  interval: 1m
  external_labels: {site: here}
  external_url: http://h
  input_series:
  - {series: 'n{k=\"a\"}', values: '1 2 3+1x5'}
  - {series: 'n{k=\"b\"}', values: '0x7'}
";

#[test]
fn what_is_as_expected_passes() {
    let test = format!(
        "group_eval_order: [first, second]
tests:
- name: good{SERIES}
  alert_rule_test:
  - {{eval_time: 2m, alertname: High}}
  - {{eval_time: 3m30s, alertname: High, exp_alerts: [{{exp_labels: {{k: a, site: here}}, exp_annotations: {{text: 4 at http://h}}}}]}}
  promql_expr_test:
  - {{expr: double, eval_time: 3m, exp_samples: [{{labels: double, value: 8}}]}}
  - {{expr: time(), eval_time: 3m, exp_samples: [{{labels: '{{}}', value: 180}}]}}
"
    );
    assert_eq!(faults(&test), [""; 0]);
}

#[test]
fn the_time_of_a_test_may_begin_later() {
    let test = format!(
        "tests:
- start_timestamp: 2030-01-01T00:00:00Z{SERIES}
  promql_expr_test:
  - {{expr: timestamp(n), eval_time: 3m, exp_samples: [{{labels: '{{k=\"a\"}}', value: 1893456180}}, {{labels: '{{k=\"b\"}}', value: 1893456180}}]}}
"
    );
    assert_eq!(faults(&test), [""; 0]);
}

#[test]
fn what_is_not_as_expected_is_shown_beside_what_was() {
    let test = format!(
        "tests:
- name: bad{SERIES}
  alert_rule_test:
  - {{eval_time: 3m, alertname: High, exp_alerts: []}}
  promql_expr_test:
  - {{expr: total, eval_time: 3m, exp_samples: [{{labels: total, value: 5}}]}}
  - {{expr: none, eval_time: 3m, exp_samples: [{{labels: none, value: 1}}]}}
  - {{expr: 'n +', eval_time: 3m}}
  - {{expr: n, eval_time: 3m, exp_samples: [{{labels: 'n{{', value: 1}}]}}
"
    );
    assert_eq!(
        faults(&test),
        [
            "    name: bad,\n    alertname: High, time: 3m, \n        exp:[], \n        got:[\n            0:\n              Labels:{alertname=\"High\", k=\"a\", site=\"here\"}\n              Annotations:{text=\"4 at http://h\"}\n            ]",
            "    expr: \"total\", time: 3m,\n        exp: {__name__=\"total\"} 5E+00\n        got: {__name__=\"total\"} 4E+00",
            "    expr: \"none\", time: 3m,\n        exp: {__name__=\"none\"} 1E+00\n        got: nil",
            "    expr: \"n +\", time: 3m, err: 1:4: parse error: unexpected end of input",
            "    expr: \"n\", time: 3m, err: labels \"n{\": 1:3: parse error: unexpected end of input inside braces",
        ]
    );
}

#[test]
fn a_rule_that_fails_ends_its_test() {
    let test = "tests:
- input_series:
  - {series: total, values: '7x3'}
  - {series: n, values: '1x3'}
  promql_expr_test:
  - {expr: total, eval_time: 1m}
";
    let found = faults(test);
    assert_eq!(
        found,
        ["    rule: total, time: 0s, err: duplicate sample for timestamp"]
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    for (test, expected) in [
        (
            "test: []",
            "yaml: unmarshal errors: line 2: field test not found in type main.unitTestFile",
        ),
        (
            "group_eval_order: [a, b, a]",
            "group name repeated in evaluation order: a",
        ),
        (
            "tests:\n- {name: t, alert_rule_test: [{eval_time: 1m}]}",
            "an item under alert_rule_test misses required attribute alertname at eval_time 1m (in TestGroup t)",
        ),
        (
            "tests:\n- {input_series: [{series: 'b', values: 1}, {series: 'a{', values: 1}]}",
            "3:4: parse error: unexpected character inside braces: '1'",
        ),
    ] {
        assert_eq!(faults(test), [expected], "{test}");
    }
    let missing = super::test(Path::new("/nowhere.yml"), &[], &Features(Vec::new()));
    assert!(missing[0].starts_with("open /nowhere.yml: "), "{missing:?}");
}
