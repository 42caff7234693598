//! Comparing JSON values member by member, with a tolerance for numbers or without.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::number::same_number;

/// The first difference with a tolerance: numbers and texts that hold numbers are the same within a
/// tiny error.
#[must_use]
pub fn close(a: &Value, b: &Value, path: &str) -> Option<String> {
    walk(a, b, path, &|a, b| same_number(a, b))
}

/// The first difference without a tolerance: `1`, `"1"` and `true` differ; `1` and `1.0` do not.
#[must_use]
pub fn strict(a: &Value, b: &Value, path: &str) -> Option<String> {
    walk(a, b, path, &|a, b| match (a, b) {
        (Value::Number(x), Value::Number(y)) => number_text(x) == number_text(y),
        _ => a == b,
    })
}

pub(super) fn walk(
    a: &Value,
    b: &Value,
    path: &str,
    same: &dyn Fn(&Value, &Value) -> bool,
) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            keys.into_iter().find_map(|k| match (x.get(k), y.get(k)) {
                (Some(v), Some(w)) => walk(v, w, &format!("{path}.{k}"), same),
                (None, _) => Some(format!("{path}.{k}: not in the upstream's answer")),
                (_, None) => Some(format!("{path}.{k}: missing")),
            })
        }
        (Value::Array(x), Value::Array(y)) => {
            if x.len() != y.len() {
                return Some(format!(
                    "{path}: length {} expected, got {}",
                    x.len(),
                    y.len()
                ));
            }
            let mut pairs = x.iter().zip(y).enumerate();
            pairs.find_map(|(i, (v, w))| walk(v, w, &format!("{path}[{i}]"), same))
        }
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => {
            Some(unlike(a, b, path))
        }
        _ => (!same(a, b)).then(|| unlike(a, b, path)),
    }
}

fn unlike(a: &Value, b: &Value, path: &str) -> String {
    let cut = |v: &Value| v.to_string().chars().take(160).collect::<String>();
    format!("{path}: {} expected, got {}", cut(a), cut(b))
}

/// The value with every list in one order, for answers whose lists are sets.
#[must_use]
pub fn bag(v: Value) -> Value {
    match v {
        Value::Object(m) => Value::Object(m.into_iter().map(|(k, v)| (k, bag(v))).collect()),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(bag).collect();
            items.sort_by_cached_key(canonical);
            Value::Array(items)
        }
        other => other,
    }
}

/// One text for one value: members sorted, numbers in one spelling.
#[must_use]
pub fn canonical(v: &Value) -> String {
    fn sorted(v: &Value) -> Value {
        match v {
            Value::Object(m) => {
                let mut keys: Vec<&String> = m.keys().collect();
                keys.sort();
                Value::Object(
                    keys.into_iter()
                        .map(|k| (k.clone(), sorted(&m[k])))
                        .collect::<Map<_, _>>(),
                )
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            Value::Number(n) => serde_json::from_str(&number_text(n)).unwrap_or_else(|_| v.clone()),
            other => other.clone(),
        }
    }
    sorted(v).to_string()
}

/// `3`, `3.0` and `3e0` are one number in JSON and get one text; integers keep all digits.
fn number_text(n: &Number) -> String {
    let text = n.to_string();
    if !text.contains(['.', 'e', 'E']) {
        return text;
    }
    match text.parse::<f64>() {
        Ok(0.0) => "0".to_owned(),
        Ok(x) => format!("{x}"),
        Err(_) => text,
    }
}

/// Removes what a dotted path names; it goes through lists, and `*` stands for any member.
pub fn drop_path(v: &mut Value, dotted: &str) {
    let (head, rest) = dotted.split_once('.').unwrap_or((dotted, ""));
    match v {
        Value::Array(items) => items.iter_mut().for_each(|x| drop_path(x, dotted)),
        Value::Object(members) => {
            if rest.is_empty() {
                members.shift_remove(head);
            } else if let Some(inner) = members.get_mut(head) {
                drop_path(inner, rest);
            } else if head == "*" {
                members.values_mut().for_each(|x| drop_path(x, rest));
            }
        }
        _ => {}
    }
}

/// Compares two lists whose entries are known by a key, in any order.
pub(super) fn keyed(
    a: Option<&Value>,
    b: Option<&Value>,
    path: &str,
    key: &dyn Fn(&Value) -> String,
    inner: &dyn Fn(&Value, &Value, &str) -> Option<String>,
) -> Option<String> {
    let null = Value::Null;
    let (a, b) = (a.unwrap_or(&null), b.unwrap_or(&null));
    let known = |v: &Value| {
        let mut out = std::collections::BTreeMap::new();
        for item in v.as_array().into_iter().flatten() {
            let k = key(item);
            if out.insert(k.clone(), item.clone()).is_some() {
                return Err(k);
            }
        }
        Ok(out)
    };
    let cut = |s: &str| s.chars().take(200).collect::<String>();
    let Ok(ours) = known(a) else {
        return close(a, b, path);
    };
    let theirs = match known(b) {
        Ok(map) => map,
        Err(k) => return Some(format!("{path}: twice {}", cut(&k))),
    };
    let mut missing = ours.keys().filter(|k| !theirs.contains_key(*k));
    if let Some(first) = missing.next() {
        return Some(format!(
            "{path}: missing {} (+{})",
            cut(first),
            missing.count()
        ));
    }
    let mut extra = theirs.keys().filter(|k| !ours.contains_key(*k));
    if let Some(first) = extra.next() {
        return Some(format!("{path}: extra {} (+{})", cut(first), extra.count()));
    }
    ours.iter()
        .find_map(|(k, x)| inner(x, &theirs[k], &format!("{path}{{{}}}", cut(k))))
}
