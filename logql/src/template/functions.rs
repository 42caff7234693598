//! The functions that Go's templates have by themselves.

use std::sync::Arc;

use super::printf::sprintf;
use super::value::{Fault, Value};
use super::{Host, url_encode};

type Called = Result<Value, Fault>;

/// Their names.
pub(super) const NAMES: [&str; 19] = [
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "html", "js",
    "urlquery", "call", "eq", "ne", "lt", "le", "gt", "ge",
];

/// Exactly so many arguments.
const fn exactly(want: usize) -> Fault {
    Fault::Count {
        want,
        at_least: false,
    }
}

/// So many arguments or more.
const fn at_least(want: usize) -> Fault {
    Fault::Count {
        want,
        at_least: true,
    }
}

pub(super) fn call(host: &dyn Host, name: &str, values: &[Value]) -> Called {
    let one = || match values {
        [value] => Ok(value),
        _ => Err(exactly(1)),
    };
    let fail = |what: String| Err(Fault::Call(what));
    match name {
        "not" => Ok(Value::Bool(!one()?.is_true())),
        "len" => match one()? {
            Value::Text(text) => Ok(Value::Int(text.len() as i64)),
            Value::List(items) => Ok(Value::Int(items.len() as i64)),
            Value::Map(map) => Ok(Value::Int(map.len() as i64)),
            Value::Texts(texts) => Ok(Value::Int(texts.len() as i64)),
            Value::Data => Ok(Value::Int(host.members().len() as i64)),
            Value::Nil => fail("len of nil pointer".to_owned()),
            other => fail(format!("len of type {}", other.type_name())),
        },
        "index" => {
            let (first, keys) = values.split_first().ok_or(at_least(1))?;
            keys.iter()
                .try_fold(first.clone(), |value, key| index(host, &value, key))
        }
        "slice" => {
            let (first, bounds) = values.split_first().ok_or(at_least(1))?;
            slice(first, bounds)
        }
        "print" => Ok(Value::Text(print(values))),
        "println" => {
            let words: Vec<_> = values.iter().map(shown).collect();
            Ok(Value::Text(words.join(" ") + "\n"))
        }
        "printf" => match values.split_first() {
            Some((Value::Text(format), rest)) => Ok(Value::Text(sprintf(format, rest))),
            Some(_) => Err(Fault::Type {
                at: 0,
                expected: "string",
            }),
            None => Err(at_least(1)),
        },
        "html" => Ok(Value::Text(html(&print(values)))),
        "js" => Ok(Value::Text(js(&print(values)))),
        "urlquery" => Ok(Value::Text(url_encode(&print(values)))),
        "eq" => {
            let (first, rest) = values.split_first().ok_or(at_least(1))?;
            if rest.is_empty() {
                return fail("missing argument for comparison".to_owned());
            }
            for other in rest {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "ne" | "lt" | "le" | "gt" | "ge" => {
            let [a, b] = values else {
                return Err(exactly(2));
            };
            if name == "ne" {
                return equal(a, b).map(|same| Value::Bool(!same));
            }
            let order = match (a, b) {
                (Value::Int(a), Value::Int(b)) => a.partial_cmp(b),
                (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
                (Value::Text(a), Value::Text(b)) => a.partial_cmp(b),
                (Value::Duration(a), Value::Duration(b)) => a.partial_cmp(b),
                (
                    Value::Int(_) | Value::Float(_) | Value::Text(_),
                    Value::Int(_) | Value::Float(_) | Value::Text(_),
                ) => {
                    return fail("incompatible types for comparison".to_owned());
                }
                _ => return fail("invalid type for comparison".to_owned()),
            };
            Ok(Value::Bool(order.is_some_and(|order| match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            })))
        }
        _ => fail("call of non-function".to_owned()),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        other => other.show(),
    }
}

/// Blanks only between two values of which neither is a text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut before_is_text = true;
    for (i, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if i > 0 && !is_text && !before_is_text {
            out.push(' ');
        }
        out.push_str(&shown(value));
        before_is_text = is_text;
    }
    out
}

fn equal(a: &Value, b: &Value) -> Result<bool, Fault> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (Value::Duration(a), Value::Duration(b)) => Ok(a == b),
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        _ => Err(Fault::Call("incompatible types for comparison".to_owned())),
    }
}

fn index(host: &dyn Host, value: &Value, key: &Value) -> Called {
    let fail = |what: String| Err(Fault::Call(what));
    match (value, key) {
        (Value::List(items), Value::Int(i)) => {
            match usize::try_from(*i).ok().and_then(|i| items.get(i)) {
                Some(item) => Ok(item.clone()),
                None => fail(format!("index out of range: {i}")),
            }
        }
        (Value::Text(text), Value::Int(i)) => {
            match usize::try_from(*i)
                .ok()
                .and_then(|i| text.as_bytes().get(i))
            {
                Some(byte) => Ok(Value::Int(i64::from(*byte))),
                None => fail(format!("index out of range: {i}")),
            }
        }
        (Value::Map(map), Value::Text(key)) => Ok(map.get(key).cloned().unwrap_or(Value::Nil)),
        (Value::Texts(texts), Value::Text(key)) => {
            Ok(Value::Text(texts.get(key).cloned().unwrap_or_default()))
        }
        (Value::Data, Value::Text(key)) => Ok(Value::Text(host.member(key))),
        (Value::Nil, _) => fail("index of untyped nil".to_owned()),
        (Value::List(_) | Value::Text(_), other) => fail(format!(
            "cannot index slice/array with type {}",
            other.type_name()
        )),
        (other, _) => fail(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Called {
    let len = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        other => {
            return Err(Fault::Call(format!(
                "can't slice item of type {}",
                other.type_name()
            )));
        }
    };
    let mut ends = [0, len];
    for (end, bound) in ends.iter_mut().zip(bounds) {
        let Value::Int(n) = bound else {
            let what = format!("cannot index slice/array with type {}", bound.type_name());
            return Err(Fault::Call(what));
        };
        *end = usize::try_from(*n)
            .ok()
            .filter(|n| *n <= len)
            .ok_or_else(|| Fault::Call(format!("index out of range: {n}")))?;
    }
    let [start, end] = ends;
    if start > end {
        return Err(Fault::Call(format!("invalid slice index: {start} > {end}")));
    }
    Ok(match value {
        Value::Text(text) => {
            Value::Text(String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned())
        }
        Value::List(items) => Value::List(Arc::new(items[start..end].to_vec())),
        _ => Value::Nil,
    })
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}
