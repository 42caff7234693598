//! Attribute values as text: how they are compared in searches and shown where a column is text.
//! The form is Go's JSON, which Jaeger and the OpenTelemetry Collector use for it.

use super::span::{AnyValue, Attribute};

impl AnyValue {
    /// The value as text: text as it is, `true`, `42`, floats in JSON's shortest form, bytes in base64, lists and maps as
    /// compact JSON with sorted keys; empty for no value. Allocates.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::String(s) => s.clone(),
            Self::Bool(b) => b.to_string(),
            Self::Int(i) => i.to_string(),
            Self::Double(d) => {
                let mut out = String::new();
                push_json_float(&mut out, *d);
                out
            }
            Self::Bytes(b) => {
                let mut out = String::new();
                push_base64(&mut out, b);
                out
            }
            Self::Array(_) | Self::Map(_) => {
                let mut out = String::new();
                push_json(&mut out, self);
                out
            }
        }
    }

    /// Whether [`Self::to_text`] is this text; allocates for lists and maps only.
    #[must_use]
    pub fn text_is(&self, text: &str) -> bool {
        match self {
            Self::Empty => text.is_empty(),
            Self::String(s) => s == text,
            Self::Bool(b) => text == if *b { "true" } else { "false" },
            _ => self.to_text() == text,
        }
    }
}

/// Appends a value as JSON.
fn push_json(out: &mut String, value: &AnyValue) {
    match value {
        AnyValue::Empty => out.push_str("null"),
        AnyValue::String(s) => push_json_string(out, s),
        AnyValue::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        AnyValue::Int(i) => out.push_str(&i.to_string()),
        AnyValue::Double(d) => push_json_float(out, *d),
        AnyValue::Bytes(b) => {
            out.push('"');
            push_base64(out, b);
            out.push('"');
        }
        AnyValue::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_json(out, item);
            }
            out.push(']');
        }
        AnyValue::Map(pairs) => {
            // Of a key that comes twice the last one counts, as in a Go map.
            let mut sorted: Vec<&Attribute> = Vec::with_capacity(pairs.len());
            for pair in pairs {
                match sorted.binary_search_by(|p| p.key.as_str().cmp(&pair.key)) {
                    Ok(at) => sorted[at] = pair,
                    Err(at) => sorted.insert(at, pair),
                }
            }
            out.push('{');
            for (i, pair) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_json_string(out, &pair.key);
                out.push(':');
                push_json(out, &pair.value);
            }
            out.push('}');
        }
    }
}

/// Appends text as a JSON string, escaped as Go's encoder does: `<`, `>`, `&` and the two line
/// separators too.
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a float as Go's JSON encoder writes it; NaN and infinities by name, which JSON has no form for.
pub fn push_json_float(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
        return;
    }
    if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        return;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                out.push_str(digits);
                out.push_str("e+");
                out.push_str(exponent);
            }
            _ => out.push_str(&text),
        }
    } else {
        out.push_str(&value.to_string());
    }
}

fn push_base64(out: &mut String, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let b = [
            chunk[0],
            chunk.get(1).copied().unwrap_or(0),
            chunk.get(2).copied().unwrap_or(0),
        ];
        let n = u32::from(b[0]) << 16 | u32::from(b[1]) << 8 | u32::from(b[2]);
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(ALPHABET[(n >> (18 - 6 * i) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_compare_as_go_writes_them() {
        let pair = |key: &str, value| Attribute {
            key: key.to_owned(),
            value,
        };
        for (value, text) in [
            (AnyValue::Double(3.0), "3"),
            (AnyValue::Double(0.1), "0.1"),
            (AnyValue::Double(1e21), "1e+21"),
            (AnyValue::Double(1.25e-9), "1.25e-9"),
            (AnyValue::Int(i64::MIN), "-9223372036854775808"),
            (AnyValue::Bytes(vec![9]), "CQ=="),
            (
                AnyValue::Bytes(b"\x00\x01\xfe\xff trace".to_vec()),
                "AAH+/yB0cmFjZQ==",
            ),
            (AnyValue::Array(vec![]), "[]"),
            (
                AnyValue::Map(vec![
                    pair(
                        "b",
                        AnyValue::Array(vec![AnyValue::Int(1), AnyValue::Empty]),
                    ),
                    pair("a", AnyValue::String("<".to_owned())),
                ]),
                "{\"a\":\"\\u003c\",\"b\":[1,null]}",
            ),
        ] {
            assert_eq!(value.to_text(), text);
            assert!(value.text_is(text));
        }
    }
}
