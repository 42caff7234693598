//! Numbers, durations, times and JSON maps as Go reads and prints them: their errors are part of
//! the API's messages.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};

pub(super) fn parse_int(text: &str, bits: u32) -> Result<i64, String> {
    parse_named("ParseInt", text, bits)
}

pub(super) fn atoi(text: &str) -> Result<i64, String> {
    parse_named("Atoi", text, 64)
}

fn parse_named(call: &str, text: &str, bits: u32) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("strconv.{call}: parsing {text:?}: invalid syntax"));
    }
    let range = (1i128 << (bits - 1)) - 1;
    match text.parse::<i128>() {
        Ok(n) if (-range - 1..=range).contains(&n) => Ok(n as i64),
        _ => Err(format!(
            "strconv.{call}: parsing {text:?}: value out of range"
        )),
    }
}

pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

pub(super) fn parse_float(text: &str) -> Result<f64, String> {
    text.parse()
        .map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
}

/// Nanoseconds of a duration such as `1h2m3.5s`.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let mut end = number;
        let mut digits = number;
        if rest[end..].starts_with('.') {
            let after = &rest[end + 1..];
            let fraction =
                after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            digits += fraction;
            end += 1 + fraction;
        }
        if digits == 0 {
            return Err(invalid());
        }
        let value: f64 = rest[..end]
            .trim_end_matches('.')
            .parse()
            .map_err(|_| invalid())?;
        rest = &rest[end..];
        let unit_end = rest
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = &rest[..unit_end];
        rest = &rest[unit_end..];
        total += value
            * match unit {
                "" => return Err(format!("time: missing unit in duration {text:?}")),
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => {
                    return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
                }
            };
    }
    if total > i64::MAX as f64 {
        return Err(invalid());
    }
    let ns = total.round() as i64;
    Ok(if negative { -ns } else { ns })
}

/// A duration as Go prints it: `30.02s`, `60ms`, `1h2m3s`.
pub(super) fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let trimmed = |whole: u64, fraction: u64, digits: usize| {
        let fraction = format!("{fraction:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            whole.to_string()
        } else {
            format!("{whole}.{fraction}")
        }
    };
    let body = match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}µs", trimmed(ns / 1_000, ns % 1_000, 3)),
        1_000_000..1_000_000_000 => {
            format!("{}ms", trimmed(ns / 1_000_000, ns % 1_000_000, 6))
        }
        _ => {
            let (seconds, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let seconds = trimmed(seconds % 60, rest, 9);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, m) => format!("{m}m{seconds}s"),
                (h, m) => format!("{h}h{m}m{seconds}s"),
            }
        }
    };
    format!("{sign}{body}")
}

/// Nanoseconds of an RFC 3339 time. A blank stands for the plus sign that a sender forgot to escape.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    let mended = match text.rfind(' ') {
        Some(at) if at > 10 => format!("{}+{}", &text[..at], &text[at + 1..]),
        _ => text.to_owned(),
    };
    let parsed: Result<DateTime<FixedOffset>, _> = DateTime::parse_from_rfc3339(&mended);
    if let Ok(time) = parsed
        && text.as_bytes().get(10) == Some(&b'T')
    {
        return Ok(time.timestamp_nanos_opt().unwrap_or(i64::MAX));
    }
    let (rest, wanted) = time_fault(text);
    if rest == "Z" && wanted == "Z07:00" {
        // The form is right, so a number in it is not.
        let number = |at: std::ops::Range<usize>| text.get(at).and_then(|n| n.parse::<u32>().ok());
        let out = [
            ("month", number(5..7).is_some_and(|n| (1..=12).contains(&n))),
            ("hour", number(11..13) < Some(24)),
            ("minute", number(14..16) < Some(60)),
            ("second", number(17..19) < Some(60)),
        ];
        let name = out.iter().find(|(_, good)| !good).map_or("day", |(n, _)| n);
        return Err(format!("parsing time {text:?}: {name} out of range"));
    }
    Err(format!(
        "parsing time {text:?} as \"2006-01-02T15:04:05.999999999Z07:00\": cannot parse {rest:?} as {wanted:?}"
    ))
}

/// Where a time stops being one, and what Go wanted there.
fn time_fault(text: &str) -> (&str, &'static str) {
    let steps: [(usize, &str, bool); 11] = [
        (4, "2006", true),
        (1, "-", false),
        (2, "01", true),
        (1, "-", false),
        (2, "02", true),
        (1, "T", false),
        (2, "15", true),
        (1, ":", false),
        (2, "04", true),
        (1, ":", false),
        (2, "05", true),
    ];
    let mut rest = text;
    for (length, wanted, digits) in steps {
        let good = rest.get(..length).is_some_and(|part| {
            if digits {
                part.bytes().all(|b| b.is_ascii_digit())
            } else {
                part == wanted
            }
        });
        if !good {
            return (rest, wanted);
        }
        rest = &rest[length..];
    }
    (rest, "Z07:00")
}

/// A JSON object of texts, or `null`, with the errors of Go's decoder.
pub(super) fn json_map(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut scan = Scan {
        text: text.as_bytes(),
        pos: 0,
        depth: 0,
    };
    scan.value()?;
    scan.space();
    if let Some(c) = scan.peek() {
        return Err(scan.unexpected(c, "after top-level value"));
    }
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|_| "unexpected end of JSON input".to_owned())?;
    let kind = |v: &serde_json::Value| match v {
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        _ => "object",
    };
    match value {
        serde_json::Value::Null => Ok(BTreeMap::new()),
        serde_json::Value::Object(map) => {
            let mut out = BTreeMap::new();
            for (key, value) in map {
                match value {
                    serde_json::Value::String(text) => {
                        out.insert(key, text);
                    }
                    serde_json::Value::Null => {
                        out.insert(key, String::new());
                    }
                    other => {
                        return Err(format!(
                            "json: cannot unmarshal {} into Go value of type string",
                            kind(&other)
                        ));
                    }
                }
            }
            Ok(out)
        }
        other => Err(format!(
            "json: cannot unmarshal {} into Go value of type map[string]string",
            kind(&other)
        )),
    }
}

/// Walks over JSON to say where it stops being JSON.
struct Scan<'a> {
    text: &'a [u8],
    pos: usize,
    depth: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.pos += 1;
        }
    }

    fn unexpected(&self, c: u8, context: &str) -> String {
        let shown = match c {
            b'\'' => "'\\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            c if c.is_ascii() => format!("'{}'", char::from(c).escape_default()),
            c => format!("'{}'", char::from(c)),
        };
        format!("invalid character {shown} {context}")
    }

    fn expect(&mut self, context: &str, wanted: &[u8]) -> Result<u8, String> {
        self.space();
        match self.peek() {
            Some(c) if wanted.contains(&c) => {
                self.pos += 1;
                Ok(c)
            }
            Some(c) => Err(self.unexpected(c, context)),
            None => Err("unexpected end of JSON input".to_owned()),
        }
    }

    fn value(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > 100 {
            return Err("exceeded max depth".to_owned());
        }
        self.space();
        match self.peek() {
            None => return Err("unexpected end of JSON input".to_owned()),
            Some(b'{') => {
                self.pos += 1;
                self.space();
                if self.peek() == Some(b'}') {
                    self.pos += 1;
                } else {
                    loop {
                        self.expect("looking for beginning of object key string", b"\"")?;
                        self.string()?;
                        self.expect("after object key", b":")?;
                        self.value()?;
                        if self.expect("after object key:value pair", b",}")? == b'}' {
                            break;
                        }
                    }
                }
            }
            Some(b'[') => {
                self.pos += 1;
                self.space();
                if self.peek() == Some(b']') {
                    self.pos += 1;
                } else {
                    loop {
                        self.value()?;
                        if self.expect("after array element", b",]")? == b']' {
                            break;
                        }
                    }
                }
            }
            Some(b'"') => {
                self.pos += 1;
                self.string()?;
            }
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            Some(b'-' | b'0'..=b'9') => {
                while matches!(
                    self.peek(),
                    Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
                ) {
                    self.pos += 1;
                }
            }
            Some(c) => return Err(self.unexpected(c, "looking for beginning of value")),
        }
        self.depth -= 1;
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for wanted in word.bytes() {
            match self.peek() {
                Some(c) if c == wanted => self.pos += 1,
                Some(c) => {
                    let context = format!("in literal {word} (expecting '{}')", char::from(wanted));
                    return Err(self.unexpected(c, &context));
                }
                None => return Err("unexpected end of JSON input".to_owned()),
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.peek() {
                None => return Err("unexpected end of JSON input".to_owned()),
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(());
                }
                Some(b'\\') => self.pos += 2,
                Some(c) if c < 0x20 => return Err(self.unexpected(c, "in string literal")),
                Some(_) => self.pos += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_in_go() {
        for (text, ns) in [
            ("1.5s", 1_500_000_000),
            ("30000µs", 30_000_000),
            ("1h2m3s", 3_723_000_000_000),
            ("-1s", -1_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(ns));
        }
        for (text, message) in [
            ("5", "time: missing unit in duration \"5\""),
            ("abc", "time: invalid duration \"abc\""),
            ("5 ms", "time: unknown unit \" ms\" in duration \"5 ms\""),
            ("1.s.", "time: invalid duration \"1.s.\""),
        ] {
            assert_eq!(parse_duration(text), Err(message.to_owned()));
        }
        for (ns, text) in [
            (30_020_000_000, "30.02s"),
            (-60_000_000, "-60ms"),
            (50_500_000, "50.5ms"),
            (0, "0s"),
            (90_000_000_000, "1m30s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn malformed_json_is_described_as_in_go() {
        for (text, message) in [
            (
                "abc",
                "invalid character 'a' looking for beginning of value",
            ),
            ("{\"a\":\"b\"", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            (
                "[\"a\"]",
                "json: cannot unmarshal array into Go value of type map[string]string",
            ),
            (
                "{\"a\":1}",
                "json: cannot unmarshal number into Go value of type string",
            ),
            (
                "{a}",
                "invalid character 'a' looking for beginning of object key string",
            ),
        ] {
            assert_eq!(json_map(text), Err(message.to_owned()), "{text}");
        }
    }
}
