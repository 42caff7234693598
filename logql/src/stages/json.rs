//! `json`: every member of the object that the line is, nested ones joined by `_`; and
//! `json a="b.c[0]"`: what paths lead to.

use std::borrow::Cow;

use super::json_text::{Raw, Step, find, members, unescape};
use super::{Hints, Stage, sanitize_into};
use crate::ast::Extract;
use crate::labels::LabelBuilder;

const ERROR: &str = "JSONParserErr";
/// Objects nested deeper are an error; the reader recurses.
const MAX_DEPTH: usize = 128;

pub(super) struct Json {
    no_labels: bool,
    required: Option<Vec<String>>,
}

impl Json {
    pub(super) fn new(hints: &Hints) -> Self {
        Self {
            no_labels: hints.no_labels,
            required: hints.required.clone(),
        }
    }

    /// Answers false when all labels that are needed were found.
    fn object(
        &self,
        text: &str,
        name: &mut String,
        depth: usize,
        labels: &mut LabelBuilder,
    ) -> Result<bool, &'static str> {
        if depth > MAX_DEPTH {
            return Err("Value nests too deeply");
        }
        let mut goes_on = true;
        members(text, |key, value| {
            let len = name.len();
            if len > 0 {
                name.push('_');
            }
            sanitize_into(&unescape(key), len == 0, name);
            if !name.is_empty() {
                match value {
                    Raw::Object(object) => {
                        goes_on = self.object(object, name, depth + 1, labels)?;
                    }
                    Raw::Text(text) => goes_on = self.found(name, &unescape(text), labels),
                    Raw::Plain(text) => goes_on = self.found(name, text, labels),
                    Raw::Array(_) | Raw::Null => {}
                }
            }
            name.truncate(len);
            Ok(goes_on)
        })?;
        Ok(goes_on)
    }

    fn found(&self, name: &str, value: &str, labels: &mut LabelBuilder) -> bool {
        labels.set_found(name, value);
        match &self.required {
            Some(required) => labels.found_of(required) < required.len(),
            None => true,
        }
    }
}

impl Stage for Json {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        if self.no_labels {
            return Some(line);
        }
        if let Err(details) = self.object(&line, &mut String::new(), 0, labels) {
            labels.set_error(ERROR, details);
        }
        Some(line)
    }
}

pub(super) struct JsonExtract {
    paths: Vec<(String, Vec<Step>)>,
    no_labels: bool,
}

impl JsonExtract {
    pub(super) fn new(extract: &[Extract], hints: &Hints) -> Result<Self, String> {
        let paths = extract.iter().map(|e| {
            let path = parse_path(&e.expression)
                .map_err(|m| format!("cannot parse expression [{}]: {m}", e.expression))?;
            Ok((e.label.clone(), path))
        });
        Ok(Self {
            paths: paths.collect::<Result<_, String>>()?,
            no_labels: hints.no_labels,
        })
    }
}

impl Stage for JsonExtract {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        if self.no_labels || line.is_empty() {
            return Some(line);
        }
        if !line.starts_with(['"', '{', '[']) {
            labels.set_error(ERROR, "");
            return Some(line);
        }
        for (label, path) in &self.paths {
            match find(&line, path) {
                Some(Raw::Text(text)) => labels.set_told(label, &unescape(text)),
                Some(Raw::Plain(text) | Raw::Object(text) | Raw::Array(text)) => {
                    labels.set_told(label, text);
                }
                Some(Raw::Null) => labels.set_told(label, ""),
                None if labels.has_told(label) => {}
                None => labels.set_told(label, ""),
            }
        }
        Some(line)
    }
}

/// A label's name, the keys that lead to its value, and the value.
pub(crate) type Located = (String, Vec<String>, String);

/// All values of an object with the labels that `json` makes of them, and their paths.
pub(crate) fn paths(text: &str) -> Result<Vec<Located>, &'static str> {
    let mut found = Vec::new();
    locate(text, &mut String::new(), &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn locate(
    text: &str,
    name: &mut String,
    path: &mut Vec<String>,
    found: &mut Vec<Located>,
) -> Result<(), &'static str> {
    if path.len() > MAX_DEPTH {
        return Err("Value nests too deeply");
    }
    members(text, |key, value| {
        let len = name.len();
        if len > 0 {
            name.push('_');
        }
        let key = unescape(key);
        sanitize_into(&key, len == 0, name);
        path.push(key.into_owned());
        match value {
            Raw::Object(object) => locate(object, name, path, found)?,
            Raw::Text(text) => {
                found.push((name.clone(), path.clone(), unescape(text).into_owned()));
            }
            Raw::Plain(text) => found.push((name.clone(), path.clone(), text.to_owned())),
            Raw::Array(_) | Raw::Null => {}
        }
        path.pop();
        name.truncate(len);
        Ok(true)
    })
}

/// The first text at one of these keys, at most two levels deep.
pub(crate) fn level(text: &str, keys: &[&str]) -> Option<String> {
    level_within(text, keys, 1)
}

fn level_within(text: &str, keys: &[&str], depth: usize) -> Option<String> {
    let mut found = None;
    // A broken tail does not undo what was found before it.
    let _ = members(text, |key, value| {
        match value {
            Raw::Text(value) if keys.contains(&key) && !value.is_empty() => {
                found = Some(unescape(value).into_owned());
            }
            Raw::Object(object) if depth < 2 => found = level_within(object, keys, depth + 1),
            _ => {}
        }
        Ok(found.is_none())
    });
    found
}

/// `a.b[1]["c d"]`, with the errors of the grammar that Loki has for it.
fn parse_path(text: &str) -> Result<Vec<Step>, String> {
    let unexpected = |found: &str, expecting: &str| {
        Err(format!(
            "syntax error: unexpected {found}, expecting {expecting}"
        ))
    };
    let mut path = Vec::new();
    let mut rest = text;
    let mut want_field = true;
    while let Some(c) = rest.chars().next() {
        let expecting = if path.is_empty() {
            "LSB or FIELD"
        } else {
            "FIELD"
        };
        match c {
            ' ' | '\t' => rest = &rest[1..],
            '[' => {
                let inside = &rest[1..];
                if let Some(quoted) = inside.strip_prefix('"') {
                    let Some(end) = quoted.find('"') else {
                        return unexpected("$end", "STRING or INDEX");
                    };
                    path.push(Step::Field(quoted[..end].to_owned()));
                    rest = &quoted[end + 1..];
                } else {
                    let digits = inside
                        .find(|c: char| !c.is_ascii_digit())
                        .unwrap_or(inside.len());
                    let Ok(index) = inside[..digits].parse() else {
                        return unexpected("$end", "STRING or INDEX");
                    };
                    path.push(Step::Index(index));
                    rest = &inside[digits..];
                }
                match rest.strip_prefix(']') {
                    Some(behind) => rest = behind,
                    None => return unexpected("$end", "RSB"),
                }
                want_field = false;
            }
            '.' if want_field => return unexpected("DOT", expecting),
            '.' => {
                want_field = true;
                rest = &rest[1..];
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                if !want_field {
                    return unexpected("FIELD", "DOT or LSB");
                }
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(rest.len());
                path.push(Step::Field(rest[..end].to_owned()));
                rest = &rest[end..];
                want_field = false;
            }
            // An unknown character ends the expression for that grammar.
            _ if want_field => return unexpected("$end", expecting),
            _ => return Ok(path),
        }
    }
    if want_field {
        return unexpected(
            "$end",
            if path.is_empty() {
                "LSB or FIELD"
            } else {
                "FIELD"
            },
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::run;

    fn labels(stages: &str, line: &str) -> String {
        run(stages, line).unwrap().1
    }

    #[test]
    fn nested_members_are_joined_and_arrays_skipped() {
        assert_eq!(
            labels(
                "| json",
                r#"{"a":{"b.c":1,"d":[1]},"9x":"y","n":null,"app":"z"}"#
            ),
            r#"{_9x="y", a_b_c="1", app="a", app_extracted="z"}"#
        );
    }

    #[test]
    fn what_was_found_before_a_fault_stays() {
        assert_eq!(
            labels("| json", r#"{"a":1,"b":"#),
            r#"{__error__="JSONParserErr", __error_details__="Malformed JSON error", a="1", app="a"}"#
        );
    }

    #[test]
    fn missing_labels_of_a_list_are_empty() {
        assert_eq!(
            labels(r#"| json x="a.b", y"#, r#"{"a":{"b":{"c":1}}}"#),
            r#"{app="a", x="{\"c\":1}", y=""}"#
        );
    }

    #[test]
    fn wrong_paths_name_what_is_expected() {
        for (path, message) in [
            (
                "b[",
                "syntax error: unexpected $end, expecting STRING or INDEX",
            ),
            ("b..c", "syntax error: unexpected DOT, expecting FIELD"),
            (
                "ключ",
                "syntax error: unexpected $end, expecting LSB or FIELD",
            ),
        ] {
            assert_eq!(parse_path(path), Err(message.to_owned()), "{path}");
        }
    }
}
