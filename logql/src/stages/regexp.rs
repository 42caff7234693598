//! `regexp "(?P<name>..)"`: named groups of the first match become labels.

use std::borrow::Cow;
use std::collections::HashSet;

use regex::Regex;
use storage::model::compile_search;

use super::{Hints, Stage, sanitize_into};
use crate::labels::LabelBuilder;

/// Checks the text of a regexp parser.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(text: &str) -> Result<(), String> {
    compile(text).map(drop)
}

/// The regex with its groups renamed, because Go takes names that start with a digit, and for each
/// renamed group its label.
fn compile(text: &str) -> Result<(Regex, Vec<String>), String> {
    let mut names = Vec::new();
    let mut renamed = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let len = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            renamed.push_str(&rest[..len]);
            rest = &rest[len..];
            continue;
        }
        if !in_class && let Some((name, behind)) = group(rest) {
            renamed.push_str(&format!("(?P<g{}>", names.len()));
            let mut label = String::new();
            sanitize_into(name, true, &mut label);
            names.push(label);
            rest = behind;
            continue;
        }
        in_class = match c {
            '[' => true,
            ']' => false,
            _ => in_class,
        };
        renamed.push(c);
        rest = &rest[c.len_utf8()..];
    }
    // The error shows the pattern as it was written.
    let regex = match compile_search(&renamed) {
        Ok(regex) => regex,
        Err(e) if names.is_empty() => return Err(e),
        Err(e) => return Err(compile_search(text).err().unwrap_or(e)),
    };
    if names.is_empty() {
        return Err("at least one named capture must be supplied".to_owned());
    }
    let mut unique = HashSet::new();
    for name in &names {
        if !unique.insert(name) {
            return Err(format!("duplicate extracted label name '{name}'"));
        }
    }
    Ok((regex, names))
}

fn group(text: &str) -> Option<(&str, &str)> {
    let inside = text
        .strip_prefix("(?P<")
        .or_else(|| text.strip_prefix("(?<"))?;
    let end = inside.find('>')?;
    let name = &inside[..end];
    let word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    word.then_some((name, &inside[end + 1..]))
}

pub(super) struct Regexp {
    regex: Regex,
    /// For each group of the regex the label it makes.
    groups: Vec<Option<String>>,
    no_labels: bool,
}

impl Regexp {
    pub(super) fn new(text: &str, hints: &Hints) -> Result<Self, String> {
        let (regex, names) = compile(text)?;
        let mut names = names.into_iter();
        let groups = regex
            .capture_names()
            .map(|n| n.and_then(|_| names.next()))
            .collect();
        Ok(Self {
            regex,
            groups,
            no_labels: hints.no_labels,
        })
    }
}

impl Stage for Regexp {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        if self.no_labels {
            return Some(line);
        }
        if let Some(captures) = self.regex.captures(&line) {
            for (at, label) in self.groups.iter().enumerate() {
                if let Some(label) = label {
                    labels.set_found(label, captures.get(at).map_or("", |m| m.as_str()));
                }
            }
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::run;

    #[test]
    fn groups_become_labels() {
        assert_eq!(
            run("| regexp `(?P<1a>\\d+)(?P<b>x)?`", "n=12").unwrap().1,
            r#"{_1a="12", app="a", b=""}"#
        );
        assert_eq!(
            run("| regexp `(?P<z>q)`", "n=12").unwrap().1,
            r#"{app="a"}"#
        );
    }

    #[test]
    fn names_are_needed_and_unique() {
        assert_eq!(
            check("x"),
            Err("at least one named capture must be supplied".into())
        );
        assert_eq!(
            check("(?P<a>.)(?P<a>.)"),
            Err("duplicate extracted label name 'a'".into())
        );
    }
}
