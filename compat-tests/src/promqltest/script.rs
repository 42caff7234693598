//! The script language, read into commands. No server, no clock: plain data.
//!
//! A block (the indented lines below `load` and `eval`) ends at an empty line or a comment.

use std::collections::BTreeMap;
use std::fmt;

use super::histogram::FloatHistogram;
use super::values;

/// Label names and values, sorted by name; the metric's name is `__name__`.
pub type Labels = BTreeMap<String, String>;

/// One value of a series line.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No sample.
    Omitted,
    /// The staleness marker.
    Stale,
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Box<FloatHistogram>),
}

/// A command with the line it starts at, counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Where it starts.
    pub line: usize,
    /// What it does.
    pub action: Action,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Forget all data.
    Clear,
    /// Add samples.
    Load(Load),
    /// Ask and judge.
    Eval(Box<Eval>),
}

/// Samples to add.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Sample `k` of a series lies at `k * step_ms`.
    pub step_ms: i64,
    /// Classic histograms are also stored as native ones with custom buckets.
    pub with_nhcb: bool,
    /// The series, in the script's order.
    pub series: Vec<LoadedSeries>,
}

/// A series to add.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its values, one a step.
    pub values: Vec<Value>,
    /// Start timestamps in milliseconds relative to each sample; may be shorter than `values`.
    pub starts: Vec<Option<i64>>,
}

/// A sample to add: when, its start timestamp, what.
pub type LoadedSample = (i64, Option<i64>, Value);

impl LoadedSeries {
    /// The samples with their times; omitted ones are left out.
    pub fn samples(&self, step_ms: i64) -> impl Iterator<Item = LoadedSample> + '_ {
        self.values
            .iter()
            .enumerate()
            .filter(|(_, v)| **v != Value::Omitted)
            .map(move |(k, v)| {
                let t_ms = i64::try_from(k).unwrap_or(i64::MAX).saturating_mul(step_ms);
                let start = self
                    .starts
                    .get(k)
                    .copied()
                    .flatten()
                    .map(|offset| t_ms + offset);
                (t_ms, start, v.clone())
            })
    }
}

/// When a query is evaluated; all in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At one time.
    Instant {
        /// The time.
        at_ms: i64,
    },
    /// At each step from `start_ms` to `end_ms`, both included.
    Range {
        /// The first step.
        start_ms: i64,
        /// The last possible step.
        end_ms: i64,
        /// The distance.
        step_ms: i64,
    },
}

/// How a text must look.
#[derive(Debug, Clone, PartialEq)]
pub enum Text {
    /// Any text will do.
    Any,
    /// Exactly this.
    Message(String),
    /// This regular expression finds something in it.
    Pattern(String),
}

/// A query with what it must answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Eval {
    /// The expression.
    pub expr: String,
    /// When it is evaluated.
    pub when: When,
    /// It must fail, with one of these texts; empty where it must succeed.
    pub fail: Vec<Text>,
    /// Every warning must match one of these, and each must match a warning.
    pub warn: Vec<Text>,
    /// As `warn`, for infos.
    pub info: Vec<Text>,
    /// There must be no warning.
    pub no_warn: bool,
    /// There must be no info.
    pub no_info: bool,
    /// The order of the series counts.
    pub ordered: bool,
    /// The result is this string.
    pub string: Option<String>,
    /// The result is a range vector; its values lie at these steps.
    pub range_vector: Option<When>,
    /// The result is this scalar.
    pub scalar: Option<f64>,
    /// The series of the result, in the script's order.
    pub series: Vec<(Labels, Vec<Value>)>,
}

/// A script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ScriptError {}

/// Reads a script.
///
/// # Errors
/// The first line that cannot be read.
pub fn parse(text: &str) -> Result<Vec<Command>, ScriptError> {
    let lines: Vec<&str> = text
        .lines()
        .map(|l| {
            let l = l.trim();
            if l.starts_with('#') { "" } else { l }
        })
        .collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let head = lines[at];
        let start = at;
        at += 1;
        if head.is_empty() {
            continue;
        }
        while at < lines.len() && !lines[at].is_empty() && is_block(head) {
            at += 1;
        }
        let block = &lines[start + 1..at];
        let wrong = |offset: usize, message: String| ScriptError {
            line: start + 1 + offset,
            message,
        };
        let action = match head.split_whitespace().next().unwrap_or("") {
            "clear" => Action::Clear,
            "load" | "load_with_nhcb" => {
                Action::Load(load(head, block).map_err(|(o, m)| wrong(o, m))?)
            }
            word if word.starts_with("eval") => {
                Action::Eval(Box::new(eval(head, block).map_err(|(o, m)| wrong(o, m))?))
            }
            word => return Err(wrong(0, format!("unknown command {word:?}"))),
        };
        out.push(Command {
            line: start + 1,
            action,
        });
    }
    Ok(out)
}

fn is_block(head: &str) -> bool {
    head.starts_with("load") || head.starts_with("eval")
}

/// An error with its line's offset from the command.
type Located<T> = Result<T, (usize, String)>;

fn load(head: &str, block: &[&str]) -> Located<Load> {
    let mut words = head.split_whitespace();
    let with_nhcb = words.next() == Some("load_with_nhcb");
    let step = words.next().ok_or((0, "load without a step".to_owned()))?;
    let step_ms = duration_ms(step).map_err(|m| (0, m))?;
    let mut series: Vec<LoadedSeries> = Vec::new();
    let mut pending: Option<(Labels, Vec<Option<i64>>)> = None;
    for (i, line) in block.iter().enumerate() {
        let located = |m: String| (i + 1, m);
        let (labels, rest) = selector(line).map_err(located)?;
        if let Some(offsets) = rest.strip_prefix("@st") {
            pending = Some((labels, values::start_offsets(offsets).map_err(located)?));
            continue;
        }
        let starts = match pending.take() {
            Some((of, starts)) if of == labels => starts,
            Some(_) => return Err(located("start timestamps of another series".to_owned())),
            None => Vec::new(),
        };
        let values = values::values(rest).map_err(located)?;
        // A series that stands twice in one block has the values of its last line.
        series.retain(|s: &LoadedSeries| s.labels != labels);
        series.push(LoadedSeries {
            labels,
            values,
            starts,
        });
    }
    Ok(Load {
        step_ms,
        with_nhcb,
        series,
    })
}

fn eval(head: &str, block: &[&str]) -> Located<Eval> {
    let here = |m: String| (0, m);
    let (word, rest) = head
        .split_once(char::is_whitespace)
        .ok_or(here("eval of what?".into()))?;
    let (kind, rest) = next_word(rest);
    let (when, expr) = match kind {
        "instant" => instant(rest).map_err(here)?,
        "range" => {
            let (steps, expr) = steps(rest).map_err(here)?;
            (steps, expr)
        }
        other => return Err(here(format!("eval {other:?}"))),
    };
    let mut out = Eval {
        expr: expr.trim().to_owned(),
        when,
        fail: Vec::new(),
        warn: Vec::new(),
        info: Vec::new(),
        no_warn: false,
        no_info: false,
        ordered: false,
        string: None,
        range_vector: None,
        scalar: None,
        series: Vec::new(),
    };
    match word {
        "eval" => {}
        "eval_fail" => out.fail.push(Text::Any),
        "eval_warn" => out.warn.push(Text::Any),
        "eval_info" => out.info.push(Text::Any),
        "eval_ordered" => out.ordered = true,
        other => return Err(here(format!("unknown command {other:?}"))),
    }
    for (i, line) in block.iter().enumerate() {
        expectation(&mut out, line).map_err(|m| (i + 1, m))?;
    }
    Ok(out)
}

fn next_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

fn instant(rest: &str) -> Result<(When, &str), String> {
    let (word, after) = next_word(rest);
    if word != "at" {
        return Ok((When::Instant { at_ms: 0 }, rest));
    }
    let (at, expr) = next_word(after);
    Ok((
        When::Instant {
            at_ms: duration_ms(at)?,
        },
        expr,
    ))
}

/// `from A to B step C` and what follows.
fn steps(rest: &str) -> Result<(When, &str), String> {
    let mut rest = rest;
    let mut times = [0; 3];
    for (time, name) in times.iter_mut().zip(["from", "to", "step"]) {
        let (word, after) = next_word(rest);
        if word != name {
            return Err(format!("{name:?} expected, not {word:?}"));
        }
        let (value, after) = next_word(after);
        *time = duration_ms(value)?;
        rest = after;
    }
    let [start_ms, end_ms, step_ms] = times;
    Ok((
        When::Range {
            start_ms,
            end_ms,
            step_ms,
        },
        rest,
    ))
}

fn expectation(out: &mut Eval, line: &str) -> Result<(), String> {
    if let Some(message) = line.strip_prefix("expected_fail_message") {
        out.fail = vec![Text::Message(message.trim().to_owned())];
        return Ok(());
    }
    if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
        out.fail = vec![Text::Pattern(pattern.trim().to_owned())];
        return Ok(());
    }
    let (word, rest) = next_word(line);
    if word == "expect" {
        let (what, rest) = next_word(rest);
        let rest = rest.trim();
        let text = if let Some(message) = rest.strip_prefix("msg:") {
            Text::Message(message.trim().to_owned())
        } else if let Some(pattern) = rest.strip_prefix("regex:") {
            Text::Pattern(pattern.trim().to_owned())
        } else {
            Text::Any
        };
        match what {
            "fail" => out.fail.push(text),
            "warn" => out.warn.push(text),
            "info" => out.info.push(text),
            "no_warn" => out.no_warn = true,
            "no_info" => out.no_info = true,
            "ordered" => out.ordered = true,
            "string" => out.string = Some(quoted(rest)?.0),
            "range" => {
                let rest = rest
                    .strip_prefix("vector")
                    .ok_or("expect range vector ..")?;
                out.range_vector = Some(steps(rest)?.0);
            }
            other => return Err(format!("expect {other:?}")),
        }
        return Ok(());
    }
    if let Ok(x) = line.parse::<f64>() {
        out.scalar = Some(x);
        return Ok(());
    }
    let (labels, rest) = selector(line)?;
    out.series.push((labels, values::values(rest)?));
    Ok(())
}

/// A duration such as `1m30s`, `500ms`, `0`, with a sign in front or not, in milliseconds.
///
/// # Errors
/// When the text is none.
pub fn duration_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration");
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    if let Ok(seconds) = rest.parse::<f64>() {
        return Ok(sign * (seconds * 1000.0).round() as i64);
    }
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return Err(wrong()),
        };
        total += number
            .parse::<i64>()
            .map_err(|_| wrong())?
            .checked_mul(scale)
            .ok_or_else(wrong)?;
        rest = after;
    }
    Ok(sign * total)
}

/// A series' name and labels, and what follows them.
fn selector(text: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if !name.is_empty() {
        labels.insert("__name__".to_owned(), name.to_owned());
    }
    rest = rest.trim_start();
    // `{{` opens a value, not labels.
    if let (true, Some(inner)) = (!rest.starts_with("{{"), rest.strip_prefix('{')) {
        rest = inner.trim_start();
        while !rest.starts_with('}') {
            let (label, after) = if rest.starts_with(['"', '\'', '`']) {
                let (label, after) = quoted(rest)?;
                let after = after.trim_start();
                if !after.starts_with('=') {
                    labels.insert("__name__".to_owned(), label);
                    rest = after.strip_prefix(',').unwrap_or(after).trim_start();
                    continue;
                }
                (label, after)
            } else {
                let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                (rest[..end].to_owned(), rest[end..].trim_start())
            };
            let after = after
                .strip_prefix('=')
                .ok_or_else(|| format!("no = in {text:?}"))?;
            let (value, after) = quoted(after.trim_start())?;
            // An empty value is the same as no label.
            if !value.is_empty() {
                labels.insert(label, value);
            }
            let after = after.trim_start();
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
            if rest.is_empty() {
                return Err(format!("no closing brace in {text:?}"));
            }
        }
        rest = &rest[1..];
    } else if name.is_empty() {
        return Err(format!("neither a name nor labels in {text:?}"));
    }
    Ok((labels, rest))
}

/// A quoted string, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let wrong = || format!("no string in {text:?}");
    let quote = text
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\'' | '`'))
        .ok_or_else(wrong)?;
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        if c == quote {
            return Ok((out, &text[i + c.len_utf8()..]));
        }
        if c != '\\' || quote == '`' {
            out.push(c);
            continue;
        }
        let (_, escape) = chars.next().ok_or_else(wrong)?;
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
            let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
            out.push(code.ok_or_else(wrong)?);
            continue;
        }
        out.push(match escape {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            other => other,
        });
    }
    Err(wrong())
}

#[cfg(test)]
mod tests;
