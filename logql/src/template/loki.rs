//! Loki's side of templates: the labels of a line as data, and the functions that Loki adds.
//! Source: the documentation of Loki's template functions.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use storage::model::compile_search;

use super::date::Time;
use super::value::{Fault, Value};
use super::{Host, Template, parse, url_encode};
use crate::labels::{LabelBuilder, LabelSet};
use crate::units::{parse_bytes, parse_go_duration};

/// A function may not make a longer text.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// How many regular expressions a template remembers.
const MAX_REGEXES: usize = 64;

type Called = Result<Value, Fault>;

/// A template of `line_format` or `label_format`.
pub(crate) struct LineTemplate {
    template: Template,
    now_ns: i64,
    /// Guards the expressions compiled so far; they are compiled under it.
    regexes: Mutex<HashMap<String, Result<Regex, String>>>,
}

impl LineTemplate {
    /// Parses a template. `name` is what errors call it.
    pub(crate) fn new(name: &str, text: &str, now_ns: i64) -> Result<Self, String> {
        Ok(Self {
            template: Template::parse(name, text, &NAMES)?,
            now_ns,
            regexes: Mutex::new(HashMap::new()),
        })
    }

    /// Runs the template for one line.
    pub(crate) fn run(
        &self,
        t_ns: i64,
        line: &str,
        labels: &LabelBuilder,
    ) -> Result<String, String> {
        self.template.run(&Line {
            template: self,
            t_ns,
            line,
            labels,
        })
    }

    fn regex(&self, pattern: &str) -> Result<Regex, String> {
        let Ok(mut known) = self.regexes.lock() else {
            return compile_search(pattern);
        };
        if let Some(result) = known.get(pattern) {
            return result.clone();
        }
        let result = compile_search(pattern);
        if known.len() < MAX_REGEXES {
            known.insert(pattern.to_owned(), result.clone());
        }
        result
    }
}

/// The labels that a template reads by name; nothing where it may read others, or does not parse.
pub(crate) fn fields(text: &str) -> Option<Vec<String>> {
    let tree = parse::parse("line", text, &NAMES).ok()?;
    let mut names = Vec::new();
    tree.fields(&mut names)?;
    Some(names)
}

/// The line that a template runs for.
struct Line<'a> {
    template: &'a LineTemplate,
    t_ns: i64,
    line: &'a str,
    labels: &'a LabelBuilder,
}

impl Host for Line<'_> {
    fn data(&self) -> Value {
        Value::Data
    }

    fn member(&self, name: &str) -> String {
        self.labels.get(name).unwrap_or("").to_owned()
    }

    fn members(&self) -> Vec<(String, String)> {
        let set = self.labels.iter().collect::<LabelSet>();
        set.iter()
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect()
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Called {
        call(self, name, arguments)
    }
}

/// Names of the functions.
const NAMES: [&str; 67] = [
    "__line__",
    "__timestamp__",
    "now",
    "ToLower",
    "ToUpper",
    "Replace",
    "Trim",
    "TrimLeft",
    "TrimRight",
    "TrimPrefix",
    "TrimSuffix",
    "TrimSpace",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "count",
    "urlencode",
    "urldecode",
    "bytes",
    "duration",
    "duration_seconds",
    "unixEpochMillis",
    "unixEpochNanos",
    "toDateInZone",
    "unixToTime",
    "alignLeft",
    "alignRight",
    "b64enc",
    "lower",
    "upper",
    "title",
    "trunc",
    "substr",
    "contains",
    "hasPrefix",
    "hasSuffix",
    "indent",
    "nindent",
    "replace",
    "repeat",
    "trim",
    "trimAll",
    "trimSuffix",
    "trimPrefix",
    "int",
    "float64",
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "addf",
    "subf",
    "mulf",
    "divf",
    "max",
    "min",
    "maxf",
    "minf",
    "ceil",
    "floor",
    "round",
    "fromJson",
    "date",
    "toDate",
    "unixEpoch",
    "default",
    "b64dec",
];

/// Arguments as the functions want them.
struct Arguments<'a> {
    values: &'a [Value],
}

impl<'a> Arguments<'a> {
    fn exactly(&self, want: usize) -> Result<(), Fault> {
        if self.values.len() == want {
            return Ok(());
        }
        Err(Fault::Count {
            want,
            at_least: false,
        })
    }

    fn text(&self, at: usize) -> Result<&'a str, Fault> {
        match &self.values[at] {
            Value::Text(text) => Ok(text),
            _ => Err(wrong_type(at, "string")),
        }
    }

    fn int(&self, at: usize) -> Result<i64, Fault> {
        match &self.values[at] {
            Value::Int(n) => Ok(*n),
            _ => Err(wrong_type(at, "int")),
        }
    }

    fn time(&self, at: usize) -> Result<&'a Time, Fault> {
        match &self.values[at] {
            Value::Time(time) => Ok(time),
            _ => Err(wrong_type(at, "time.Time")),
        }
    }
}

const fn wrong_type(at: usize, expected: &'static str) -> Fault {
    Fault::Type { at, expected }
}

/// So many arguments or more.
const fn at_least(want: usize) -> Fault {
    Fault::Count {
        want,
        at_least: true,
    }
}

fn call(context: &Line<'_>, name: &str, values: &[Value]) -> Called {
    let a = Arguments { values };
    let text = |text: String| Ok(Value::Text(text));
    let texts = |count: usize| -> Result<(), Fault> { a.exactly(count) };
    match name {
        "__line__" => {
            texts(0)?;
            text(context.line.to_owned())
        }
        "__timestamp__" => {
            texts(0)?;
            Ok(Value::Time(Time::from_ns(context.t_ns)))
        }
        "now" => {
            texts(0)?;
            Ok(Value::Time(Time::from_ns(context.template.now_ns)))
        }
        "ToLower" | "lower" => {
            texts(1)?;
            text(a.text(0)?.to_lowercase())
        }
        "ToUpper" | "upper" => {
            texts(1)?;
            text(a.text(0)?.to_uppercase())
        }
        "title" => {
            texts(1)?;
            text(title(a.text(0)?))
        }
        "Replace" => {
            texts(4)?;
            let (s, old, new, n) = (a.text(0)?, a.text(1)?, a.text(2)?, a.int(3)?);
            replaced(s, old, new, usize::try_from(n).unwrap_or(usize::MAX))
        }
        "replace" => {
            texts(3)?;
            replaced(a.text(2)?, a.text(0)?, a.text(1)?, usize::MAX)
        }
        "Trim" | "TrimLeft" | "TrimRight" => {
            texts(2)?;
            let (s, cutset) = (a.text(0)?, a.text(1)?);
            let cut = |c: char| cutset.contains(c);
            text(
                match name {
                    "Trim" => s.trim_matches(cut),
                    "TrimLeft" => s.trim_start_matches(cut),
                    _ => s.trim_end_matches(cut),
                }
                .to_owned(),
            )
        }
        "trimAll" => {
            texts(2)?;
            let cutset = a.text(0)?;
            text(a.text(1)?.trim_matches(|c| cutset.contains(c)).to_owned())
        }
        "TrimPrefix" | "trimPrefix" | "TrimSuffix" | "trimSuffix" => {
            texts(2)?;
            let (s, part) = if name.starts_with('T') {
                (a.text(0)?, a.text(1)?)
            } else {
                (a.text(1)?, a.text(0)?)
            };
            let cut = if name.ends_with("Prefix") {
                s.strip_prefix(part)
            } else {
                s.strip_suffix(part)
            };
            text(cut.unwrap_or(s).to_owned())
        }
        "TrimSpace" | "trim" => {
            texts(1)?;
            text(a.text(0)?.trim().to_owned())
        }
        "regexReplaceAll" | "regexReplaceAllLiteral" => {
            texts(3)?;
            let regex = context.template.regex(a.text(0)?).map_err(Fault::Call)?;
            let (s, with) = (a.text(1)?, a.text(2)?);
            let (mut out, mut end) = (String::new(), 0);
            for captures in regex.captures_iter(s) {
                let whole = captures.get_match();
                out.push_str(&s[end..whole.start()]);
                end = whole.end();
                if name == "regexReplaceAll" {
                    captures.expand(with, &mut out);
                } else {
                    out.push_str(with);
                }
                if out.len() > MAX_TEXT_BYTES {
                    return Err(too_long());
                }
            }
            out.push_str(&s[end..]);
            bounded(out)
        }
        "count" => {
            texts(2)?;
            let regex = context.template.regex(a.text(0)?).map_err(Fault::Call)?;
            Ok(Value::Int(regex.find_iter(a.text(1)?).count() as i64))
        }
        "urlencode" => {
            texts(1)?;
            text(url_encode(a.text(0)?))
        }
        "urldecode" => {
            texts(1)?;
            url_decode(a.text(0)?).map(Value::Text).map_err(Fault::Call)
        }
        "bytes" => {
            texts(1)?;
            parse_bytes(a.text(0)?)
                .map(|n| Value::Float(n as f64))
                .map_err(Fault::Call)
        }
        "duration" | "duration_seconds" => {
            texts(1)?;
            parse_go_duration(a.text(0)?)
                .map(|ns| Value::Float(ns as f64 / 1e9))
                .map_err(Fault::Call)
        }
        "alignLeft" | "alignRight" => {
            texts(2)?;
            let width = usize::try_from(a.int(0)?).unwrap_or(0).min(MAX_TEXT_BYTES);
            let s = a.text(1)?;
            let len = s.chars().count();
            text(match (name == "alignLeft", len > width) {
                (true, true) => s.chars().take(width).collect(),
                (false, true) => s.chars().skip(len - width).collect(),
                (true, false) => format!("{s:<width$}"),
                (false, false) => format!("{s:>width$}"),
            })
        }
        "b64enc" => {
            texts(1)?;
            text(STANDARD.encode(a.text(0)?))
        }
        "b64dec" => {
            texts(1)?;
            text(base64_decode(a.text(0)?))
        }
        "trunc" => {
            texts(2)?;
            text(truncate(a.int(0)?, a.text(1)?))
        }
        "substr" => {
            texts(3)?;
            substring(a.int(0)?, a.int(1)?, a.text(2)?)
                .map(Value::Text)
                .map_err(Fault::Call)
        }
        "contains" => {
            texts(2)?;
            Ok(Value::Bool(a.text(1)?.contains(a.text(0)?)))
        }
        "hasPrefix" => {
            texts(2)?;
            Ok(Value::Bool(a.text(1)?.starts_with(a.text(0)?)))
        }
        "hasSuffix" => {
            texts(2)?;
            Ok(Value::Bool(a.text(1)?.ends_with(a.text(0)?)))
        }
        "indent" | "nindent" => {
            texts(2)?;
            let n = usize::try_from(a.int(0)?)
                .map_err(|_| Fault::Call("strings: negative Repeat count".to_owned()))?;
            let blanks = " ".repeat(n.min(10_000));
            let Value::Text(body) = replaced(a.text(1)?, "\n", &format!("\n{blanks}"), usize::MAX)?
            else {
                return Err(too_long());
            };
            let newline = if name == "nindent" { "\n" } else { "" };
            bounded(format!("{newline}{blanks}{body}"))
        }
        "repeat" => {
            texts(2)?;
            let n = usize::try_from(a.int(0)?)
                .map_err(|_| Fault::Call("strings: negative Repeat count".to_owned()))?;
            let s = a.text(1)?;
            if s.len().saturating_mul(n) > MAX_TEXT_BYTES {
                return Err(too_long());
            }
            text(s.repeat(n))
        }
        "int" => {
            texts(1)?;
            Ok(Value::Int(to_int(&values[0])))
        }
        "float64" => {
            texts(1)?;
            Ok(Value::Float(to_float(&values[0])))
        }
        "add" => Ok(Value::Int(
            values.iter().map(to_int).fold(0, i64::wrapping_add),
        )),
        "mul" => Ok(Value::Int(
            values.iter().map(to_int).fold(1, i64::wrapping_mul),
        )),
        "sub" | "div" | "mod" => {
            texts(2)?;
            let (x, y) = (to_int(&values[0]), to_int(&values[1]));
            let divided = match name {
                "sub" => return Ok(Value::Int(x.wrapping_sub(y))),
                "div" => x.checked_div(y),
                _ => x.checked_rem(y),
            };
            match divided {
                Some(n) => Ok(Value::Int(n)),
                None if y == 0 => Err(Fault::Call(
                    "runtime error: integer divide by zero".to_owned(),
                )),
                None => Ok(Value::Int(if name == "div" { x } else { 0 })),
            }
        }
        "addf" => Ok(Value::Float(
            values
                .iter()
                .map(to_float)
                .fold(0.0, |x, y| decimal(name, x, y)),
        )),
        "subf" | "mulf" | "divf" => {
            let mut all = values.iter().map(to_float);
            let first = all.next().ok_or(at_least(1))?;
            Ok(Value::Float(all.fold(first, |x, y| decimal(name, x, y))))
        }
        "max" | "min" => {
            let mut all = values.iter().map(to_int);
            let first = all.next().ok_or(at_least(1))?;
            Ok(Value::Int(all.fold(first, |x, y| {
                if name == "max" { x.max(y) } else { x.min(y) }
            })))
        }
        "maxf" | "minf" => {
            let mut all = values.iter().map(to_float);
            let first = all.next().ok_or(at_least(1))?;
            Ok(Value::Float(all.fold(first, |x, y| {
                if name == "maxf" { x.max(y) } else { x.min(y) }
            })))
        }
        "ceil" | "floor" => {
            texts(1)?;
            let x = to_float(&values[0]);
            Ok(Value::Float(if name == "ceil" {
                x.ceil()
            } else {
                x.floor()
            }))
        }
        "round" => {
            if values.len() < 2 {
                return Err(at_least(2));
            }
            let threshold = values.get(2).map_or(0.5, to_float);
            Ok(Value::Float(round(
                to_float(&values[0]),
                a.int(1)?,
                threshold,
            )))
        }
        "fromJson" => {
            texts(1)?;
            Ok(serde_json::from_str(a.text(0)?).map_or(Value::Nil, Value::from_json))
        }
        "date" => {
            texts(2)?;
            let time = match &values[1] {
                Value::Time(time) => time.clone(),
                Value::Int(secs) => Time::utc(*secs, 0),
                _ => Time::from_ns(context.template.now_ns),
            };
            text(time.format(a.text(0)?))
        }
        "toDate" => {
            texts(2)?;
            let time = Time::parse(a.text(0)?, a.text(1)?, "UTC");
            Ok(Value::Time(time.unwrap_or_else(Time::zero)))
        }
        "toDateInZone" => {
            texts(3)?;
            let time = Time::parse(a.text(0)?, a.text(2)?, a.text(1)?);
            Ok(Value::Time(time.unwrap_or_else(Time::zero)))
        }
        "unixEpoch" => {
            texts(1)?;
            text(a.time(0)?.secs.to_string())
        }
        "unixEpochMillis" => {
            texts(1)?;
            text(a.time(0)?.unix_ms().to_string())
        }
        "unixEpochNanos" => {
            texts(1)?;
            text(a.time(0)?.unix_ns().to_string())
        }
        "unixToTime" => {
            texts(1)?;
            unix_to_time(a.text(0)?)
                .map(Value::Time)
                .map_err(Fault::Call)
        }
        "default" => match values {
            [default] => Ok(default.clone()),
            [default, given, ..] => Ok(if given.is_true() {
                given.clone()
            } else {
                default.clone()
            }),
            [] => Err(at_least(1)),
        },
        _ => Err(Fault::Call("call of non-function".to_owned())),
    }
}

fn too_long() -> Fault {
    Fault::Call("text is too long".to_owned())
}

fn bounded(text: String) -> Called {
    if text.len() > MAX_TEXT_BYTES {
        return Err(too_long());
    }
    Ok(Value::Text(text))
}

/// Counts before it replaces: a long text in place of each character would fill memory.
fn replaced(text: &str, old: &str, new: &str, most: usize) -> Called {
    let count = text.matches(old).take(most).count();
    if text.len().saturating_add(count.saturating_mul(new.len())) > MAX_TEXT_BYTES {
        return Err(too_long());
    }
    Ok(Value::Text(text.replacen(old, new, most)))
}

fn title(text: &str) -> String {
    let mut before = ' ';
    text.chars()
        .flat_map(|c| {
            let starts = !(before.is_alphanumeric() || before == '_' || before == '\'');
            before = c;
            if starts {
                c.to_uppercase().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// A piece of a text by bytes; what is cut within a character becomes U+FFFD.
fn slice(text: &str, start: usize, end: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned()
}

fn truncate(n: i64, text: &str) -> String {
    let len = text.len() as i64;
    if n < 0 && len + n > 0 {
        slice(text, (len + n) as usize, text.len())
    } else if n >= 0 && len > n {
        slice(text, 0, n as usize)
    } else {
        text.to_owned()
    }
}

fn substring(start: i64, end: i64, text: &str) -> Result<String, String> {
    let len = text.len() as i64;
    let out_of_range =
        |a: i64, b: i64| format!("runtime error: slice bounds out of range [{a}:{b}]");
    let (start, end) = if start < 0 {
        (0, if end < 0 || end > len { len } else { end })
    } else if end < 0 || end > len {
        (start, len)
    } else {
        (start, end)
    };
    if start > end {
        return Err(out_of_range(start, end));
    }
    Ok(slice(text, start as usize, end as usize))
}

fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(n) => *n,
        Value::Float(f) => *f as i64,
        Value::Bool(b) => i64::from(*b),
        Value::Text(text) => text
            .parse::<i64>()
            .ok()
            .or_else(|| text.parse::<f64>().ok().map(|f| f as i64))
            .unwrap_or(0),
        _ => 0,
    }
}

fn to_float(value: &Value) -> f64 {
    match value {
        Value::Int(n) => *n as f64,
        Value::Float(f) => *f,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::Text(text) => text.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

/// Loki computes with decimals here, so that 890.6 / 1000 is 0.8906.
fn decimal(name: &str, x: f64, y: f64) -> f64 {
    let plain = match name {
        "addf" => x + y,
        "subf" => x - y,
        "mulf" => x * y,
        _ => x / y,
    };
    // Fifteen digits are what a double holds of any decimal.
    format!("{plain:.14e}").parse().unwrap_or(plain)
}

fn round(value: f64, places: i64, threshold: f64) -> f64 {
    let scale = 10_f64.powi(i32::try_from(places).unwrap_or(0));
    let scaled = value * scale;
    let rounded = if scaled.fract().abs() >= threshold {
        scaled.ceil()
    } else {
        scaled.floor()
    };
    rounded / scale
}

fn unix_to_time(text: &str) -> Result<Time, String> {
    let n: i64 = text.parse().map_err(|_| {
        format!(
            "unable to parse time '{text}': strconv.ParseInt: parsing {}: invalid syntax",
            crate::units::quote(text)
        )
    })?;
    match text.len() {
        5 => Ok(Time::utc(n * 86_400, 0)),
        10 => Ok(Time::utc(n, 0)),
        13 => Ok(Time::from_ns(n.saturating_mul(1_000_000))),
        16 => Ok(Time::from_ns(n.saturating_mul(1_000))),
        19 => Ok(Time::from_ns(n)),
        _ => Err(format!("unable to parse time '{text}': %!w(<nil>)")),
    }
}

fn url_decode(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = text
                    .get(at + 1..at + 3)
                    .and_then(|d| u8::from_str_radix(d, 16).ok());
                let Some(byte) = digits else {
                    let end = (at + 3).min(bytes.len());
                    let shown = String::from_utf8_lossy(&bytes[at..end]);
                    return Err(format!(
                        "invalid URL escape {}",
                        crate::units::quote(&shown)
                    ));
                };
                out.push(byte);
                at += 2;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Wrong input gives the error as the text.
fn base64_decode(text: &str) -> String {
    match STANDARD.decode(text) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _),
        ) => {
            format!("illegal base64 data at input byte {at}")
        }
        Err(_) => format!("illegal base64 data at input byte {}", text.len() / 4 * 4),
    }
}
