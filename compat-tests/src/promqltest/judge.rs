//! Judges an answer of the query API by what a script expects.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::histogram::FloatHistogram;
use super::script::{Eval, Labels, Text, Value, When};

const EPSILON: f64 = 1e-6;

/// Equal within a relative 1e-6 (difference over the sum of magnitudes).
pub(super) fn almost(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

/// One sample of an answer.
#[derive(Debug, Clone)]
pub(super) enum Sample {
    Float(f64),
    Histogram(Json),
}

/// A result, whatever its type.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Scalar(f64),
    String(String),
    /// Series in the answer's order, each with its samples by time in ms.
    Vector(Vec<(Labels, BTreeMap<i64, Sample>)>),
    Matrix(Vec<(Labels, BTreeMap<i64, Sample>)>),
}

/// The texts of a list of annotations.
pub(super) fn annotations(answer: &Json, name: &str) -> Vec<String> {
    let list = answer.get(name).and_then(Json::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

fn float(v: &Json) -> Result<f64, String> {
    let text = v.as_str().ok_or_else(|| format!("{v} is no value"))?;
    text.parse().map_err(|_| format!("{text:?} is no value"))
}

fn time_ms(v: &Json) -> Result<i64, String> {
    let seconds: f64 = v
        .to_string()
        .parse()
        .map_err(|_| format!("{v} is no time"))?;
    Ok((seconds * 1000.0).round() as i64)
}

/// Reads `data` of a successful answer.
pub(super) fn outcome(answer: &Json) -> Result<Outcome, String> {
    let data = answer.get("data").ok_or("no data")?;
    let kind = data.get("resultType").and_then(Json::as_str).unwrap_or("");
    let result = data.get("result").ok_or("no result")?;
    let pair = |v: &Json| -> Result<(i64, Json), String> {
        match v.as_array().map(Vec::as_slice) {
            Some([t, v]) => Ok((time_ms(t)?, v.clone())),
            _ => Err(format!("{v} is no sample")),
        }
    };
    match kind {
        "scalar" => return Ok(Outcome::Scalar(float(&pair(result)?.1)?)),
        "string" => {
            let (_, v) = pair(result)?;
            return Ok(Outcome::String(v.as_str().unwrap_or_default().to_owned()));
        }
        _ => {}
    }
    let mut series = Vec::new();
    for entry in result.as_array().ok_or("result is no list")? {
        let metric = entry.get("metric").cloned().unwrap_or_default();
        let labels: Labels = serde_json::from_value(metric).map_err(|e| e.to_string())?;
        let mut samples = BTreeMap::new();
        let list = |name: &str| entry.get(name).and_then(Json::as_array).cloned();
        let one = |name: &str| entry.get(name).map(|v| vec![v.clone()]);
        for v in list("values").or(one("value")).unwrap_or_default() {
            let (t, v) = pair(&v)?;
            samples.insert(t, Sample::Float(float(&v)?));
        }
        for v in list("histograms").or(one("histogram")).unwrap_or_default() {
            let (t, v) = pair(&v)?;
            if samples.insert(t, Sample::Histogram(v)).is_some() {
                return Err(format!("{labels:?} has a float and a histogram at {t}"));
            }
        }
        series.push((labels, samples));
    }
    match kind {
        "vector" => Ok(Outcome::Vector(series)),
        "matrix" => Ok(Outcome::Matrix(series)),
        other => Err(format!("resultType {other:?}")),
    }
}

/// Whether an annotation or error text fits what a script says.
fn fits(text: &Text, got: &str) -> bool {
    match text {
        Text::Any => true,
        Text::Message(message) => message == got,
        Text::Pattern(pattern) => regex::Regex::new(pattern).is_ok_and(|r| r.is_match(got)),
    }
}

/// Judges the answer's outcome (failure or not) and annotations; `Ok(false)` where the query failed
/// as it should and there is no result to look at.
pub(super) fn reception(eval: &Eval, answer: &Json) -> Result<bool, String> {
    if answer.get("status").and_then(Json::as_str) != Some("success") {
        let error = answer
            .get("error")
            .and_then(Json::as_str)
            .unwrap_or("an unknown answer");
        if eval.fail.is_empty() {
            return Err(format!("failed: {error}"));
        }
        // The API names the parameter in front of what the engine says.
        let plain = error
            .strip_prefix("invalid parameter \"query\": ")
            .unwrap_or(error);
        if eval.fail.iter().all(|t| fits(t, plain) || fits(t, error)) {
            return Ok(false);
        }
        return Err(format!("fails with {error:?}, not with {:?}", eval.fail));
    }
    if !eval.fail.is_empty() {
        return Err("should fail".to_owned());
    }
    for (name, wanted, none) in [
        ("warnings", &eval.warn, eval.no_warn),
        ("infos", &eval.info, eval.no_info),
    ] {
        let got = annotations(answer, name);
        if none && !got.is_empty() {
            return Err(format!("unexpected {name}: {got:?}"));
        }
        if wanted.is_empty() {
            continue;
        }
        if let Some(other) = got.iter().find(|g| !wanted.iter().any(|w| fits(w, g))) {
            return Err(format!("{name}: {other:?} fits none of {wanted:?}"));
        }
        if let Some(missing) = wanted.iter().find(|w| !got.iter().any(|g| fits(w, g))) {
            return Err(format!("{name}: nothing fits {missing:?} in {got:?}"));
        }
    }
    Ok(true)
}

/// Judges a result.
pub(super) fn result(eval: &Eval, outcome: &Outcome) -> Result<(), String> {
    if let Some(wanted) = &eval.string {
        return match outcome {
            Outcome::String(got) if got == wanted => Ok(()),
            other => Err(format!("string {wanted:?} expected, got {other:?}")),
        };
    }
    if let Some(wanted) = eval.scalar {
        return match outcome {
            Outcome::Scalar(got) if almost(wanted, *got) => Ok(()),
            other => Err(format!("scalar {wanted} expected, got {other:?}")),
        };
    }
    match (outcome, eval.when) {
        (Outcome::Vector(series), When::Instant { .. }) => vector(eval, series),
        (
            Outcome::Matrix(series),
            When::Range {
                start_ms, step_ms, ..
            },
        ) => {
            if let Some(pair) = series.windows(2).find(|p| !label_order(&p[0].0, &p[1].0)) {
                return Err(format!("{:?} before {:?}", pair[0].0, pair[1].0));
            }
            matrix(eval, series, start_ms, step_ms)
        }
        (Outcome::Matrix(series), When::Instant { .. }) => match eval.range_vector {
            Some(When::Range {
                start_ms, step_ms, ..
            }) => matrix(eval, series, start_ms, step_ms),
            _ => Err("a range vector, which was not expected".to_owned()),
        },
        (other, _) => Err(format!("unexpected {other:?}")),
    }
}

/// Whether two label sets stand in the order of sorted answers: by name, then value, pair by pair.
fn label_order(a: &Labels, b: &Labels) -> bool {
    a.iter().le(b.iter())
}

fn vector(eval: &Eval, series: &[(Labels, BTreeMap<i64, Sample>)]) -> Result<(), String> {
    let mut seen = vec![false; eval.series.len()];
    for (position, (labels, samples)) in series.iter().enumerate() {
        let found = eval
            .series
            .iter()
            .enumerate()
            .find(|(i, (wanted, _))| wanted == labels && !seen[*i]);
        let Some((i, (_, values))) = found else {
            return Err(format!(
                "unexpected {} {:?}",
                show(labels),
                samples.values().next()
            ));
        };
        seen[i] = true;
        if eval.ordered && i != position {
            return Err(format!("{} at position {position}, not {i}", show(labels)));
        }
        match (values.first(), samples.values().next()) {
            (Some(wanted), Some(got)) => {
                same(wanted, got).map_err(|e| format!("{}: {e}", show(labels)))?;
            }
            other => return Err(format!("{}: {other:?}", show(labels))),
        }
    }
    match seen.iter().position(|s| !s) {
        Some(i) => Err(format!("missing {}", show(&eval.series[i].0))),
        None => Ok(()),
    }
}

fn matrix(
    eval: &Eval,
    series: &[(Labels, BTreeMap<i64, Sample>)],
    start_ms: i64,
    step_ms: i64,
) -> Result<(), String> {
    let mut seen = vec![false; eval.series.len()];
    for (labels, samples) in series {
        let found = eval.series.iter().position(|(wanted, _)| wanted == labels);
        let Some(i) = found else {
            return Err(format!(
                "unexpected {} {:?}",
                show(labels),
                samples.iter().next()
            ));
        };
        seen[i] = true;
        let wanted: BTreeMap<i64, &Value> = eval.series[i]
            .1
            .iter()
            .enumerate()
            .filter(|(_, v)| **v != Value::Omitted)
            .map(|(k, v)| (start_ms + step_ms * i64::try_from(k).unwrap_or(0), v))
            .collect();
        if let Some((t, v)) = wanted.iter().find(|(t, _)| !samples.contains_key(t)) {
            return Err(format!(
                "{} at {t}: {v:?} expected, got nothing",
                show(labels)
            ));
        }
        for (t, got) in samples {
            match wanted.get(t) {
                Some(wanted) => {
                    same(wanted, got).map_err(|e| format!("{} at {t}: {e}", show(labels)))?;
                }
                None => return Err(format!("{} at {t}: unexpected {got:?}", show(labels))),
            }
        }
    }
    let any = |(_, values): &(Labels, Vec<Value>)| values.iter().any(|v| *v != Value::Omitted);
    match seen
        .iter()
        .zip(&eval.series)
        .find(|(s, wanted)| !**s && any(wanted))
    {
        Some((_, (labels, _))) => Err(format!("missing {}", show(labels))),
        None => Ok(()),
    }
}

fn show(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn same(wanted: &Value, got: &Sample) -> Result<(), String> {
    match (wanted, got) {
        (Value::Float(a), Sample::Float(b)) if almost(*a, *b) => Ok(()),
        (Value::Histogram(h), Sample::Histogram(json)) => histogram(h, json),
        (wanted, got) => Err(format!("{wanted:?} expected, got {got:?}")),
    }
}

/// Compares with the API's rendering: count, sum and the buckets that hold something. Schema and
/// hints do not travel.
fn histogram(wanted: &FloatHistogram, json: &Json) -> Result<(), String> {
    for (name, value) in [("count", wanted.count), ("sum", wanted.sum)] {
        let got = float(json.get(name).unwrap_or(&Json::Null))?;
        if !almost(value, got) {
            return Err(format!("histogram's {name}: {value} expected, got {got}"));
        }
    }
    let buckets = wanted.buckets();
    let got = json
        .get("buckets")
        .and_then(Json::as_array)
        .cloned()
        .unwrap_or_default();
    let wrong = || format!("buckets {buckets:?} expected, got {got:?}");
    if buckets.len() != got.len() {
        return Err(wrong());
    }
    for (bucket, json) in buckets.iter().zip(&got) {
        let part = |i: usize| json.get(i).ok_or_else(wrong);
        let rule = part(0)?.as_u64().ok_or_else(wrong)?;
        let numbers = [(1, bucket.lower), (2, bucket.upper), (3, bucket.count)];
        for (i, value) in numbers {
            if !almost(value, float(part(i)?)?) {
                return Err(wrong());
            }
        }
        if rule != u64::from(bucket.rule) {
            return Err(wrong());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promqltest::script::{Action, parse};
    use serde_json::json;

    fn judge(script: &str, answer: &Json) -> Result<(), String> {
        let Action::Eval(eval) = parse(script).unwrap().remove(0).action else {
            panic!()
        };
        if reception(&eval, answer)? {
            result(&eval, &outcome(answer)?)?;
        }
        Ok(())
    }

    fn vector_of(entries: Json) -> Json {
        json!({"status": "success", "data": {"resultType": "vector", "result": entries}})
    }

    #[test]
    fn values_agree_within_a_millionth() {
        assert!(almost(1.0, 1.000_000_5));
        assert!(!almost(1.0, 1.000_01));
        assert!(!almost(0.0, 1e-9));
        assert!(almost(f64::NAN, f64::NAN) && !almost(f64::NAN, 0.0));
        assert!(almost(f64::INFINITY, f64::INFINITY) && !almost(f64::INFINITY, 1.0));
    }

    #[test]
    fn a_vector_has_the_expected_series_and_no_other() {
        let got = vector_of(json!([
            {"metric": {"a": "2"}, "value": [3000, "2"]}, {"metric": {"a": "1"}, "value": [3000, "1"]}]));
        let script = "eval instant at 50m x\n {a=\"1\"} 1\n {a=\"2\"} 2\n";
        assert_eq!(judge(script, &got), Ok(()));
        assert!(judge(&format!("{script} expect ordered\n"), &got).is_err());
        assert!(
            judge("eval instant at 50m x\n {a=\"1\"} 1\n", &got)
                .unwrap_err()
                .contains("unexpected")
        );
        assert!(
            judge(&format!("{script} {{a=\"3\"}} 1\n"), &got)
                .unwrap_err()
                .contains("missing")
        );
    }

    #[test]
    fn a_matrix_has_values_at_its_steps_and_is_sorted() {
        let got = |first: &str, second: &str| {
            json!({"status": "success", "data": {"resultType": "matrix", "result": [
                {"metric": {"a": first}, "values": [[0, "1"], [120, "3"]]},
                {"metric": {"a": second}, "values": [[0, "1"], [120, "3"]]}]}})
        };
        let script = "eval range from 0 to 2m step 1m x\n {a=\"1\"} 1 _ 3\n {a=\"2\"} 1 _ 3\n";
        assert_eq!(judge(script, &got("1", "2")), Ok(()));
        assert!(judge(script, &got("2", "1")).is_err());
        assert!(judge(&script.replace("1 _ 3", "1 2 3"), &got("1", "2")).is_err());
    }

    #[test]
    fn failures_and_annotations_must_fit() {
        let failed = json!({"status": "error", "errorType": "execution", "error": "it broke"});
        assert_eq!(
            judge("eval instant at 0 x\n expect fail msg: it broke\n", &failed),
            Ok(())
        );
        assert!(judge("eval instant at 0 x\n expect fail msg: other\n", &failed).is_err());
        assert!(judge("eval instant at 0 x\n", &failed).is_err());
        let mut warned = vector_of(json!([]));
        warned["warnings"] = json!(["PromQL warning: a"]);
        assert_eq!(
            judge(
                "eval instant at 0 x\n expect warn regex: warning.*a\n",
                &warned
            ),
            Ok(())
        );
        assert!(judge("eval instant at 0 x\n expect no_warn\n", &warned).is_err());
        assert!(judge("eval instant at 0 x\n expect warn msg: b\n", &warned).is_err());
        assert!(judge("eval instant at 0 x\n expect info\n", &warned).is_err());
    }

    #[test]
    fn histograms_compare_bucket_by_bucket() {
        let got = |count: &str| {
            vector_of(
                json!([{"metric": {}, "histogram": [0, {"count": "3", "sum": "5",
                "buckets": [[3, "-0.5", "0.5", "1"], [0, "0.5", "1", count]]}]}]),
            )
        };
        let script =
            "eval instant at 0 x\n {} {{count:3 sum:5 z_bucket:1 z_bucket_w:0.5 buckets:[2 0]}}\n";
        assert_eq!(judge(script, &got("2")), Ok(()));
        assert!(judge(script, &got("2.1")).is_err());
    }
}
