//! `keep a, b="c"`: removes all other labels, but never the error.

use std::borrow::Cow;

use super::Stage;
use crate::ast::LabelSelect;
use crate::labels::LabelBuilder;

pub(super) struct Keep(Vec<LabelSelect>);

impl Keep {
    pub(super) fn new(what: &[LabelSelect]) -> Self {
        Self(what.to_vec())
    }
}

impl Stage for Keep {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        labels.retain(|name, value| {
            self.0.iter().any(|what| match what {
                LabelSelect::Name(wanted) => wanted == name,
                LabelSelect::Matcher(matcher) => matcher.name() == name && matcher.matches(value),
            })
        });
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::run;

    #[test]
    fn only_named_labels_stay() {
        let labels = |stages: &str| run(&format!("| logfmt {stages}"), "x=1 y=2").unwrap().1;
        assert_eq!(labels("| keep x, app"), r#"{app="a", x="1"}"#);
        assert_eq!(labels(r#"| keep x="2", y"#), r#"{y="2"}"#);
    }
}
