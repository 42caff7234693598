//! `logfmt [--strict] [--keep-empty]`, and `logfmt a="b"` limited to some keys.

use std::borrow::Cow;

use super::json_text::unescape;
use super::{Hints, Stage, sanitize_into};
use crate::ast::Extract;
use crate::labels::LabelBuilder;

const ERROR: &str = "LogfmtParserErr";

/// What stands next in a line.
enum Next<'a> {
    Pair(&'a str, Cow<'a, str>),
    /// A broken pair: what is wrong, in words.
    Broken(String),
    End,
}

/// Reads pairs; after a broken one it goes on behind the next blank.
struct Pairs<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Pairs<'a> {
    fn broken(&mut self, at: usize, what: &str) -> Next<'a> {
        let bytes = self.line.as_bytes();
        self.at = at;
        while self.at < bytes.len() && bytes[self.at] > b' ' {
            self.at += 1;
        }
        Next::Broken(format!("logfmt syntax error at pos {} : {what}", at + 1))
    }

    fn next(&mut self) -> Next<'a> {
        let bytes = self.line.as_bytes();
        while self.at < bytes.len() && bytes[self.at] <= b' ' {
            self.at += 1;
        }
        let start = self.at;
        if start >= bytes.len() {
            return Next::End;
        }
        let end = bytes[start..]
            .iter()
            .position(|b| *b <= b' ' || *b == b'=' || *b == b'"')
            .map_or(bytes.len(), |len| start + len);
        let key = &self.line[start..end];
        self.at = end;
        match bytes.get(end) {
            Some(b'"') => self.broken(end, "unexpected '\"'"),
            Some(b'=') if key.is_empty() => self.broken(end, "unexpected '='"),
            Some(b'=') if bytes.get(end + 1) == Some(&b'"') => self.quoted_value(key, end + 2),
            Some(b'=') => self.bare_value(key, end + 1),
            _ => Next::Pair(key, Cow::Borrowed("")),
        }
    }

    fn bare_value(&mut self, key: &'a str, start: usize) -> Next<'a> {
        let bytes = self.line.as_bytes();
        let end = bytes[start..]
            .iter()
            .position(|b| *b <= b' ' || *b == b'=' || *b == b'"')
            .map_or(bytes.len(), |len| start + len);
        match bytes.get(end) {
            Some(b'=') => self.broken(end, "unexpected '='"),
            Some(b'"') => self.broken(end, "unexpected '\"'"),
            _ => {
                self.at = end;
                Next::Pair(key, Cow::Borrowed(&self.line[start..end]))
            }
        }
    }

    fn quoted_value(&mut self, key: &'a str, start: usize) -> Next<'a> {
        let bytes = self.line.as_bytes();
        let mut at = start;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' => at += 2,
                b'"' => {
                    self.at = at + 1;
                    return Next::Pair(key, unescape(&self.line[start..at]));
                }
                _ => at += 1,
            }
        }
        self.broken(bytes.len(), "unterminated quoted value")
    }
}

pub(super) struct Logfmt {
    strict: bool,
    keep_empty: bool,
    no_labels: bool,
    required: Option<Vec<String>>,
}

impl Logfmt {
    pub(super) fn new(strict: bool, keep_empty: bool, hints: &Hints) -> Self {
        Self {
            strict,
            keep_empty,
            no_labels: hints.no_labels,
            required: hints.required.clone(),
        }
    }
}

impl Stage for Logfmt {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        if self.no_labels {
            return Some(line);
        }
        let mut pairs = Pairs { line: &line, at: 0 };
        let mut name = String::new();
        loop {
            match pairs.next() {
                Next::End => break,
                Next::Broken(details) if self.strict => {
                    labels.set_error(ERROR, &details);
                    break;
                }
                Next::Broken(_) => {}
                Next::Pair(key, value) => {
                    if value.is_empty() && !self.keep_empty {
                        continue;
                    }
                    name.clear();
                    sanitize_into(key, true, &mut name);
                    labels.set_found(&name, &value);
                    if let Some(required) = &self.required
                        && labels.found_of(required) == required.len()
                    {
                        break;
                    }
                }
            }
        }
        Some(line)
    }
}

pub(super) struct LogfmtExtract {
    strict: bool,
    /// Label and key.
    wanted: Vec<(String, String)>,
    no_labels: bool,
    required: Option<usize>,
}

impl LogfmtExtract {
    pub(super) fn new(strict: bool, extract: &[Extract], hints: &Hints) -> Result<Self, String> {
        let wanted = extract.iter().map(|e| {
            let key = parse_key(&e.expression)
                .map_err(|m| format!("cannot parse expression [{}]: {m}", e.expression))?;
            Ok((e.label.clone(), key))
        });
        Ok(Self {
            strict,
            wanted: wanted.collect::<Result<_, String>>()?,
            no_labels: hints.no_labels,
            required: hints.required.as_ref().map(Vec::len),
        })
    }
}

fn parse_key(text: &str) -> Result<String, String> {
    if let Some(quoted) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        return Ok(unescape(quoted).into_owned());
    }
    let mut words = text.split_whitespace();
    let Some(key) = words.next() else {
        return Err("syntax error: unexpected $end, expecting STRING or KEY".to_owned());
    };
    if let Some(bad) = text
        .chars()
        .find(|c| !(c.is_alphanumeric() || matches!(c, '_' | '.' | ' ')))
    {
        return Err(format!("unexpected char {bad}"));
    }
    if words.next().is_some() {
        return Err("syntax error: unexpected KEY".to_owned());
    }
    Ok(key.to_owned())
}

impl Stage for LogfmtExtract {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        if self.no_labels {
            return Some(line);
        }
        let mut pairs = Pairs { line: &line, at: 0 };
        // Loki counts each label twice when it checks whether it has found all that a metric query
        // looks at, and so leaves out others; the answers show it.
        let mut counted = 0;
        loop {
            match pairs.next() {
                Next::End => break,
                Next::Broken(details) if self.strict => {
                    labels.set_error(ERROR, &details);
                    return Some(line);
                }
                Next::Broken(_) => {}
                Next::Pair(key, value) => {
                    for (label, wanted) in &self.wanted {
                        if key == wanted {
                            labels.set_told(label, &value);
                            counted += 2;
                        }
                    }
                    if self.required.is_some_and(|n| n == counted) {
                        return Some(line);
                    }
                }
            }
        }
        for (label, _) in &self.wanted {
            if !labels.has_told(label) {
                labels.set_told(label, "");
            }
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::run;

    fn labels(stages: &str, line: &str) -> String {
        run(stages, line).unwrap().1
    }

    #[test]
    fn broken_pairs_are_skipped_unless_strict() {
        let line = r#"=nokey a=b=c d="x y" "q"=1 e="open"#;
        assert_eq!(labels("| logfmt", line), r#"{app="a", d="x y"}"#);
        assert_eq!(
            labels("| logfmt --strict", line),
            r#"{__error__="LogfmtParserErr", __error_details__="logfmt syntax error at pos 1 : unexpected '='", app="a"}"#
        );
    }

    #[test]
    fn empty_values_are_kept_on_demand() {
        let line = r#"a= b c="" d=1"#;
        assert_eq!(labels("| logfmt", line), r#"{app="a", d="1"}"#);
        assert_eq!(
            labels("| logfmt --keep-empty", line),
            r#"{a="", app="a", b="", c="", d="1"}"#
        );
    }

    #[test]
    fn a_list_takes_the_last_of_equal_keys() {
        let line = "a=1 k-dash=2 a=3";
        assert_eq!(labels("| logfmt", line), r#"{a="1", app="a", k_dash="2"}"#);
        assert_eq!(
            labels(r#"| logfmt a, z="nosuch""#, line),
            r#"{a="3", app="a", z=""}"#
        );
    }
}
