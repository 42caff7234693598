//! `drop a, b="c"`: removes labels; `__error__` and `__error_details__` too.

use std::borrow::Cow;

use super::Stage;
use crate::ast::LabelSelect;
use crate::labels::LabelBuilder;

pub(super) struct Drop(Vec<LabelSelect>);

impl Drop {
    pub(super) fn new(what: &[LabelSelect]) -> Self {
        Self(what.to_vec())
    }
}

impl Stage for Drop {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        for what in &self.0 {
            let (name, matcher) = match what {
                LabelSelect::Name(name) => (name.as_str(), None),
                LabelSelect::Matcher(matcher) => (matcher.name(), Some(matcher)),
            };
            let value = match name {
                "__error__" => labels.error(),
                "__error_details__" => Some(labels.details()),
                name => labels.get(name),
            };
            if matcher.is_some_and(|m| !m.matches(value.unwrap_or(""))) {
                continue;
            }
            match name {
                "__error__" => labels.clear_error(),
                "__error_details__" => labels.clear_details(),
                name => labels.remove(name),
            }
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::run;

    #[test]
    fn labels_go_by_name_or_value() {
        let labels = |stages: &str| run(&format!("| logfmt {stages}"), "x=1 y=2").unwrap().1;
        assert_eq!(labels("| drop x, app"), r#"{y="2"}"#);
        assert_eq!(labels(r#"| drop x="2", y=~"2|3""#), r#"{app="a", x="1"}"#);
        assert_eq!(
            labels("| x>1s | drop __error__, __error_details__"),
            r#"{app="a", x="1", y="2"}"#
        );
    }
}
