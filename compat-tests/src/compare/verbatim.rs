//! Prometheus's query answers to the last character: texts of errors and annotations too.

use serde_json::Value;

use super::value::{canonical, keyed, walk};

/// What of an answer differs; shrinking keeps to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The status code, or whether there is an answer at all.
    Status,
    /// The kind of the error.
    ErrorType,
    /// The error's text alone.
    ErrorText,
    /// The type of the result.
    ResultType,
    /// The result.
    Result,
    /// The warnings.
    Warnings,
    /// The infos.
    Infos,
}

/// The first part in which two bodies differ, and how. `ordered` says that a vector's order is promised; a matrix always
/// has one. `same` judges the members of the result.
#[must_use]
pub fn verbatim(
    a: &Value,
    b: &Value,
    ordered: bool,
    same: &dyn Fn(&Value, &Value) -> bool,
) -> Option<(Part, String)> {
    let unlike = |name: &str| {
        let (x, y) = (a.get(name), b.get(name));
        let cut = |v: Option<&Value>| {
            let text = v.map_or("nothing".to_owned(), Value::to_string);
            text.chars().take(400).collect::<String>()
        };
        (x != y).then(|| format!("{name}: {} expected, got {}", cut(x), cut(y)))
    };
    for (part, name) in [
        (Part::Status, "status"),
        (Part::ErrorType, "errorType"),
        (Part::ErrorText, "error"),
    ] {
        if let Some(text) = unlike(name) {
            return Some((part, text));
        }
    }
    let data = |v: &Value, name: &str| v.get("data").and_then(|d| d.get(name)).cloned();
    let kind = |v: &Value| data(v, "resultType").unwrap_or_default();
    let (ka, kb) = (kind(a), kind(b));
    if ka != kb {
        return Some((
            Part::ResultType,
            format!("resultType: {ka} expected, got {kb}"),
        ));
    }
    let (ra, rb) = (data(a, "result"), data(b, "result"));
    let problem = if ka == "vector" && !ordered {
        let key = |s: &Value| canonical(s.get("metric").unwrap_or(&Value::Null));
        keyed(ra.as_ref(), rb.as_ref(), "result", &key, &|x, y, p| {
            walk(x, y, p, same)
        })
    } else {
        let (ra, rb) = (ra.unwrap_or_default(), rb.unwrap_or_default());
        walk(&ra, &rb, "result", same)
    };
    if let Some(text) = problem {
        return Some((Part::Result, text));
    }
    [(Part::Warnings, "warnings"), (Part::Infos, "infos")]
        .into_iter()
        .find(|(_, name)| annotations(a, name) != annotations(b, name))
        .and_then(|(part, name)| Some((part, unlike(name)?)))
}

/// Annotations are a set, of which upstream shows ten, picked at random: where it left some out, only how many counts.
fn annotations(v: &Value, name: &str) -> Vec<String> {
    let list = v.get(name).and_then(Value::as_array);
    let mut texts: Vec<String> = list.into_iter().flatten().map(Value::to_string).collect();
    texts.sort();
    match texts
        .iter()
        .position(|text| text.contains("annotations omitted"))
    {
        Some(at) => vec![texts.swap_remove(at), texts.len().to_string()],
        None => texts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(a: &Value, b: &Value, ordered: bool) -> Option<Part> {
        verbatim(a, b, ordered, &|x, y| x == y).map(|(part, _)| part)
    }

    #[test]
    fn the_first_part_that_differs_is_told() {
        let error = |kind, text| json!({"status": "error", "errorType": kind, "error": text});
        let one = error("bad_data", "x");
        assert_eq!(part(&one, &one, false), None);
        assert_eq!(
            part(&one, &error("execution", "y"), false),
            Some(Part::ErrorType)
        );
        assert_eq!(
            part(&one, &error("bad_data", "y"), false),
            Some(Part::ErrorText)
        );
        let vector = |order: [u8; 2], infos: Value| {
            let result = order.map(|n| json!({"metric": {"n": n}, "value": [1, "2"]}));
            json!({"status": "success", "data": {"resultType": "vector", "result": result}, "infos": infos})
        };
        let two = vector([1, 2], json!(["i", "j"]));
        assert_eq!(part(&two, &vector([2, 1], json!(["j", "i"])), false), None);
        assert_eq!(
            part(&two, &vector([2, 1], json!(["i", "j"])), true),
            Some(Part::Result)
        );
        assert_eq!(
            part(&two, &vector([1, 2], json!(["i"])), true),
            Some(Part::Infos)
        );
    }
}
