use proptest::prelude::*;

use super::*;

/// Reads a body and prints one line an entry.
fn read(mut parser: Parser<'_>) -> Result<Vec<String>, String> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let mut out = Vec::new();
    let mut labels = TextLabels::new();
    while let Some(entry) = parser.next_entry().map_err(|e| e.0)? {
        out.push(match entry {
            Entry::Type(family, t) => format!("type {} {}", text(family), t.as_str()),
            Entry::Help(family, help) => format!("help {} {help:?}", text(family)),
            Entry::Unit(family, unit) => format!("unit {} {}", text(family), text(unit)),
            Entry::Sample(sample) => {
                parser.labels(&mut labels).map_err(|e| e.0)?;
                let pairs = labels.iter().map(|(n, v)| format!("{n}={v:?}"));
                let mut line = pairs.collect::<Vec<_>>().join(" ");
                let Value::Float(value) = sample.value else {
                    panic!("no number");
                };
                line += &format!(" {value}");
                if let Some(t_ms) = sample.t_ms {
                    line += &format!(" @{t_ms}");
                }
                if let Some(start_ms) = parser.start_ms() {
                    line += &format!(" began {start_ms}");
                }
                for exemplar in parser.exemplars() {
                    parser.exemplar_labels(0, &mut labels).map_err(|e| e.0)?;
                    line += &format!(" # {labels:?} {} {:?}", exemplar.value, exemplar.t_ms);
                }
                line
            }
        });
    }
    Ok(out)
}

fn prometheus(body: &str) -> Result<Vec<String>, String> {
    read(Parser::prometheus(body.as_bytes(), TextOptions::default()))
}

fn open_metrics(body: &str) -> Result<Vec<String>, String> {
    read(Parser::open_metrics(
        body.as_bytes(),
        TextOptions::default(),
    ))
}

#[test]
fn the_text_format_is_read() {
    let body = concat!(
        "# HELP wait_seconds Time\\nwaited \\\\ \"so\".\n",
        "# TYPE wait_seconds histogram\n",
        "wait_seconds_bucket{le=\"0.5\"} 1\n",
        "wait_seconds_bucket { le = \"1\" , } 3 \n",
        "wait_seconds_bucket{le=\"+Inf\"} 4 1395066363000\n",
        "# a comment\n#another\n#\n\n",
        "\t# \tTYPE   x\tgauge\n",
        "x{a=\"q\\\"u\\\\o\\nte\\z\",b=\"two\nlines\"} -Inf\n",
        "{\"dotted.name\",\"label with space\"=\"x\" plain=\"y\"} nan\n",
        "no_labels{} 0x\n",
    );
    let got = prometheus(body.strip_suffix("no_labels{} 0x\n").unwrap()).unwrap();
    assert_eq!(
        got,
        [
            r#"help wait_seconds "Time\nwaited \\ \"so\".""#,
            "type wait_seconds histogram",
            r#"__name__="wait_seconds_bucket" le="0.5" 1"#,
            r#"__name__="wait_seconds_bucket" le="1.0" 3"#,
            r#"__name__="wait_seconds_bucket" le="+Inf" 4 @1395066363000"#,
            "type x gauge",
            r#"__name__="x" a="q\"u\\o\nte\\z" b="two\nlines" -inf"#,
            r#"__name__="dotted.name" label with space="x" plain="y" NaN"#,
        ]
    );
    assert_eq!(
        prometheus(body).unwrap_err(),
        "strconv.ParseFloat: parsing \"0x\": invalid syntax while parsing: \"no_labels{} 0x\""
    );
    assert_eq!(prometheus("").unwrap(), [""; 0]);
}

#[test]
fn open_metrics_is_read() {
    let body = concat!(
        "# TYPE paint_litres counter\n",
        "# UNIT paint_litres litres\n",
        "# HELP paint_litres Paint \\\"used\\\".\n",
        "paint_litres_total{colour=\"red\",} 5 # {trace_id=\"a\\\"b\",x=\"\"} 0.75\n",
        "paint_litres_total{colour=\"blue\"} 6 1.5 # {} 1 2.25\n",
        "paint_litres_created{colour=\"blue\"} 3.5\n",
        "# TYPE \"my.size\" summary\n",
        "{\"my.size\",quantile=\"0.50\"} 10 -1.5\n",
        "# HELP empty \n",
        "# EOF\n",
    );
    assert_eq!(
        open_metrics(body).unwrap(),
        [
            "type paint_litres counter",
            "unit paint_litres litres",
            r#"help paint_litres "Paint \"used\".""#,
            r#"__name__="paint_litres_total" colour="red" 5 # [("trace_id", "a\"b"), ("x", "")] 0.75 None"#,
            r#"__name__="paint_litres_total" colour="blue" 6 @1500 # [] 1 Some(2250)"#,
            r#"__name__="paint_litres_created" colour="blue" 3.5"#,
            "type my.size summary",
            r#"__name__="my.size" quantile="0.5" 10 @-1500"#,
            r#"help empty """#,
        ]
    );
    assert_eq!(open_metrics("# EOF").unwrap(), [""; 0]);
}

#[test]
fn created_lines_are_start_times_where_asked_for() {
    let body = concat!(
        "# TYPE a counter\n",
        "a_total{x=\"1\"} 5\n",
        "a_total{x=\"2\"} 6\n",
        "a_created{x=\"2\"} 1.5\n",
        "a_created{x=\"1\"} 2.5\n",
        "# TYPE h histogram\n",
        "h_bucket{le=\"+Inf\",y=\"z\"} 3\n",
        "h_sum{y=\"z\"} 3\n",
        "h_created{y=\"z\"} 7\n",
        "# TYPE g gauge\n",
        "g 3\n",
        "g_created 7\n",
        "# EOF\n",
    );
    let options = TextOptions {
        created_timestamps: true,
        ..TextOptions::default()
    };
    let got = read(Parser::open_metrics(body.as_bytes(), options)).unwrap();
    let samples: Vec<&String> = got.iter().filter(|l| l.starts_with("__name__")).collect();
    assert_eq!(
        samples,
        [
            r#"__name__="a_total" x="1" 5 began 2500"#,
            r#"__name__="a_total" x="2" 6 began 1500"#,
            r#"__name__="h_bucket" le="+Inf" y="z" 3 began 7000"#,
            r#"__name__="h_sum" y="z" 3 began 7000"#,
            r#"__name__="g" 3"#,
            r#"__name__="g_created" 7"#,
        ]
    );
}

#[test]
fn type_and_unit_become_labels_where_asked_for() {
    let body = "# TYPE a_s gauge\n# UNIT a_s s\na_s{__type__=\"mine\",x=\"1\"} 1\n# EOF\n";
    let options = TextOptions {
        type_and_unit_labels: true,
        ..TextOptions::default()
    };
    let got = read(Parser::open_metrics(body.as_bytes(), options)).unwrap();
    assert_eq!(
        got[2],
        r#"__name__="a_s" __type__="gauge" __unit__="s" x="1" 1"#
    );
}

#[test]
fn faults_of_the_text_format_are_worded_as_upstream_words_them() {
    for (body, fault) in [
        (
            "fine 1\nbroken{ 2\n",
            r#"expected label name, got "2" ("INVALID") while parsing: "broken{ 2""#,
        ),
        (
            "a\n",
            r#"expected value after metric, got "\n" ("INVALID") while parsing: "a\n""#,
        ),
        (
            "a{b='c'} 1\n",
            r#"expected label value, got "'" ("INVALID") while parsing: "a{b='""#,
        ),
        (
            "a{b=\n",
            r#"expected label value, got "\n" ("INVALID") while parsing: "a{b=\n""#,
        ),
        (
            "a{ï=\"foo\"} 1\n",
            r#"expected label name, got "\xc3" ("INVALID") while parsing: "a{\xc3""#,
        ),
        (
            "a{b=\"c\"} 1 2x\n",
            r#"expected next entry after timestamp, got "x" ("INVALID") while parsing: "a{b=\"c\"} 1 2x""#,
        ),
        (
            "a 1 -2\n",
            r#"expected timestamp or new record, got "-" ("INVALID") while parsing: "a 1 -""#,
        ),
        (
            "a 1 99999999999999999999\n",
            r#"value out of range while parsing: "a 1 99999999999999999999""#,
        ),
        (
            "a 1_000\n",
            r#"unsupported character in float while parsing: "a 1_000""#,
        ),
        (
            "a +nan\n",
            r#"strconv.ParseFloat: parsing "+nan": invalid syntax while parsing: "a +nan""#,
        ),
        (
            "a 1e999\n",
            r#"strconv.ParseFloat: parsing "1e999": value out of range while parsing"#,
        ),
        (
            "9a 1\n",
            r#"expected a valid start token, got "9" ("INVALID") while parsing: "9""#,
        ),
        ("# TYPE a nope\n", r#"invalid metric type "nope""#),
        ("# TYPE a \n", r#"invalid metric type """#),
        (
            "# HELP 9 x\n",
            r##"expected metric name after HELP, got "9" ("INVALID") while parsing: "# HELP 9""##,
        ),
        ("{} 1\n", r#"metric name not set while parsing: "{} 1""#),
        (
            "a{\"b\"} 1\n",
            r#"metric name already set while parsing: "a{\"b\"}""#,
        ),
        (
            "a 1",
            r#"expected timestamp or new record, got "" ("EOF") while parsing: "a 1""#,
        ),
    ] {
        let error = prometheus(body).unwrap_err();
        assert!(error.contains(fault), "{body:?}: {error}");
    }
    let bad = b"a{b=\"\xff\"} 1\n";
    let error = read(Parser::prometheus(bad, TextOptions::default())).unwrap_err();
    assert_eq!(error, "invalid UTF-8 label value: \"\\\"\\xff\\\"\"");
    let bad = b"# HELP a \xff\n";
    let error = read(Parser::prometheus(bad, TextOptions::default())).unwrap_err();
    assert_eq!(error, "help text \"\\xff\" is not a valid utf8 string");
}

#[test]
fn faults_of_open_metrics_are_worded_as_upstream_words_them() {
    for (body, fault) in [
        ("", "data does not end with # EOF"),
        ("a 1\n", "data does not end with # EOF"),
        ("a 1", "data does not end with # EOF"),
        ("# EOF\na 1\n", "unexpected data after # EOF"),
        (
            "\n",
            r#"expected a valid start token, got "\n" ("INVALID") while parsing: "\n""#,
        ),
        ("# TYPE a nope\n# EOF\n", r#"invalid metric type "nope""#),
        (
            "# UNIT a_x y\n# EOF\n",
            r#"unit "y" not a suffix of metric "a_x""#,
        ),
        ("# HELP a\n# EOF\n", "expected text in HELP"),
        (
            "a{b=\"c\" d=\"e\"} 1\n# EOF\n",
            "expected comma or brace close",
        ),
        ("a{b=\"c\nd\"} 1\n# EOF\n", "expected label value"),
        ("a 1 nan\n# EOF\n", "invalid timestamp NaN"),
        (
            "a 1 # {b=\"c\"}\n# EOF\n",
            "expected value after exemplar labels",
        ),
        (
            "a 1 # {b=\"c\"} 1 inf\n# EOF\n",
            "invalid exemplar timestamp +Inf",
        ),
        ("a 1 # {\"b\"} 1\n# EOF\n", "expected label name"),
        ("a  1\n# EOF\n", "expected value after metric"),
    ] {
        let error = open_metrics(body).unwrap_err();
        assert!(error.contains(fault), "{body:?}: {error}");
    }
}

#[test]
fn a_message_quotes_a_part_of_a_long_line() {
    let body = format!("a{{b=\"{}", "x".repeat(100_000));
    assert!(prometheus(&body).unwrap_err().len() < 4 * MAX_QUOTED);
}

#[test]
fn bounds_are_written_as_open_metrics_writes_numbers() {
    for (value, text) in [
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-1.0, "-1.0"),
        (0.1, "0.1"),
        (100_000.0, "100000.0"),
        (1_048_576.0, "1.048576e+06"),
        (1e21, "1e+21"),
        (1e-5, "1e-05"),
        (0.0001, "0.0001"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(open_metrics_float(value), text);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(body: Vec<u8>) {
        let options = TextOptions { created_timestamps: true, type_and_unit_labels: true };
        let _ = read(Parser::prometheus(&body, options));
        let _ = read(Parser::open_metrics(&body, options));
    }

    #[test]
    fn nearly_right_bodies_are_read_without_panic(body in r#"((# (TYPE|HELP|UNIT|EOF)|a_total|[{}=,"\\# 01.e\n]|nan|counter|histogram|le){1,4}\n?){0,12}"#) {
        let options = TextOptions { created_timestamps: true, type_and_unit_labels: true };
        let _ = read(Parser::prometheus(body.as_bytes(), options));
        let _ = read(Parser::open_metrics(body.as_bytes(), options));
    }

    #[test]
    fn what_is_written_is_read(values in proptest::collection::vec(any::<f64>(), 1..20), label in "[^\\\\\"\n\u{0}]{0,8}") {
        let mut body = String::new();
        for value in &values {
            body += &format!("m{{l=\"{label}\"}} {value}\n");
        }
        let mut parser = Parser::prometheus(body.as_bytes(), TextOptions::default());
        for value in values {
            let Ok(Some(Entry::Sample(Sample { value: Value::Float(read), .. }))) = parser.next_entry() else { panic!() };
            prop_assert!(read == value || read.is_nan() && value.is_nan());
            let mut labels = TextLabels::new();
            parser.labels(&mut labels).unwrap();
            prop_assert_eq!(&labels[1].1, &label);
        }
    }
}
