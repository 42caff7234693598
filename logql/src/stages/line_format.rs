//! `line_format "{{.a}} {{.b | ToUpper}}"`: makes a new line. Where the template fails the line stays.

use std::borrow::Cow;

use super::{Hints, Stage};
use crate::labels::LabelBuilder;
use crate::template::LineTemplate;

pub(super) struct LineFormat(LineTemplate);

impl LineFormat {
    pub(super) fn new(text: &str, hints: &Hints) -> Result<Self, String> {
        LineTemplate::new("line", text, hints.now_ns)
            .map(Self)
            .map_err(|e| format!("invalid line template: {e}"))
    }
}

impl Stage for LineFormat {
    fn process<'a>(
        &self,
        t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        match self.0.run(t_ns, &line, labels) {
            Ok(formatted) => Some(Cow::Owned(formatted)),
            Err(details) => {
                labels.set_error("TemplateFormatErr", &details);
                Some(line)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::run;

    #[test]
    fn a_failing_template_keeps_the_line() {
        let (line, labels) = run("| line_format `{{ div 1 0 }}`", "kept").unwrap();
        assert_eq!(line, "kept");
        assert_eq!(
            labels,
            r#"{__error__="TemplateFormatErr", __error_details__="template: line:1:3: executing \"line\" at <div 1 0>: error calling div: runtime error: integer divide by zero", app="a"}"#
        );
    }
}
