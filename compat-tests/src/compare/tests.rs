use super::*;
use serde_json::json;

fn case(mode: &str, expect: &Value) -> Case {
    serde_json::from_value(json!({
        "id": "t", "request": {"path": "/"}, "compare": mode, "expect": {"status": 200, "json": expect},
    }))
    .unwrap()
}

fn check(mode: &str, a: Value, b: Value) -> Option<String> {
    let case = case(mode, &a);
    let mut ours = expected(&case);
    ours.body = Body::Json(b);
    difference(&case, &expected(&case), &ours)
}

#[test]
fn numbers_agree_within_a_tiny_relative_error_and_short_ones_exactly() {
    let same = |a: Value, b: Value| same_number(&a, &b);
    assert!(same(json!("0.30000000000000004"), json!("0.3")));
    assert!(!same(json!("1793491200.1"), json!("1793491200.2")));
    assert!(same(json!("NaN"), json!("NaN")));
    assert!(!same(json!("NaN"), json!("1")));
    assert!(same(json!("+Inf"), json!("Inf")));
    assert!(!same(json!("a"), json!("b")));
    assert!(same(json!(1), json!(1.0)));
}

#[test]
fn series_may_come_in_any_order_unless_the_order_is_the_point() {
    let series = |names: &[&str]| {
        let result: Vec<Value> = names
            .iter()
            .map(|n| json!({"metric": {"a": n}, "value": [1, "2"]}))
            .collect();
        json!({"status": "success", "data": {"resultType": "vector", "result": result}})
    };
    assert_eq!(
        check("promql", series(&["x", "y"]), series(&["y", "x"])),
        None
    );
    assert!(check("promql_ordered", series(&["x", "y"]), series(&["y", "x"])).is_some());
    assert!(
        check("promql", series(&["x", "y"]), series(&["x"]))
            .unwrap()
            .contains("missing")
    );
    assert_eq!(check("count", series(&["x"]), series(&["y"])), None);
}

#[test]
fn the_presence_of_warnings_matters_and_their_text_does_not() {
    let with = |w: Value| json!({"status": "success", "warnings": w, "data": {"resultType": "vector", "result": []}});
    assert_eq!(
        check("promql", with(json!(["a"])), with(json!(["b"]))),
        None
    );
    assert!(check("promql", with(json!(["a"])), with(json!([]))).is_some());
}

#[test]
fn entries_of_one_timestamp_have_no_order() {
    let stream = |values: Value| {
        json!({"status": "success", "data": {"resultType": "streams",
            "result": [{"stream": {"a": "b"}, "values": values}]}})
    };
    let (x, y) = (
        stream(json!([["1", "a"], ["1", "b"]])),
        stream(json!([["1", "b"], ["1", "a"]])),
    );
    assert_eq!(check("loki", x.clone(), y), None);
    assert!(check("loki", x, stream(json!([["1", "a"], ["2", "b"]]))).is_some());
}

#[test]
fn a_tag_of_another_type_is_another_tag() {
    let trace = |v: Value| {
        json!({"data": [{"traceID": "1", "spans": [{"spanID": "2", "processID": "p1",
            "tags": [{"key": "k", "type": "int64", "value": v}]}],
            "processes": {"p1": {"serviceName": "s"}}}], "errors": null})
    };
    assert_eq!(check("jaeger", trace(json!(3)), trace(json!(3.0))), None);
    assert!(check("jaeger", trace(json!(3)), trace(json!("3"))).is_some());
}

#[test]
fn lines_are_compared_after_the_replacements() {
    let mut case = case("lines", &json!(null));
    case.expect.json = None;
    case.expect.text = Some("a 1\nb 2\n".into());
    case.sub = vec![(r" \d$".into(), String::new())];
    let mut ours = expected(&case);
    ours.body = Body::Text("b 9\na 8\n".into());
    assert_eq!(difference(&case, &expected(&case), &ours), None);
    ours.body = Body::Text("b 9\nc 8\n".into());
    assert!(
        difference(&case, &expected(&case), &ours)
            .unwrap()
            .contains("missing")
    );
}

#[test]
fn a_dotted_path_reaches_through_lists_and_stars() {
    let mut v = json!({"data": [{"a": {"x": 1}}, {"b": {"x": 2, "y": 3}}]});
    drop_path(&mut v, "data.*.x");
    assert_eq!(v, json!({"data": [{"a": {}}, {"b": {"y": 3}}]}));
}

/// Every recorded case compared with itself is equal, and a changed leaf is noticed.
#[test]
fn every_recording_equals_itself_and_changes_are_noticed() {
    let Some(root) = crate::paths::conformance() else {
        println!("skipped: no recordings");
        return;
    };
    let (mut cases, mut changed, mut noticed) = (0, 0, 0);
    for folder in ["metrics", "logs", "traces", "compliance"] {
        let mut files: Vec<_> = std::fs::read_dir(root.join(folder))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        for file in files
            .iter()
            .filter(|f| f.extension().is_some_and(|e| e == "jsonl"))
        {
            let Ok(recorded) = crate::case::load(file) else {
                continue;
            };
            for case in recorded.iter().filter(|c| c.expect.status != 0) {
                cases += 1;
                let upstream = expected(case);
                assert_eq!(difference(case, &upstream, &upstream), None, "{}", case.id);
                let free = matches!(
                    case.compare.as_str(),
                    "status" | "count" | "keys" | "promql_values"
                );
                let Body::Json(json) = &upstream.body else {
                    continue;
                };
                if free || case.expect.status != 200 || cases % 7 != 0 {
                    continue;
                }
                let mut other = upstream.clone();
                let mut v = json.clone();
                if !change_deepest(&mut v) {
                    continue;
                }
                other.body = Body::Json(v);
                changed += 1;
                noticed += usize::from(difference(case, &upstream, &other).is_some());
            }
        }
    }
    println!("{cases} cases, {noticed} of {changed} changes noticed");
    assert!(noticed * 100 >= changed * 93, "{noticed} of {changed}");
}

/// Changes the last text or number below `data`.
fn change_deepest(v: &mut Value) -> bool {
    match v {
        Value::Object(m) => m.values_mut().rev().any(change_deepest),
        Value::Array(a) => a.iter_mut().rev().any(change_deepest),
        Value::String(s) => {
            s.push_str("~1");
            true
        }
        Value::Number(n) => {
            *n = serde_json::from_str(&format!("{n}17")).unwrap_or_else(|_| 17.into());
            true
        }
        _ => false,
    }
}
