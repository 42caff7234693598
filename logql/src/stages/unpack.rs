//! `unpack`: undoes Promtail's `pack`. Labels are taken over only where `_entry` holds the line.

use std::borrow::Cow;

use super::json_text::{Raw, members, unescape};
use super::{Hints, Stage};
use crate::labels::LabelBuilder;

const ERROR: &str = "JSONParserErr";
const ENTRY: &str = "_entry";

pub(super) struct Unpack {
    no_labels: bool,
}

impl Unpack {
    pub(super) const fn new(hints: &Hints) -> Self {
        Self {
            no_labels: hints.no_labels,
        }
    }
}

impl Stage for Unpack {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        if self.no_labels && !line.contains(ENTRY) {
            return Some(line);
        }
        if line.is_empty() {
            return Some(line);
        }
        if !line.trim_start().starts_with('{') {
            labels.set_error(ERROR, "expecting json object(6), but it is not");
            return Some(line);
        }
        let mut found: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        let mut entry = None;
        let result = members(&line, |key, value| {
            if let Raw::Text(text) = value {
                let key = unescape(key);
                if key == ENTRY {
                    entry = Some(unescape(text));
                } else {
                    found.push((key, unescape(text)));
                }
            }
            Ok(true)
        });
        if let Err(details) = result {
            labels.set_error(ERROR, details);
            return Some(line);
        }
        let Some(entry) = entry else {
            return Some(line);
        };
        for (key, value) in &found {
            labels.set_found(key, value);
        }
        Some(Cow::Owned(entry.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::run;

    #[test]
    fn only_packed_lines_give_labels() {
        assert_eq!(
            run("| unpack", r#"{"pod":"p","n":5,"_entry":"a \"b\""}"#).unwrap(),
            ("a \"b\"".to_owned(), r#"{app="a", pod="p"}"#.to_owned())
        );
        assert_eq!(run("| unpack", r#"{"pod":"p"}"#).unwrap().1, r#"{app="a"}"#);
        assert_eq!(
            run("| unpack", "no").unwrap().1,
            r#"{__error__="JSONParserErr", __error_details__="expecting json object(6), but it is not", app="a"}"#
        );
    }
}
