use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn eval_of(text: &str) -> Eval {
    match parse(text).unwrap().remove(0).action {
        Action::Eval(eval) => *eval,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_load_puts_sample_k_at_k_steps() {
    let script = "load 5m\n  up{job=\"a\", x=''} 1+1x2 _ stale\n\nclear\n";
    let commands = parse(script).unwrap();
    assert_eq!(
        commands[1],
        Command {
            line: 4,
            action: Action::Clear
        }
    );
    let Action::Load(load) = &commands[0].action else {
        panic!()
    };
    assert_eq!(
        load.series[0].labels,
        labels(&[("__name__", "up"), ("job", "a")])
    );
    let times: Vec<i64> = load.series[0].samples(load.step_ms).map(|s| s.0).collect();
    assert_eq!(times, [0, 300_000, 600_000, 1_200_000]);
}

#[test]
fn start_timestamps_belong_to_the_series_below() {
    let script = "load 1m\n  c{a=\"1\"}@st _ -30s-1mx1\n  c{a=\"1\"} _ 1x1\n  d 5\n";
    let Action::Load(load) = &parse(script).unwrap()[0].action else {
        panic!()
    };
    let starts: Vec<_> = load.series[0]
        .samples(load.step_ms)
        .map(|s| (s.0, s.1))
        .collect();
    assert_eq!(starts, [(60_000, Some(30_000)), (120_000, Some(30_000))]);
    assert_eq!(load.series[1].samples(load.step_ms).next().unwrap().1, None);
}

#[test]
fn an_eval_holds_its_expectations() {
    let eval = eval_of(
        "eval range from 0 to 10m step 1m30s sum(x) by (y)\n  expect warn msg: PromQL warning: a (1:2)\n\
         \texpect no_info\n  {y=\"1\"} 1 _x2 4\n  {} {{count:1}}x1\n",
    );
    assert_eq!(eval.expr, "sum(x) by (y)");
    assert_eq!(
        eval.when,
        When::Range {
            start_ms: 0,
            end_ms: 600_000,
            step_ms: 90_000
        }
    );
    assert_eq!(eval.warn, [Text::Message("PromQL warning: a (1:2)".into())]);
    assert!(eval.no_info && !eval.no_warn);
    assert_eq!(eval.series.len(), 2);
    assert_eq!(eval.series[0].1.len(), 4);
    assert_eq!(eval.series[1].1.len(), 2);
}

#[test]
fn scalars_strings_failures_and_range_vectors_are_told_apart() {
    assert_eq!(
        eval_of("eval instant at 50m 12 - 1\n 11\n").scalar,
        Some(11.0)
    );
    assert_eq!(
        eval_of("eval instant at 1m \"a\"\n expect string \"a\\n\"\n")
            .string
            .unwrap(),
        "a\n"
    );
    let fail = eval_of("eval_fail instant at 0 x\n expected_fail_message it broke\n").fail;
    assert_eq!(fail, [Text::Message("it broke".into())]);
    assert_eq!(
        eval_of("eval instant at 0 x\n expect fail regex: a.c\n").fail,
        [Text::Pattern("a.c".into())]
    );
    let range =
        eval_of("eval instant at 1m x[1m]\n expect range vector from 10s to 1m step 10s\n x 1 2\n");
    assert_eq!(
        range.range_vector,
        Some(When::Range {
            start_ms: 10_000,
            end_ms: 60_000,
            step_ms: 10_000
        })
    );
    assert!(eval_of("eval_ordered instant at 1m x\n").ordered);
}

#[test]
fn names_may_be_quoted_inside_the_braces() {
    let (got, rest) = selector(r#"{"a.b", 'c d'="e\"f", g=`h\i`} 1 2"#).unwrap();
    assert_eq!(
        got,
        labels(&[("__name__", "a.b"), ("c d", "e\"f"), ("g", "h\\i")])
    );
    assert_eq!(rest, " 1 2");
    assert_eq!(selector("x {{count:1}}").unwrap().1, "{{count:1}}");
    assert!(selector("{a=\"b\"").is_err());
    assert!(selector("").is_err());
}

#[test]
fn durations_add_up_and_may_be_negative() {
    assert_eq!(duration_ms("1h2m3s4ms"), Ok(3_723_004));
    assert_eq!(duration_ms("-1m"), Ok(-60_000));
    assert_eq!(duration_ms("0"), Ok(0));
    assert!(duration_ms("5q").is_err());
    assert!(duration_ms("m").is_err());
}

#[test]
fn an_error_names_its_line() {
    let error = parse("clear\n\nload 1m\n  a 1\n  b c\n").unwrap_err();
    assert_eq!(error.line, 5);
    assert_eq!(parse("nonsense\n").unwrap_err().line, 1);
}

#[test]
fn every_script_of_the_recordings_is_read() {
    let Some(root) = crate::paths::conformance() else {
        println!("skipped: no recordings");
        return;
    };
    let (mut evals, mut clears) = (0, 0);
    for entry in std::fs::read_dir(root.join("promqltest")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "test") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let commands = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        evals += commands
            .iter()
            .filter(|c| matches!(c.action, Action::Eval(_)))
            .count();
        clears += commands
            .iter()
            .filter(|c| c.action == Action::Clear)
            .count();
    }
    println!("{evals} evals, {clears} clears");
    assert!(evals > 1500 && clears == 210);
}
