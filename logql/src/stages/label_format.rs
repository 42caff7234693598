//! `label_format a=b, c="{{.d}}"`: renames labels and makes them from templates.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{Hints, Stage};
use crate::ast::FormatSource;
use crate::labels::{Category, LabelBuilder};
use crate::template::LineTemplate;

const ERROR: &str = "TemplateFormatErr";

pub(super) struct LabelFormat(Vec<(String, Source)>);

enum Source {
    Rename(String),
    Template(Box<LineTemplate>),
}

impl LabelFormat {
    pub(super) fn new(formats: &[(String, FormatSource)], hints: &Hints) -> Result<Self, String> {
        let mut names = HashSet::new();
        let mut all = Vec::with_capacity(formats.len());
        for (name, source) in formats {
            if name == "__error__" {
                return Err(format!("{name} cannot be formatted"));
            }
            if !names.insert(name) {
                return Err(format!(
                    "multiple label name '{name}' not allowed in a single format operation"
                ));
            }
            let source = match source {
                FormatSource::Rename(from) => Source::Rename(from.clone()),
                FormatSource::Template(text) => {
                    let template = LineTemplate::new("label", text, hints.now_ns)
                        .map_err(|e| format!("invalid template for label '{name}': {e}"))?;
                    Source::Template(Box::new(template))
                }
            };
            all.push((name.clone(), source));
        }
        Ok(Self(all))
    }
}

impl Stage for LabelFormat {
    fn process<'a>(
        &self,
        t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        for (name, source) in &self.0 {
            match source {
                Source::Rename(from) => {
                    if let Some(value) = labels.get(from).map(str::to_owned) {
                        labels.remove(from);
                        labels.set(Category::Parsed, name, &value);
                    }
                }
                Source::Template(template) => match template.run(t_ns, &line, labels) {
                    Ok(value) => labels.set(Category::Parsed, name, &value),
                    Err(details) => labels.set_error(ERROR, &details),
                },
            }
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::run;

    #[test]
    fn labels_are_renamed_once() {
        assert_eq!(
            run("| label_format x=app, y=app", "").unwrap().1,
            r#"{x="a"}"#
        );
        assert_eq!(
            run("| label_format x=nosuch", "").unwrap().1,
            r#"{app="a"}"#
        );
    }

    #[test]
    fn templates_see_labels_and_line() {
        assert_eq!(
            run("| label_format app=`{{.app}}-{{__line__}}`", "l")
                .unwrap()
                .1,
            r#"{app="a-l"}"#
        );
    }
}
