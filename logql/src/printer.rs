//! Canonical text: what Loki prints for a tree. It parses to the same tree, but for sizes, which
//! Loki prints rounded.

use std::fmt;

use storage::model::Matcher;

use crate::ast::{
    AggregateExpr, BinaryExpr, Cardinality, Conversion, Expr, Extract, FormatSource, Grouping,
    LabelFilter, LabelReplaceExpr, LabelSelect, LineFilter, LogExpr, LogRange, Matching, Needle,
    RangeExpr, StageExpr, Unwrap, VariantsExpr,
};
use crate::units::{format_bytes, format_go_duration, format_model_duration, quote};

/// A name in front of an operator. A stray character is a name too, and `!` right before `=` would be
/// another operator.
struct Named<'a>(&'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        f.write_str(if self.0 == "!" { " " } else { "" })
    }
}

pub(crate) fn matcher(m: &Matcher) -> String {
    format!("{}{}{}", Named(m.name()), m.op().as_str(), quote(m.value()))
}

pub(crate) fn selector(matchers: &[Matcher]) -> String {
    let all: Vec<_> = matchers.iter().map(matcher).collect();
    format!("{{{}}}", all.join(", "))
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(e) => e.fmt(f),
            Self::Range(e) => e.fmt(f),
            Self::Aggregate(e) => e.fmt(f),
            Self::Binary(e) => e.fmt(f),
            Self::LabelReplace(e) => e.fmt(f),
            Self::Vector(value) => write!(f, "vector({value:.6})"),
            Self::Literal(value) => write!(f, "{value}"),
            Self::Variants(e) => e.fmt(f),
        }
    }
}

impl fmt::Display for LogExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&selector(&self.matchers))?;
        self.stages
            .iter()
            .try_for_each(|stage| write!(f, " {stage}"))
    }
}

impl fmt::Display for StageExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineFilters(filters) => join(f, filters, " "),
            Self::Json(extract) => {
                f.write_str("| json")?;
                extracts(f, extract)
            }
            Self::Logfmt {
                strict,
                keep_empty,
                extract,
            } => {
                f.write_str("| logfmt")?;
                f.write_str(if *strict { " --strict" } else { "" })?;
                f.write_str(if *keep_empty { " --keep-empty" } else { "" })?;
                extracts(f, extract)
            }
            Self::Regexp(text) => write!(f, "| regexp {}", quote(text)),
            Self::Pattern(text) => write!(f, "| pattern {}", quote(text)),
            Self::Unpack => f.write_str("| unpack"),
            Self::LabelFilter(filter) => write!(f, "| {filter}"),
            Self::LineFormat(text) => write!(f, "| line_format {}", quote(text)),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                for (i, (name, source)) in formats.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    match source {
                        FormatSource::Rename(from) => {
                            let blank = if from == "~" { " " } else { "" };
                            write!(f, "{}={blank}{from}", Named(name))?;
                        }
                        FormatSource::Template(text) => {
                            write!(f, "{}={}", Named(name), quote(text))?;
                        }
                    }
                }
                Ok(())
            }
            Self::Decolorize => f.write_str("| decolorize"),
            Self::Drop(what) => {
                f.write_str("| drop ")?;
                join(f, what, ",")
            }
            Self::Keep(what) => {
                f.write_str("| keep ")?;
                join(f, what, ",")
            }
        }
    }
}

fn join<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], separator: &str) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i == 0 { "" } else { separator })?;
    }
    Ok(())
}

fn extracts(f: &mut fmt::Formatter<'_>, extract: &[Extract]) -> fmt::Result {
    for (i, e) in extract.iter().enumerate() {
        let separator = if i == 0 { " " } else { "," };
        write!(f, "{separator}{}={}", Named(&e.label), quote(&e.expression))?;
    }
    Ok(())
}

impl fmt::Display for LineFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.op.as_str())?;
        join(f, &self.any_of, " or ")
    }
}

impl fmt::Display for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ip {
            write!(f, "ip({})", quote(&self.text))
        } else {
            f.write_str(&quote(&self.text))
        }
    }
}

impl fmt::Display for LabelSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Matcher(m) => f.write_str(&matcher(m)),
        }
    }
}

impl fmt::Display for LabelFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(m) => f.write_str(&matcher(m)),
            Self::Number(name, op, value) => {
                write!(f, "{}{}{value}", Named(name), op.as_str())
            }
            Self::Duration(name, op, ns) => {
                write!(
                    f,
                    "{}{}{}",
                    Named(name),
                    op.as_str(),
                    format_go_duration(*ns)
                )
            }
            Self::Bytes(name, op, bytes) => {
                write!(f, "{}{}{}", Named(name), op.as_str(), format_bytes(*bytes))
            }
            Self::Ip(name, equal, range) => {
                write!(
                    f,
                    "{}{}ip({})",
                    Named(name),
                    if *equal { "=" } else { "!=" },
                    quote(range)
                )
            }
            Self::And(a, b) => write!(f, "( {a} , {b} )"),
            Self::Or(a, b) => write!(f, "( {a} or {b} )"),
        }
    }
}

impl fmt::Display for Unwrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.conversion {
            Conversion::Number => write!(f, "| unwrap {}", self.label)?,
            Conversion::Bytes => write!(f, "| unwrap bytes({})", self.label)?,
            Conversion::Duration => write!(f, "| unwrap duration({})", self.label)?,
            Conversion::DurationSeconds => write!(f, "| unwrap duration_seconds({})", self.label)?,
        }
        self.filters
            .iter()
            .try_for_each(|filter| write!(f, " | {filter}"))
    }
}

impl LogRange {
    /// `[5m] offset 1h0m0s`.
    pub(crate) fn range_text(&self) -> String {
        let mut text = format!("[{}]", format_model_duration(self.range_ns));
        if self.offset_ns != 0 {
            text.push_str(&format!(" offset {}", format_go_duration(self.offset_ns)));
        }
        text
    }
}

impl fmt::Display for LogRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.log.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " {unwrap}")?;
        }
        f.write_str(&self.range_text())
    }
}

impl Grouping {
    /// `by (a,b)`, the labels separated as told.
    pub(crate) fn text(&self, separator: &str) -> String {
        let word = if self.without { "without" } else { "by" };
        format!("{word} ({})", self.labels.join(separator))
    }
}

impl fmt::Display for RangeExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.op.as_str())?;
        if let Some(param) = self.param {
            write!(f, "{param},")?;
        }
        write!(f, "{})", self.range)?;
        match &self.grouping {
            Some(grouping) => write!(f, " {}", grouping.text(",")),
            None => Ok(()),
        }
    }
}

impl fmt::Display for AggregateExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if let Some(grouping) = &self.grouping {
            write!(f, " {}", grouping.text(","))?;
        }
        f.write_str("(")?;
        if let Some(param) = self.param {
            write!(f, "{param},")?;
        }
        write!(f, "{})", self.inner)
    }
}

impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.on { "on" } else { "ignoring" };
        write!(f, "{word} ({})", self.labels.join(","))?;
        match self.cardinality {
            Cardinality::OneToOne => return Ok(()),
            Cardinality::ManyToOne => f.write_str(" group_left")?,
            Cardinality::OneToMany => f.write_str(" group_right")?,
        }
        if !self.include.is_empty() {
            write!(f, " ({})", self.include.join(","))?;
        }
        Ok(())
    }
}

impl BinaryExpr {
    /// `/ on (a) group_left (b)`.
    pub(crate) fn op_text(&self) -> String {
        let mut text = self.op.as_str().to_owned();
        if self.return_bool {
            text.push_str(" bool");
        }
        if let Some(matching) = &self.matching {
            text.push_str(&format!(" {matching}"));
        }
        text
    }
}

impl fmt::Display for BinaryExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.left, self.op_text(), self.right)
    }
}

impl fmt::Display for LabelReplaceExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "label_replace({}", self.inner)?;
        let text = &self.text;
        for part in [&text.dst, &text.replacement, &text.src, &text.regex] {
            write!(f, ",{}", quote(part))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for VariantsExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("variants(")?;
        join(f, &self.variants, ", ")?;
        write!(f, ") of ({})", self.of)
    }
}
