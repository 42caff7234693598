//! The stages of a query one after the other, over one line at a time.

use std::borrow::Cow;

use storage::model::Labels;

use crate::ast::{LogExpr, StageExpr};
use crate::error::Error;
use crate::labels::{LabelBuilder, LabelSet};
use crate::stages::{self, Hints, Stage};

/// Compiled stages.
pub struct Pipeline {
    stages: Vec<Box<dyn Stage>>,
    /// Whether the first stage consists of line filters, which need no labels.
    filters_first: bool,
}

impl Pipeline {
    /// Compiles the stages of a log query.
    ///
    /// # Errors
    /// [`Error::Stage`] for a wrong pattern or template.
    pub fn new(log: &LogExpr) -> Result<Self, Error> {
        Self::with_hints(&log.stages, &Hints::default())
    }

    pub(crate) fn with_hints(stages: &[StageExpr], hints: &Hints) -> Result<Self, Error> {
        let compile = |stage: &StageExpr| {
            stages::compile(stage, hints).map_err(|message| Error::Stage {
                stage: stage.to_string(),
                message,
            })
        };
        let ordered = reorder(stages);
        let filters_first = matches!(ordered.first(), Some(StageExpr::LineFilters(_)));
        let stages = ordered.into_iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self {
            stages,
            filters_first,
        })
    }

    /// One entry of a stream through the pipeline: its labels and its line, or nothing where it is
    /// left out. For many entries of one stream a plan is cheaper.
    pub fn process<'m>(
        &self,
        stream: &Labels,
        t_ns: i64,
        line: &str,
        metadata: impl IntoIterator<Item = (&'m str, &'m str)>,
    ) -> Option<(LabelSet, String)> {
        let mut labels = LabelBuilder::new(stream.into());
        for (name, value) in metadata {
            labels.set_metadata(name, value);
        }
        if !self.admits(line) {
            return None;
        }
        let line = self.run(t_ns, line, &mut labels)?.into_owned();
        Some((labels.labels(), line))
    }

    /// Whether the line gets through the filters that need no labels. Most lines of most queries do
    /// not, and nothing else has to be done for them.
    pub(crate) fn admits(&self, line: &str) -> bool {
        !self.filters_first || self.stages[0].admits(line)
    }

    /// The line, which is admitted, as it comes out; its labels are left in the builder.
    pub(crate) fn run<'a>(
        &self,
        t_ns: i64,
        line: &'a str,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        let mut line = Cow::Borrowed(line);
        for stage in &self.stages[usize::from(self.filters_first)..] {
            line = stage.process(t_ns, line, labels)?;
        }
        Some(line)
    }
}

/// Line filters come first, as far as no `line_format` stands before them: they are cheap. Loki does
/// so also across `unpack` and `decolorize`, whose filters therefore see the line as it was stored.
fn reorder(stages: &[StageExpr]) -> Vec<&StageExpr> {
    let mut all = Vec::with_capacity(stages.len());
    for run in stages.split_inclusive(|stage| matches!(stage, StageExpr::LineFormat(_))) {
        let is_filter = |stage: &&StageExpr| matches!(stage, StageExpr::LineFilters(_));
        all.extend(run.iter().filter(is_filter));
        all.extend(run.iter().filter(|stage| !is_filter(stage)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Expr;
    use crate::parser::parse;

    #[test]
    fn single_entries_go_through() {
        let Expr::Log(log) =
            parse(r#"{a="b"} |= "x" | logfmt | line_format "{{.k}} {{.m}}""#).unwrap()
        else {
            panic!("a log query");
        };
        let pipeline = Pipeline::new(&log).unwrap();
        let stream = Labels::from_pairs([("a", "b")]);
        let (labels, line) = pipeline.process(&stream, 0, "k=x", [("m", "1")]).unwrap();
        assert_eq!(
            (labels.to_string().as_str(), line.as_str()),
            (r#"{a="b", k="x", m="1"}"#, "x 1")
        );
        assert_eq!(pipeline.process(&stream, 0, "k=y", []), None);
    }
}
