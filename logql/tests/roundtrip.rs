//! Laws that hold for any text and any tree: parsing never panics, and a printed query parses to
//! the query that was printed.

use logql::parse;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["app", "job", "x_1", "Level", "sum", "rate", "_y"])
        .prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,6}",
        prop::sample::select(vec![
            "q\"u\\o",
            "a\nb\t",
            "é ☕",
            "{{.a}}",
            "",
            "\u{1b}[31m",
            "`"
        ])
        .prop_map(str::to_owned),
    ]
    .prop_map(|t: String| logql::quote(&t))
}

fn matcher() -> impl Strategy<Value = String> {
    (name(), prop::sample::select(vec!["=", "!="]), text())
        .prop_map(|(n, op, t)| format!("{n}{op}{t}"))
}

fn condition() -> impl Strategy<Value = String> {
    let compare = prop::sample::select(vec!["==", "!=", ">", ">=", "<", "<="]);
    let value = prop::sample::select(vec![
        "1", "-2.5", "1e3", "250us", "1h30m", "1d", "2KB", "512B", "10MB",
    ]);
    let leaf = prop_oneof![
        matcher(),
        (name(), compare, value)
            .prop_filter("sizes have no sign", |(_, _, v)| !v.starts_with('-')
                || !v.ends_with('B'))
            .prop_map(|(n, op, v)| format!("{n}{op}{v}")),
        name().prop_map(|n| format!("{n}!=ip(\"10.0.0.0/8\")")),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        (
            inner.clone(),
            prop::sample::select(vec![" or ", " and ", ", ", " "]),
            inner,
        )
            .prop_map(|(a, op, b)| format!("({a}){op}({b})"))
    })
}

fn stage() -> impl Strategy<Value = String> {
    prop_oneof![
        (
            prop::sample::select(vec!["|=", "!=", "|~", "!~"]),
            text(),
            text()
        )
            .prop_map(|(op, a, b)| format!("{op} {a} or {b}")),
        Just("|= ip(\"::1\")".to_owned()),
        Just("| json".to_owned()),
        (name(), text()).prop_map(|(n, t)| format!("| json {n}, y={t}")),
        name().prop_map(|n| format!("| logfmt --keep-empty --strict {n}")),
        Just("| regexp \"(?P<a>.)\" | pattern \"<b> c\" | unpack | decolorize".to_owned()),
        condition().prop_map(|c| format!("| {c}")),
        text().prop_map(|t| format!("| line_format {t}")),
        (name(), text()).prop_map(|(n, t)| format!("| label_format {n}={t}, z=y")),
        matcher().prop_map(|m| format!("| drop a, {m} | keep b, {m}")),
    ]
}

fn log() -> impl Strategy<Value = String> {
    (matcher(), prop::collection::vec(stage(), 0..4))
        .prop_map(|(m, stages)| format!("{{{m}, must=\"be\"}} {}", stages.join(" ")))
}

fn grouping() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        name().prop_map(|n| format!(" by ({n}, z)")),
        name().prop_map(|n| format!(" without ({n})")),
    ]
}

fn metric() -> impl Strategy<Value = String> {
    let range = prop::sample::select(vec![
        "[5m]",
        "[1h30m]",
        "[1d]",
        "[90s] offset 10m",
        "[1ms] offset -30s",
    ]);
    let leaf = prop_oneof![
        (
            prop::sample::select(vec![
                "rate",
                "count_over_time",
                "bytes_rate",
                "absent_over_time"
            ]),
            log(),
            range.clone()
        )
            .prop_map(|(f, l, r)| format!("{f}({l} {r})")),
        (log(), range, grouping(), condition()).prop_map(|(l, r, g, c)| format!(
            "quantile_over_time(0.9, {l} | unwrap duration(v) | {c} {r}){g}"
        )),
        Just("vector(2.5)".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (
                prop::sample::select(vec!["sum", "avg", "count", "stddev"]),
                grouping(),
                inner.clone()
            )
                .prop_map(|(f, g, i)| format!("{f}{g} ({i})")),
            (grouping(), inner.clone()).prop_map(|(g, i)| format!("topk{g} (3, {i})")),
            inner
                .clone()
                .prop_map(|i| format!("label_replace({i}, \"a\", \"$1\", \"b\", \"(.*)\")")),
            (
                inner.clone(),
                prop::sample::select(vec![
                    "+",
                    "- on (a)",
                    "* ignoring (b) group_left (c)",
                    "/ on () group_right",
                    "> bool",
                    "<=",
                    "and",
                    "or on (x)",
                    "unless",
                    "^",
                    "%",
                ]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.prop_map(|i| format!("-1.5 * ({i})")),
        ]
    })
}

proptest! {
    #[test]
    fn printed_log_queries_parse_to_themselves(query in log()) {
        let expr = parse(&query).map_err(|e| TestCaseError::fail(format!("{query}: {e}")))?;
        let printed = expr.to_string();
        prop_assert_eq!(parse(&printed).map_err(|e| TestCaseError::fail(format!("{printed}: {e}")))?, expr);
    }

    #[test]
    fn printed_metric_queries_parse_to_themselves(query in metric()) {
        let expr = parse(&query).map_err(|e| TestCaseError::fail(format!("{query}: {e}")))?;
        let printed = expr.to_string();
        prop_assert_eq!(parse(&printed).map_err(|e| TestCaseError::fail(format!("{printed}: {e}")))?, expr.clone());
        let pretty = logql::pretty(&expr);
        prop_assert!(parse(&pretty).is_ok(), "{}", pretty);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[{}()\\[\\]a-z\"`|=!~<>0-9.,+/*^%#é' -]{0,60}") {
        let _ = parse(&text);
    }
}
