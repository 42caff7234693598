use storage::model::is_stale;

use super::super::exposition::TextOptions;
use super::super::text::Parser;
use super::*;
use crate::config::PrometheusConfig;
use crate::wire::remote_write::{Form, decode};

/// A target, what is known of its series, and what it said of its families.
struct World {
    config: ScrapeConfig,
    target: Labels,
    cache: SeriesCache,
    families: Families,
    options: TextOptions,
}

/// What a page brought, a line each: labels, value, time.
type Written = Vec<String>;

impl World {
    fn new(job: &str, target: &[(&str, &str)]) -> Self {
        let text = format!("scrape_configs: [{{job_name: j, {job}}}]");
        let config = PrometheusConfig::parse(&text).unwrap();
        Self {
            config: ScrapeConfig::clone(&config.scrape_configs[0]),
            target: Labels::from_pairs(target.iter().copied()),
            cache: SeriesCache::default(),
            families: Families::default(),
            options: TextOptions::default(),
        }
    }

    fn parser<'b>(&self, body: &'b str) -> Parser<'b> {
        if body.ends_with("# EOF\n") {
            Parser::open_metrics(body.as_bytes(), self.options)
        } else {
            Parser::prometheus(body.as_bytes(), self.options)
        }
    }

    fn page(&mut self, body: &str, at_ms: i64) -> (Written, Counts, Result<(), PageError>) {
        let parser = self.parser(body);
        let mut counts = Counts::default();
        let mut out = Writer::default();
        let rules = Rules {
            config: &self.config,
            target: &self.target,
            at_ms,
            latest_ms: at_ms + 1000,
            zero_at_start: self.options.created_timestamps,
        };
        let families = &mut self.families;
        let outcome = self
            .cache
            .page(parser, &rules, families, &mut out, &mut counts);
        match &outcome {
            Ok(()) => self.cache.succeed(at_ms, families, &mut out),
            Err(_) => {
                out = Writer::default();
                self.cache.fail(at_ms, &mut out);
            }
        }
        (written(out), counts, outcome)
    }

    fn lines(&mut self, body: &str, at_ms: i64) -> Written {
        let (written, _, outcome) = self.page(body, at_ms);
        outcome.unwrap();
        written
    }
}

fn written(writer: Writer) -> Written {
    let body = writer.finish();
    let batch = decode(&body, Form { with_start: true }).unwrap();
    let mut out = Vec::new();
    for series in &batch.series {
        let mut pairs = Vec::new();
        (batch.decode_labels)(series.key, &mut pairs).unwrap();
        let labels = Labels::from_sorted(pairs);
        for i in series.floats.clone() {
            let value = match batch.values[i] {
                value if is_stale(value) => "stale".to_owned(),
                value => value.to_string(),
            };
            let start = batch.start_ms.get(i).filter(|s| **s != NO_START_MS);
            let start = start.map_or_else(String::new, |s| format!(" from {s}"));
            out.push(format!("{labels} {value} @{}{start}", batch.t_ms[i]));
        }
        for exemplar in &batch.exemplars[series.exemplars.clone()] {
            out.push(format!(
                "# {} {} @{}",
                exemplar.labels, exemplar.value, exemplar.t_ms
            ));
        }
    }
    out
}

#[test]
fn series_get_the_labels_of_their_target() {
    let mut world = World::new("sample_limit: 0", &[("job", "j"), ("instance", "i")]);
    let (lines, counts, _) = world.page("a{x=\"1\",e=\"\"} 1\nb 2 77\n", 50);
    assert_eq!(
        lines,
        [
            r#"{__name__="a", instance="i", job="j", x="1"} 1 @50"#,
            r#"{__name__="b", instance="i", job="j"} 2 @77"#,
        ]
    );
    assert_eq!((counts.scraped, counts.kept, counts.added), (2, 2, 2));
    // A known series is written the same way, and is no new one.
    let (again, counts, _) = world.page("a{x=\"1\",e=\"\"} 3\n", 60);
    assert_eq!(
        again,
        [r#"{__name__="a", instance="i", job="j", x="1"} 3 @60"#]
    );
    assert_eq!(counts.added, 0);
}

#[test]
fn conflicting_labels_are_exported_or_honoured() {
    let target = [("job", "j"), ("env", "prod"), ("exported_env", "e")];
    let body = "a{job=\"mine\",env=\"theirs\"} 1\nb{job=\"\"} 2\n";
    let mut world = World::new("honor_labels: false", &target);
    assert_eq!(
        world.lines(body, 1),
        [
            r#"{__name__="a", env="prod", exported_env="e", exported_exported_env="theirs", exported_job="mine", job="j"} 1 @1"#,
            r#"{__name__="b", env="prod", exported_env="e", job="j"} 2 @1"#,
        ]
    );
    let mut world = World::new("honor_labels: true", &target);
    assert_eq!(
        world.lines(body, 1),
        [
            r#"{__name__="a", env="theirs", exported_env="e", job="mine"} 1 @1"#,
            r#"{__name__="b", env="prod", exported_env="e"} 2 @1"#,
        ]
    );
}

#[test]
fn times_on_the_page_count_unless_the_job_says_otherwise() {
    let body = "a 1 7\na 2 8\n";
    let mut world = World::new("honor_timestamps: true", &[]);
    assert_eq!(
        world.lines(body, 50),
        [r#"{__name__="a"} 1 @7"#, r#"{__name__="a"} 2 @8"#]
    );
    // Series with times of their own do not end when they are missing, unless that is asked for.
    assert_eq!(world.lines("b 1\n", 60), [r#"{__name__="b"} 1 @60"#]);
    let mut world = World::new("track_timestamps_staleness: true", &[]);
    world.lines(body, 50);
    assert_eq!(world.lines("b 1\n", 60)[1], r#"{__name__="a"} stale @60"#);
    let mut world = World::new("honor_timestamps: false", &[]);
    let (lines, counts, _) = world.page(body, 50);
    assert_eq!(lines, [r#"{__name__="a"} 1 @50"#]);
    assert_eq!((counts.kept, counts.duplicates), (2, 1));
    let mut world = World::new("honor_timestamps: true", &[]);
    let (lines, counts, _) = world.page("a 1 2000\n", 50);
    assert!(lines.is_empty());
    assert_eq!(counts.out_of_bounds, 1);
}

#[test]
fn a_series_that_is_missing_ends_once() {
    let mut world = World::new("honor_labels: false", &[]);
    world.lines("a 1\nb 1\n", 10);
    assert_eq!(
        world.lines("a 2\n", 20),
        [r#"{__name__="a"} 2 @20"#, r#"{__name__="b"} stale @20"#]
    );
    assert_eq!(world.lines("a 3\n", 30), [r#"{__name__="a"} 3 @30"#]);
    // In another spelling it is the same series.
    world.lines("c{x=\"1\",y=\"2\"} 1\n", 40);
    assert_eq!(
        world.lines("c{y=\"2\", x=\"1\"} 2\n", 50),
        [r#"{__name__="c", x="1", y="2"} 2 @50"#]
    );
}

#[test]
fn a_page_that_fails_ends_all_series_and_stores_nothing() {
    let mut world = World::new("honor_labels: false", &[]);
    world.lines("a 1\nb 1\n", 10);
    let (mut lines, counts, outcome) = world.page("a 2\nbroken{\n", 20);
    lines.sort();
    assert_eq!(
        lines,
        [r#"{__name__="a"} stale @20"#, r#"{__name__="b"} stale @20"#]
    );
    assert_eq!((counts.scraped, counts.kept), (1, 1));
    assert!(matches!(outcome, Err(PageError::Parse(_))));
    let (lines, ..) = world.page("broken{\n", 30);
    assert!(lines.is_empty());
    assert_eq!(world.lines("a 3\n", 40), [r#"{__name__="a"} 3 @40"#]);
}

#[test]
fn a_page_with_too_many_samples_fails_as_a_whole_and_is_counted_whole() {
    let mut world = World::new("sample_limit: 2", &[]);
    assert_eq!(world.lines("a 1\nb 1\n", 10).len(), 2);
    for at_ms in [20, 30] {
        let (_, counts, outcome) = world.page("a 1\nb 1\nc 1\nd 1\n", at_ms);
        assert_eq!(outcome, Err(PageError::SampleLimit));
        assert_eq!((counts.scraped, counts.kept), (4, 4));
    }
    // What relabelling drops does not count.
    let rules = "metric_relabel_configs: [{source_labels: [__name__], regex: c, action: drop}]";
    let mut world = World::new(&format!("sample_limit: 2, {rules}"), &[]);
    let (lines, counts, outcome) = world.page("a 1\nb 1\nc 1\n", 10);
    assert_eq!((lines.len(), outcome), (2, Ok(())));
    assert_eq!((counts.scraped, counts.kept), (3, 2));
}

#[test]
fn rules_change_names_and_drop_series() {
    let rules = "metric_relabel_configs: [{source_labels: [__name__], regex: '(.*)_old', target_label: __name__, replacement: '${1}_new'}, {regex: secret, action: labeldrop}, {source_labels: [x], regex: no, action: drop}]";
    let mut world = World::new(rules, &[("job", "j")]);
    let body = "a_old{secret=\"s\"} 1\nb{x=\"no\"} 1\n";
    for at_ms in [10, 20] {
        assert_eq!(
            world.lines(body, at_ms),
            [format!("{{__name__=\"a_new\", job=\"j\"}} 1 @{at_ms}")]
        );
    }
}

#[test]
fn series_that_cannot_be_stored_fail_the_page() {
    for (job, body, fault) in [
        (
            "honor_labels: false",
            "a{x=\"1\",x=\"2\"} 1\n",
            "label name \"x\" is not unique: invalid sample",
        ),
        (
            "metric_relabel_configs: [{regex: __name__, action: labeldrop}]",
            "a{x=\"1\"} 1\n",
            "missing metric name (__name__ label)",
        ),
        (
            "metric_name_validation_scheme: legacy",
            "{\"a.b\"} 1\n",
            "invalid metric name or label names: {__name__=\"a.b\"}",
        ),
        (
            "metric_name_validation_scheme: legacy",
            "{\"a\",\"b.c\"=\"1\"} 1\n",
            "invalid metric name or label names",
        ),
        (
            "label_limit: 2",
            "abc{x=\"1\",y=\"2\"} 1\n",
            "label_limit exceeded (metric: abc, number of labels: 3, limit: 2)",
        ),
        (
            "label_name_length_limit: 9",
            "abc{long_label_name=\"1\"} 1\n",
            "label_name_length_limit exceeded (metric: abc, label name: long_label_name, length: 15, limit: 9)",
        ),
        (
            "label_value_length_limit: 3",
            "abc{x=\"1234\"} 1\n",
            "label_value_length_limit exceeded (metric: abc, label name: x, value: \"1234\", length: 4, limit: 3)",
        ),
    ] {
        let error = World::new(job, &[]).page(body, 1).2.unwrap_err();
        assert!(error.to_string().contains(fault), "{job} {body}: {error}");
    }
    let colons = World::new("metric_name_validation_scheme: legacy", &[]).lines("a:b 1\n", 1);
    assert_eq!(colons, [r#"{__name__="a:b"} 1 @1"#]);
}

#[test]
fn exemplars_are_written_when_they_are_new() {
    let mut world = World::new("honor_labels: false", &[]);
    let page =
        |id: &str| format!("# TYPE a counter\na_total 1 # {{trace_id=\"{id}\"}} 0.5\n# EOF\n");
    let first = world.lines(&page("x"), 10);
    assert_eq!(
        first,
        [
            r#"{__name__="a_total"} 1 @10"#,
            r#"# {trace_id="x"} 0.5 @10"#
        ]
    );
    assert_eq!(world.lines(&page("x"), 20).len(), 1);
    assert_eq!(
        world.lines(&page("y"), 30)[1],
        r#"# {trace_id="y"} 0.5 @30"#
    );
    // What a failed page had was not stored.
    assert!(world.page("broken{\n", 40).2.is_err());
    assert_eq!(world.lines(&page("y"), 50).len(), 2);
}

#[test]
fn counters_begin_at_zero_where_they_tell_when() {
    let mut world = World::new("honor_labels: false", &[]);
    world.options.created_timestamps = true;
    let page = |start: &str| format!("# TYPE a counter\na_total 5\na_created {start}\n# EOF\n");
    assert_eq!(
        world.lines(&page("0.005"), 10),
        [
            r#"{__name__="a_total"} 0 @5"#,
            r#"{__name__="a_total"} 5 @10 from 5"#
        ]
    );
    assert_eq!(
        world.lines(&page("0.005"), 20),
        [r#"{__name__="a_total"} 5 @20 from 5"#]
    );
    assert_eq!(world.lines(&page("0.025"), 30).len(), 2);
}

#[test]
fn other_rules_begin_anew_and_end_what_they_no_longer_show() {
    let mut world = World::new("honor_labels: false", &[]);
    world.lines("a 1\nb 1\n", 10);
    world.cache.start_over();
    world.config.metric_relabel_configs =
        serde_yaml_ng::from_str("[{source_labels: [__name__], regex: b, action: drop}]").unwrap();
    assert_eq!(
        world.lines("a 2\nb 2\n", 20),
        [r#"{__name__="a"} 2 @20"#, r#"{__name__="b"} stale @20"#]
    );
    assert_eq!(world.lines("a 3\nb 3\n", 30), [r#"{__name__="a"} 3 @30"#]);
}

#[test]
fn the_cache_stays_bounded_while_pages_fail() {
    let mut world = World::new("honor_labels: false", &[]);
    world.lines("a 1\n", 0);
    for i in 0..30 {
        let lines: Vec<String> = (0..100)
            .map(|n| format!("a{{i=\"{i}\",n=\"{n}\"}} 1\n"))
            .collect();
        let body = format!("{}broken{{\n", lines.concat());
        assert!(world.page(&body, i + 1).2.is_err());
        assert!(world.cache.entries.len() <= FAILED_GROWTH + 102);
    }
}
