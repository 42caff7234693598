//! The stages of a pipeline: one stage, one file, with its tests.

mod decolorize;
mod drop;
mod ip;
mod json;
mod json_text;
mod keep;
mod label_filter;
mod label_format;
mod line_filter;
mod line_format;
mod logfmt;
pub(crate) mod pattern;
pub(crate) mod regexp;
mod unpack;
mod unwrap;

use std::borrow::Cow;

use crate::ast::{FormatSource, LabelSelect, LineOp, StageExpr};
use crate::labels::LabelBuilder;

pub(crate) use json::{level as json_level, paths as json_paths};
pub(crate) use label_filter::{Condition, names as filter_names};
pub(crate) use unwrap::Value;

/// What a stage may know about the whole query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints {
    /// No label of the result is looked at: parsers need not run.
    pub(crate) no_labels: bool,
    /// The only labels that are looked at. A parser stops when it has found them all.
    pub(crate) required: Option<Vec<String>>,
    /// The time of `now` in templates.
    pub(crate) now_ns: i64,
}

/// A small pure step: it may change the line and its labels, or leave the line out.
pub(crate) trait Stage: Send + Sync {
    /// Whether the line can get through at all, as far as that can be told without its labels.
    fn admits(&self, _line: &str) -> bool {
        true
    }

    /// The line as it goes on, or nothing where it is left out.
    fn process<'a>(
        &self,
        t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>>;
}

/// Makes a stage ready to run.
///
/// # Errors
/// What is wrong with its pattern or template.
pub(crate) fn compile(stage: &StageExpr, hints: &Hints) -> Result<Box<dyn Stage>, String> {
    Ok(match stage {
        StageExpr::LineFilters(filters) => Box::new(line_filter::LineFilters::new(filters)?),
        StageExpr::Json(extract) if extract.is_empty() => Box::new(json::Json::new(hints)),
        StageExpr::Json(extract) => Box::new(json::JsonExtract::new(extract, hints)?),
        StageExpr::Logfmt {
            strict,
            keep_empty,
            extract,
        } if extract.is_empty() => Box::new(logfmt::Logfmt::new(*strict, *keep_empty, hints)),
        StageExpr::Logfmt {
            strict, extract, ..
        } => Box::new(logfmt::LogfmtExtract::new(*strict, extract, hints)?),
        StageExpr::Regexp(text) => Box::new(regexp::Regexp::new(text, hints)?),
        StageExpr::Pattern(text) => Box::new(pattern::PatternParser::new(text, hints)?),
        StageExpr::Unpack => Box::new(unpack::Unpack::new(hints)),
        StageExpr::LabelFilter(filter) => Box::new(Condition::new(filter)?),
        StageExpr::LineFormat(text) => Box::new(line_format::LineFormat::new(text, hints)?),
        StageExpr::LabelFormat(formats) => {
            Box::new(label_format::LabelFormat::new(formats, hints)?)
        }
        StageExpr::Decolorize => Box::new(decolorize::Decolorize::new()?),
        StageExpr::Drop(what) => Box::new(drop::Drop::new(what)),
        StageExpr::Keep(what) => Box::new(keep::Keep::new(what)),
    })
}

/// Texts that a line has to contain to get through, as far as that can be told before any stage
/// changes lines.
pub(crate) fn needles(stages: &[StageExpr]) -> Vec<String> {
    let mut all = Vec::new();
    for stage in stages {
        match stage {
            StageExpr::LineFilters(filters) => {
                for filter in filters {
                    if let (LineOp::Contains, [needle]) = (filter.op, filter.any_of.as_slice())
                        && !needle.ip
                        && !needle.text.is_empty()
                    {
                        all.push(needle.text.clone());
                    }
                }
            }
            StageExpr::LineFormat(_) => break,
            _ => {}
        }
    }
    all
}

/// The labels that a stage looks at, or nothing where that cannot be told.
pub(crate) fn looks_at(stage: &StageExpr, out: &mut Vec<String>) -> Option<()> {
    match stage {
        StageExpr::LabelFilter(filter) => label_filter::names(filter, out),
        StageExpr::LineFormat(text) => out.extend(crate::template::fields(text)?),
        StageExpr::LabelFormat(formats) => {
            for (_, source) in formats {
                match source {
                    FormatSource::Rename(name) => out.push(name.clone()),
                    FormatSource::Template(text) => out.extend(crate::template::fields(text)?),
                }
            }
        }
        StageExpr::Drop(what) | StageExpr::Keep(what) => {
            out.extend(what.iter().filter_map(|w| match w {
                LabelSelect::Matcher(m) => Some(m.name().to_owned()),
                LabelSelect::Name(_) => None,
            }));
        }
        _ => {}
    }
    Some(())
}

/// A label name made of any text: other characters become `_`, a leading digit gets one before it.
pub(crate) fn sanitize_into(name: &str, at_start: bool, out: &mut String) {
    let name = name.trim();
    if at_start && name.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    for c in name.chars() {
        out.push(if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        });
    }
}

#[cfg(test)]
pub(crate) fn run(stages: &str, line: &str) -> Option<(String, String)> {
    let query = format!("{{app=\"a\"}} {stages}");
    let crate::ast::Expr::Log(log) = crate::parser::parse(&query).unwrap() else {
        panic!("no log query: {query}");
    };
    let mut labels = LabelBuilder::new([("app", "a")].into_iter().collect());
    let mut line = Cow::Borrowed(line);
    for stage in &log.stages {
        line = compile(stage, &Hints::default())
            .unwrap()
            .process(0, line, &mut labels)?;
    }
    Some((line.into_owned(), labels.labels().to_string()))
}
