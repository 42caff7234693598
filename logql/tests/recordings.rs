//! Answers recorded from Loki 3.7, asked of this crate over pages in memory: query text and
//! parameters go in as they came to the HTTP API, and the answer is compared as
//! `conformance/tools/conform.py` compares it. Skipped, with a word, where the recordings are absent.

#![expect(
    clippy::unwrap_used,
    reason = "a recording that cannot be read is a failed test"
)]

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use logql::params::{
    InstantParams, MAX_ENTRIES, MAX_QUERY_LENGTH_NS, RangeParams, check_entries_limit,
    check_query_length,
};
use logql::{
    Data, LabelSet, Params, Plan, detect_level, discover_service_name, format_value, parse,
};
use serde_json::{Value, json};
use storage::model::{EntryBuf, Labels, NsRange, Stream, StreamRef};
use storage::read::{Direction, LogPage, LogSelect, ReadError};

/// Equal cases of each file; a lower number fails the test.
const FLOORS: [(&str, usize); 9] = [
    ("select", 109),
    ("linefilter", 71),
    ("parse", 124),
    ("labelfilter", 133),
    ("format", 128),
    ("rangeagg", 104),
    ("vector", 183),
    ("boundary", 85),
    ("errors", 186),
];
/// A small page, so that queries cross many.
const PAGE_ENTRIES: usize = 50;
const NOW_NS: i64 = 1_793_498_400_000_000_000;

struct Entry {
    t_ns: i64,
    line: String,
    metadata: Vec<(String, String)>,
}

struct Page {
    stream: StreamRef,
    entries: Arc<Vec<Entry>>,
    from: usize,
    to: usize,
    range: NsRange,
}

impl LogPage for Page {
    fn stream(&self) -> &StreamRef {
        &self.stream
    }

    fn bounds_ns(&self) -> (i64, i64) {
        (self.entries[self.from].t_ns, self.entries[self.to - 1].t_ns)
    }

    fn entries(&self, out: &mut EntryBuf) -> Result<(), ReadError> {
        for e in &self.entries[self.from..self.to] {
            if self.range.contains(e.t_ns) {
                out.push(
                    e.t_ns,
                    &e.line,
                    e.metadata.iter().map(|(n, v)| (n.as_str(), v.as_str())),
                );
            }
        }
        Ok(())
    }
}

struct Store(Vec<(StreamRef, Arc<Vec<Entry>>)>);

fn folder() -> Option<PathBuf> {
    let root = std::env::var("TRILOBITE_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")));
    let folder = root.join("conformance/logs");
    folder.is_dir().then_some(folder)
}

fn lines(folder: &std::path::Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let object = value.as_object().unwrap();
    object
        .iter()
        .map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()))
        .collect()
}

/// What Loki does with a push: service name, level, names of metadata, duplicates.
fn load(folder: &std::path::Path) -> Store {
    let mut store = Vec::new();
    for stream in lines(folder, "dataset") {
        let mut labels = Labels::from_pairs(pairs(&stream["stream"]));
        if let Some(service) = discover_service_name(&labels) {
            let mut builder = labels.to_builder();
            builder.set("service_name", service);
            labels = builder.finish();
        }
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        for value in stream["values"].as_array().unwrap() {
            let t_ns: i64 = value[0].as_str().unwrap().parse().unwrap();
            let line = value[1].as_str().unwrap().to_owned();
            if !seen.insert((t_ns, line.clone())) {
                continue;
            }
            let mut metadata: Vec<(String, String)> = match value.get(2) {
                Some(given) => pairs(given),
                None => Vec::new(),
            };
            metadata.retain(|(_, value)| !value.is_empty());
            for (name, _) in &mut metadata {
                *name = name.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '_'), "_");
            }
            if !metadata.iter().any(|(n, _)| n == "detected_level") {
                let borrowed: Vec<_> = metadata
                    .iter()
                    .map(|(n, v)| (n.as_str(), v.as_str()))
                    .collect();
                let level = detect_level(&labels, borrowed, &line);
                metadata.push(("detected_level".to_owned(), level));
            }
            entries.push(Entry {
                t_ns,
                line,
                metadata,
            });
        }
        store.push((Arc::new(Stream { labels }), Arc::new(entries)));
    }
    Store(store)
}

impl Store {
    fn select(&self, select: &LogSelect) -> Vec<Page> {
        let mut pages = Vec::new();
        for (stream, entries) in &self.0 {
            if !select
                .matchers
                .iter()
                .all(|m| m.matches_labels(&stream.labels))
            {
                continue;
            }
            for from in (0..entries.len()).step_by(PAGE_ENTRIES) {
                let to = (from + PAGE_ENTRIES).min(entries.len());
                let range = select.range;
                if range.overlaps(entries[from].t_ns, entries[to - 1].t_ns) {
                    pages.push(Page {
                        stream: Arc::clone(stream),
                        entries: Arc::clone(entries),
                        from,
                        to,
                        range,
                    });
                }
            }
        }
        match select.direction {
            Direction::Forward => pages.sort_by_key(|p| p.bounds_ns().0),
            Direction::Backward => pages.sort_by_key(|p| std::cmp::Reverse(p.bounds_ns().1)),
        }
        pages
    }
}

type Failure = (u16, String);

fn bad(error: impl std::fmt::Display) -> Failure {
    (400, error.to_string())
}

fn ask(store: &Store, case: &Value) -> Result<Value, Failure> {
    let categorize = case["request"]["headers"]
        .as_object()
        .is_some_and(|h| h.values().any(|v| v == "categorize-labels"));
    answer_data(store, case).map(|data| render(data, categorize))
}

fn answer_data(store: &Store, case: &Value) -> Result<Data, Failure> {
    let request = &case["request"];
    let given: BTreeMap<&str, &str> = request["params"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p[0].as_str().unwrap(), p[1].as_str().unwrap()))
        .collect();
    let get = |name: &str| given.get(name).copied();
    let query = get("query").unwrap_or("");
    let categorize = request["headers"]
        .as_object()
        .is_some_and(|h| h.values().any(|v| v == "categorize-labels"));
    let base = Params {
        categorize_labels: categorize,
        now_ns: NOW_NS,
        ..Params::default()
    };
    let instant = request["path"].as_str().unwrap().ends_with("/query");
    let (expr, params) = if instant {
        let asked = InstantParams::parse(get, NOW_NS).map_err(bad)?;
        let expr = parse(query).map_err(bad)?;
        check_query_length(&expr, asked.time_ns, asked.time_ns, MAX_QUERY_LENGTH_NS)
            .map_err(bad)?;
        let params = Params {
            start_ns: asked.time_ns,
            end_ns: asked.time_ns,
            limit: asked.limit,
            direction: asked.direction,
            ..base
        };
        (expr, params)
    } else {
        let asked = RangeParams::parse(get, NOW_NS).map_err(bad)?;
        let expr = parse(query).map_err(bad)?;
        if expr.is_log() {
            check_entries_limit(asked.limit, MAX_ENTRIES).map_err(bad)?;
        }
        check_query_length(&expr, asked.start_ns, asked.end_ns, MAX_QUERY_LENGTH_NS)
            .map_err(bad)?;
        let params = Params {
            start_ns: asked.start_ns,
            end_ns: asked.end_ns,
            step_ns: asked.step_ns,
            interval_ns: asked.interval_ns,
            limit: asked.limit,
            direction: asked.direction,
            instant: false,
            ..base
        };
        (expr, params)
    };
    let failed = |e: logql::Error| (e.status(), e.to_string());
    let mut plan = Plan::new(expr, params).map_err(failed)?;
    for (index, select) in plan.selects().iter().enumerate() {
        for page in store.select(select) {
            if plan.push(index, &page).map_err(failed)? == ControlFlow::Break(()) {
                break;
            }
        }
    }
    let answer = plan.finish().map_err(failed)?;
    Ok(answer.data)
}

fn object(labels: &LabelSet) -> Value {
    labels
        .iter()
        .map(|(n, v)| (n.to_owned(), Value::from(v)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn render(data: Data, categorize: bool) -> Value {
    let seconds = |ns: i64| json!(ns as f64 / 1e9);
    let (kind, result): (_, Vec<Value>) = match data {
        Data::Streams(streams) => {
            let all = streams.iter().map(|s| {
                let values: Vec<_> = s
                    .entries
                    .iter()
                    .map(|e| match &e.categories {
                        None => json!([e.t_ns.to_string(), e.line]),
                        Some(c) => {
                            let mut third = serde_json::Map::new();
                            for (name, set) in [
                                ("structuredMetadata", &c.structured_metadata),
                                ("parsed", &c.parsed),
                            ] {
                                if !set.is_empty() {
                                    third.insert(name.to_owned(), object(set));
                                }
                            }
                            json!([e.t_ns.to_string(), e.line, third])
                        }
                    })
                    .collect();
                json!({"stream": object(&s.labels), "values": values})
            });
            let mut data = json!({"resultType": "streams", "result": all.collect::<Vec<_>>()});
            if categorize {
                data["encodingFlags"] = json!(["categorize-labels"]);
            }
            return json!({"status": "success", "data": data});
        }
        Data::Vector(t, vector) => {
            let all = vector.iter().map(|(labels, v)| {
                json!({"metric": object(labels), "value": [seconds(t), format_value(*v)]})
            });
            ("vector", all.collect())
        }
        Data::Matrix(matrix) => {
            let all = matrix.iter().map(|s| {
                let points: Vec<_> = s
                    .points
                    .iter()
                    .map(|(t, v)| json!([seconds(*t), format_value(*v)]))
                    .collect();
                json!({"metric": object(&s.labels), "values": points})
            });
            ("matrix", all.collect())
        }
        Data::Scalar(t, v) => ("scalar", vec![json!(t / 1_000_000), json!(format_value(v))]),
    };
    json!({"status": "success", "data": {"resultType": kind, "result": result}})
}

fn numbers_agree(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-10 * a.abs().max(b.abs()) + 1e-12
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.to_string().parse().ok(),
        Value::String(s) => match s.as_str() {
            "+Inf" => Some(f64::INFINITY),
            "-Inf" => Some(f64::NEG_INFINITY),
            s => s.parse().ok(),
        },
        _ => None,
    }
}

/// Whether two results are equal; values of samples and times may differ by rounding.
fn agree(a: &Value, b: &Value, numeric: bool) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len()
                && x.iter().all(|(k, v)| {
                    let numeric =
                        matches!(k.as_str(), "value" | "values") && x.contains_key("metric");
                    y.get(k).is_some_and(|w| agree(v, w, numeric))
                })
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(v, w)| agree(v, w, numeric))
        }
        (Value::Number(_), Value::Number(_)) => {
            numbers_agree(as_number(a).unwrap(), as_number(b).unwrap())
        }
        (Value::String(_), Value::String(_)) if numeric => {
            a == b
                || as_number(a)
                    .zip(as_number(b))
                    .is_some_and(|(x, y)| numbers_agree(x, y))
        }
        _ => a == b,
    }
}

fn key(series: &Value) -> String {
    let labels = series.get("stream").or_else(|| series.get("metric"));
    let sorted: BTreeMap<&String, &Value> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .collect();
    serde_json::to_string(&sorted).unwrap()
}

fn sort_results(answer: &mut Value, keep_order: bool) {
    let streams = answer["data"]["resultType"] == "streams";
    let Some(result) = answer
        .pointer_mut("/data/result")
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    if streams {
        for stream in result.iter_mut() {
            let values = stream["values"].as_array_mut().unwrap();
            values.sort_by_key(|v| (v[0].to_string(), v.to_string()));
        }
    }
    if !keep_order && !result.iter().any(|r| !r.is_object()) {
        result.sort_by_key(key);
    }
}

fn compare(case: &Value, got: Result<Value, Failure>) -> Result<(), String> {
    let expect = &case["expect"];
    let status = match &got {
        Ok(_) => 200,
        Err((status, _)) => u64::from(*status),
    };
    if expect["status"].as_u64() != Some(status) {
        let text = got.err().map_or(String::new(), |(_, text)| text);
        return Err(format!(
            "status {} expected, got {status} {text}",
            expect["status"]
        ));
    }
    let mode = case["compare"].as_str().unwrap_or("loki");
    if mode == "status" {
        return Ok(());
    }
    match got {
        Err((_, text)) => {
            let wanted = expect["text"].as_str().unwrap_or("");
            if mode == "text" && wanted.trim() != text.trim() {
                return Err(format!(
                    "text\n      expected {wanted}\n      got      {text}"
                ));
            }
            Ok(())
        }
        Ok(mut answer) => {
            let mut wanted = expect["json"].clone();
            if let Some(data) = wanted["data"].as_object_mut() {
                data.remove("stats");
            }
            let ordered = mode == "promql_ordered";
            sort_results(&mut answer, ordered);
            sort_results(&mut wanted, ordered);
            if agree(&wanted, &answer, false) {
                return Ok(());
            }
            Err(first_difference(&wanted, &answer))
        }
    }
}

fn first_difference(wanted: &Value, got: &Value) -> String {
    let empty = Vec::new();
    let list = |v: &Value| v["data"]["result"].as_array().unwrap_or(&empty).clone();
    let (w, g) = (list(wanted), list(got));
    for (a, b) in w.iter().zip(&g) {
        if !agree(a, b, false) {
            let short = |v: &Value| v.to_string().chars().take(420).collect::<String>();
            return format!(
                "{} and {} results\n      expected {}\n      got      {}",
                w.len(),
                g.len(),
                short(a),
                short(b)
            );
        }
    }
    format!("{} results expected, got {}", w.len(), g.len())
}

#[test]
fn answers_equal_lokis() {
    let Some(folder) = folder() else {
        println!("skipped: no recordings");
        return;
    };
    let store = load(&folder);
    let verbose = std::env::var("LOGQL_VERBOSE").unwrap_or_default();
    let mut below = Vec::new();
    for (name, floor) in FLOORS {
        let cases = lines(&folder, name);
        let mut equal = 0;
        for case in &cases {
            match compare(case, ask(&store, case)) {
                Ok(()) => equal += 1,
                Err(why) => {
                    if verbose == "all" || verbose == name {
                        let query = case["request"]["params"]
                            .as_array()
                            .and_then(|p| p.iter().find(|p| p[0] == "query"))
                            .map_or("", |p| p[1].as_str().unwrap_or(""));
                        println!("  {} {query}\n    {why}", case["id"]);
                    }
                }
            }
        }
        println!("{name}: {equal}/{} equal", cases.len());
        if equal < floor {
            below.push(format!("{name}: {equal} < {floor}"));
        }
    }
    assert!(below.is_empty(), "{below:?}");
}

#[test]
fn queries_are_formatted_as_lokis() {
    let Some(folder) = folder() else {
        println!("skipped: no recordings");
        return;
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in lines(&folder, "endpoints") {
        if !case["request"]["path"]
            .as_str()
            .unwrap()
            .ends_with("/format_query")
        {
            continue;
        }
        let params = case["request"]["params"].as_array().unwrap();
        let query = params
            .iter()
            .find(|p| p[0] == "query")
            .map_or("", |p| p[1].as_str().unwrap());
        let answer = match parse(query) {
            Ok(expr) => json!({"status": "success", "data": logql::pretty(&expr)}),
            Err(e) => json!({"status": "invalid-query", "error": e.to_string()}),
        };
        count += 1;
        if case["expect"]["json"] != answer {
            wrong.push(format!(
                "{}\n{}\n{answer}",
                case["id"], case["expect"]["json"]
            ));
        }
    }
    println!("format_query: {}/{count} equal", count - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The fields and their values, as `detected_fields` and `detected_field/{name}/values` answer them.
#[test]
fn fields_are_detected_as_by_loki() {
    let Some(folder) = folder() else {
        println!("skipped: no recordings");
        return;
    };
    let store = load(&folder);
    let (mut count, mut wrong) = (0, Vec::new());
    for case in lines(&folder, "endpoints") {
        let path = case["request"]["path"].as_str().unwrap().to_owned();
        let expected = &case["expect"];
        if !path.contains("/detected_field")
            || expected["status"] != 200
            || expected["json"].is_null()
        {
            continue;
        }
        count += 1;
        let mut streams = json!({"request": case["request"].clone()});
        let given = case["request"]["params"].as_array().unwrap().clone();
        let mut params: Vec<Value> = given
            .iter()
            .filter(|p| p[0] != "line_limit")
            .cloned()
            .collect();
        let line_limit = given
            .iter()
            .find(|p| p[0] == "line_limit")
            .map_or("100", |p| p[1].as_str().unwrap());
        params.push(json!(["limit", line_limit]));
        streams["request"]["params"] = json!(params);
        streams["request"]["path"] = json!("/query_range");
        streams["request"]["headers"] = json!({"x": "categorize-labels"});
        let Ok(Data::Streams(answer)) = answer_data(&store, &streams) else {
            panic!("{}: no streams", case["id"]);
        };
        let got = match path.split('/').rev().nth(1) {
            Some(name) if path.ends_with("/values") => {
                let values = logql::detected_field_values(&answer, name, 1000);
                if values.is_empty() {
                    json!({})
                } else {
                    json!({"limit": 1000, "values": values})
                }
            }
            _ => {
                let fields: Vec<_> = logql::detected_fields(&answer, 1000)
                    .into_iter()
                    .map(|f| {
                        let parsers = if f.parsers.is_empty() {
                            Value::Null
                        } else {
                            json!(f.parsers)
                        };
                        let mut field = json!({"label": f.label, "type": f.field_type.as_str(),
                            "cardinality": f.cardinality, "parsers": parsers});
                        if !f.json_path.is_empty() {
                            field["jsonPath"] = json!(f.json_path);
                        }
                        field
                    })
                    .collect();
                if fields.is_empty() {
                    json!({})
                } else {
                    json!({"fields": fields, "limit": 1000})
                }
            }
        };
        let (got, wanted) = (bag(&got), bag(&expected["json"]));
        if !agree(&wanted, &got, false) {
            wrong.push(format!("{} {path}\n  {wanted}\n  {got}", case["id"]));
        }
    }
    println!("detected fields: {}/{count} equal", count - wrong.len());
    if !std::env::var("LOGQL_VERBOSE")
        .unwrap_or_default()
        .is_empty()
    {
        println!("{}", wrong.join("\n"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every list in one order.
fn bag(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(bag).collect();
            items.sort_by_key(Value::to_string);
            items.into()
        }
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().map(|(k, v)| (k.clone(), bag(v))).collect();
            sorted.into_iter().collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}
