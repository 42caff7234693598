use std::cell::RefCell;

use promql::notation::{self, Written};
use promql::{ParseOptions, Value};

use super::super::alerting::State;
use super::super::memory::{Language, Memory};
use super::super::restore::Restoration;
use super::super::rule::Health;
use super::*;
use crate::config::rule_file;

const SECOND_NS: i64 = 1_000_000_000;

/// Groups over series in memory, moved on by hand.
struct Bench {
    store: Memory,
    figures: Figures,
    /// State and labels of the alerts that were sent.
    sent: RefCell<Vec<String>>,
}

impl Bench {
    fn new(series: &[&str]) -> Self {
        let bench = Self {
            store: Memory::new(Language {
                promql: ParseOptions::ALL,
                subquery_step_ms: 60_000,
                delayed_name_removal: false,
            }),
            figures: Figures::default(),
            sent: RefCell::default(),
        };
        for line in series {
            let (labels, values) = notation::parse_series(line).unwrap();
            for (i, value) in values.into_iter().enumerate() {
                let sample = match value {
                    Written::Omitted => continue,
                    Written::Float(value) => Sample::Float(value),
                    Written::Histogram(h) => Sample::Histogram(h),
                };
                bench
                    .store
                    .put(&labels, i as i64 * 60_000, &sample)
                    .unwrap();
            }
        }
        bench
    }

    fn evaluate(&self, group: &Group, at_s: i64) {
        let notify = |_: &str, alerts: Vec<Alert>| {
            let texts = alerts
                .iter()
                .map(|a| format!("{} {}", a.state.as_str(), a.labels));
            self.sent.borrow_mut().extend(texts);
        };
        group.evaluate(
            &self.store,
            &Moment {
                t_ns: at_s * SECOND_NS,
                query_offset: Duration::ZERO,
                external_labels: &[],
                external_url: "http://here",
                resend_delay: Duration::from_secs(60),
                notify: &notify,
                stopped: &|| false,
                now_ns: &|| at_s * SECOND_NS,
                figures: &self.figures,
            },
        );
    }

    /// What an expression gives, one series a line.
    fn ask(&self, expr: &str, at_s: i64) -> Vec<String> {
        let expr = self.store.parse(expr).unwrap();
        let Value::Vector(samples) = self.store.query(&expr, at_s * 1000).unwrap() else {
            panic!("no vector");
        };
        let mut lines: Vec<String> = samples
            .iter()
            .map(|s| match &s.sample {
                Sample::Float(value) => format!("{} {value}", s.labels),
                Sample::Histogram(h) => format!("{} {}", s.labels, h.notation()),
            })
            .collect();
        lines.sort();
        lines
    }

    fn sent(&self) -> Vec<String> {
        std::mem::take(&mut self.sent.borrow_mut())
    }
}

fn group(rules: &str) -> Group {
    let text = format!("groups:\n- name: g\n  interval: 1m\n  rules:\n{rules}");
    let groups = rule_file::parse(&text, &ParseOptions::ALL).unwrap();
    Group::new(
        Path::new("rules.yml"),
        &groups[0],
        Duration::from_secs(60),
        true,
    )
    .unwrap()
}

fn states(group: &Group) -> Vec<State> {
    group.rules[0]
        .alerting()
        .unwrap()
        .active()
        .iter()
        .map(|a| a.state)
        .collect()
}

#[test]
fn rules_see_what_the_rules_before_them_gave() {
    let bench = Bench::new(&["up{job=\"a\"} 1x9", "up{job=\"b\"} 0x9"]);
    let group = group(
        "  - {record: total, expr: sum(up)}\n  - {record: double, expr: total * 2, labels: {x: y}}\n",
    );
    bench.evaluate(&group, 60);
    assert_eq!(bench.ask("double", 60), [r#"{__name__="double", x="y"} 2"#]);
    assert_eq!(group.rules[0].outcome().health, Health::Good);
    assert_eq!(group.last_samples(), 2);
}

#[test]
fn a_series_that_is_not_given_any_more_is_marked_as_stale() {
    let bench = Bench::new(&["up{job=\"a\"} 1 1 1", "up{job=\"b\"} 1 0 1"]);
    let group = group("  - {record: ok, expr: up == 1}\n");
    bench.evaluate(&group, 0);
    assert_eq!(bench.ask("count(ok)", 0), ["{} 2"]);
    bench.evaluate(&group, 60);
    assert_eq!(bench.ask("ok", 60), [r#"{__name__="ok", job="a"} 1"#]);
    bench.evaluate(&group, 120);
    assert_eq!(bench.ask("count(ok)", 120), ["{} 2"]);
}

#[test]
fn a_rule_that_fails_says_why_and_does_not_hold_up_the_others() {
    let bench = Bench::new(&["a{x=\"1\"} 1x9", "a{x=\"2\"} 1x9"]);
    let group =
        group("  - {record: one, expr: a, labels: {x: same}}\n  - {record: two, expr: count(a)}\n");
    bench.evaluate(&group, 60);
    let outcome = group.rules[0].outcome();
    assert_eq!(outcome.health, Health::Bad);
    assert_eq!(
        outcome.last_error.as_deref(),
        Some("vector contains metrics with the same labelset after applying rule labels")
    );
    assert_eq!(bench.ask("two", 60), [r#"{__name__="two"} 2"#]);
    assert_eq!(group.counts.failures.load(Ordering::Relaxed), 1);
    assert_eq!(group.counts.evaluations.load(Ordering::Relaxed), 2);
}

#[test]
fn alerts_are_pending_then_fire_are_kept_firing_and_are_resolved() {
    let bench = Bench::new(&["up{job=\"a\"} 1 0 0 0 0 1x20"]);
    let group = group(
        "  - {alert: Down, expr: up == 0, for: 2m, keep_firing_for: 2m, labels: {team: '{{ $labels.job }}-team'}}\n",
    );
    let alerts = |at: i64| bench.ask("ALERTS", at);
    let labels = r#"alertname="Down", job="a", team="a-team""#;
    let series = |state: &str| {
        vec![format!(
            r#"{{__name__="ALERTS", alertname="Down", alertstate="{state}", job="a", team="a-team"}} 1"#
        )]
    };
    bench.evaluate(&group, 0);
    assert!(states(&group).is_empty());
    bench.evaluate(&group, 60);
    assert_eq!(states(&group), [State::Pending]);
    assert_eq!(alerts(60), series("pending"));
    assert!(bench.sent().is_empty());
    bench.evaluate(&group, 120);
    bench.evaluate(&group, 180);
    assert_eq!(alerts(180), series("firing"));
    assert_eq!(bench.sent(), [format!("firing {{{labels}}}")]);
    assert_eq!(
        bench.ask("ALERTS_FOR_STATE", 180),
        [format!("{{__name__=\"ALERTS_FOR_STATE\", {labels}}} 60")]
    );
    // Sent again only when the delay has passed.
    bench.evaluate(&group, 240);
    assert!(bench.sent().is_empty());
    // The condition ends at 300; the alert is kept for two minutes.
    bench.evaluate(&group, 300);
    assert_eq!(alerts(300), series("firing"));
    bench.evaluate(&group, 360);
    assert_eq!(states(&group), [State::Firing]);
    bench.sent();
    bench.evaluate(&group, 420);
    assert!(states(&group).is_empty());
    assert!(alerts(420).is_empty());
    assert_eq!(bench.sent(), [format!("inactive {{{labels}}}")]);
    // A resolved alert is told of for a while, then forgotten.
    bench.evaluate(&group, 540);
    assert_eq!(bench.sent(), [format!("inactive {{{labels}}}")]);
    bench.evaluate(&group, 420 + 15 * 60 + 60);
    bench.sent();
    bench.evaluate(&group, 420 + 30 * 60);
    assert!(bench.sent().is_empty());
}

#[test]
fn a_pending_alert_that_ends_is_not_told_of() {
    let bench = Bench::new(&["up 0 1 0 1"]);
    let group = group("  - {alert: Down, expr: up == 0, for: 5m}\n");
    for at in [0, 60, 120, 180] {
        bench.evaluate(&group, at);
    }
    assert!(states(&group).is_empty());
    assert!(bench.sent().is_empty());
}

#[test]
fn too_many_alerts_are_an_error_and_none_is_kept() {
    let bench = Bench::new(&["a{x=\"1\"} 1x9", "a{x=\"2\"} 1x9"]);
    let text = "groups:\n- name: g\n  limit: 1\n  rules:\n  - {alert: A, expr: a}\n";
    let groups = rule_file::parse(text, &ParseOptions::ALL).unwrap();
    let group = Group::new(Path::new("f"), &groups[0], Duration::from_secs(60), true).unwrap();
    bench.evaluate(&group, 60);
    assert_eq!(
        group.rules[0].outcome().last_error.as_deref(),
        Some("exceeded limit of 1 with 2 alerts")
    );
    assert!(states(&group).is_empty());
}

#[test]
fn an_alert_keeps_its_time_when_its_group_is_changed() {
    let bench = Bench::new(&["up 0x20"]);
    let first = group("  - {alert: Down, expr: up == 0, for: 5m}\n  - {record: gone, expr: up}\n");
    bench.evaluate(&first, 0);
    bench.evaluate(&first, 60);
    let mut second = group("  - {alert: Down, expr: up == 0, for: 2m}\n");
    assert!(!second.is_same_as(&first));
    second.take_over(&first);
    bench.evaluate(&second, 120);
    assert_eq!(states(&second), [State::Firing]);
    // The series of the rule that is no more ends.
    assert!(bench.ask("gone", 120).is_empty());
    assert_eq!(second.counts.iterations.load(Ordering::Relaxed), 3);
}

#[test]
fn a_longer_hold_makes_a_firing_alert_pending_again() {
    let bench = Bench::new(&["up 0x20"]);
    let first = group("  - {alert: Down, expr: up == 0}\n");
    bench.evaluate(&first, 0);
    assert_eq!(states(&first), [State::Firing]);
    let mut second = group("  - {alert: Down, expr: up == 0, for: 10m}\n");
    second.take_over(&first);
    bench.evaluate(&second, 60);
    assert_eq!(states(&second), [State::Pending]);
}

#[test]
fn the_series_of_a_removed_group_end_unless_another_gives_them() {
    let bench = Bench::new(&["up{job=\"a\"} 1x20", "up{job=\"b\"} 1x20"]);
    let removed = group("  - {record: r, expr: up}\n");
    bench.evaluate(&removed, 60);
    let other = group("  - {record: r, expr: 'up{job=\"a\"}'}\n");
    bench.evaluate(&other, 120);
    let moment_s = 90;
    removed.mark_all_stale(
        &bench.store,
        &Moment {
            t_ns: moment_s * SECOND_NS,
            query_offset: Duration::ZERO,
            external_labels: &[],
            external_url: "",
            resend_delay: Duration::ZERO,
            notify: &|_, _| {},
            stopped: &|| false,
            now_ns: &|| 0,
            figures: &bench.figures,
        },
    );
    assert_eq!(bench.ask("r", 130), [r#"{__name__="r", job="a"} 1"#]);
}

#[test]
fn after_a_restart_an_alert_goes_on_pending() {
    let bench = Bench::new(&["up 0x60"]);
    let rules = "  - {alert: Down, expr: up == 0, for: 30m}\n";
    let before = group(rules);
    for minute in 0..=20 {
        bench.evaluate(&before, minute * 60);
    }
    // Down from minute 20 to 25.
    let text = format!("groups:\n- name: g\n  interval: 1m\n  rules:\n{rules}");
    let groups = rule_file::parse(&text, &ParseOptions::ALL).unwrap();
    let after = Group::new(
        Path::new("rules.yml"),
        &groups[0],
        Duration::from_secs(60),
        false,
    )
    .unwrap();
    bench.evaluate(&after, 25 * 60);
    // Nothing is written before the state is known.
    assert!(bench.ask("ALERTS_FOR_STATE", 25 * 60).is_empty());
    let how = Restoration {
        outage_tolerance: Duration::from_secs(3600),
        grace_period: Duration::from_secs(600),
    };
    after.restore(&bench.store, 25 * 60 * SECOND_NS, how);
    let alert = &after.rules[0].alerting().unwrap().active()[0];
    // 10 minutes are left, as there were before the outage.
    assert_eq!(alert.active_at_ns / SECOND_NS, 5 * 60);
    bench.evaluate(&after, 34 * 60);
    assert_eq!(states(&after), [State::Pending]);
    bench.evaluate(&after, 35 * 60);
    assert_eq!(states(&after), [State::Firing]);
}

#[test]
fn histograms_are_recorded() {
    let bench = Bench::new(&["h {{schema:0 sum:4 count:6 buckets:[1 2 3]}}x5"]);
    let group = group("  - {record: sums, expr: sum(h)}\n");
    bench.evaluate(&group, 60);
    assert_eq!(
        bench.ask("sums", 60),
        [r#"{__name__="sums"} {{count:6 sum:4 counter_reset_hint:not_reset buckets:[1 2 3]}}"#]
    );
}
