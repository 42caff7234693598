//! The stages behind a selector.

use storage::model::MatchOp;

use super::selector::matcher;
use super::{MAX_FILTER_BRACKETS, Parsed, Parser, compare_op};
use crate::ast::{
    CompareOp, Conversion, Extract, FormatSource, LabelFilter, LabelSelect, LineFilter, LineOp,
    LogExpr, Needle, StageExpr, Unwrap,
};
use crate::error::ParseError;
use crate::lexer::Kind;
use crate::stages::{pattern, regexp};
use crate::units::parse_float;

impl Parser {
    /// A selector and its pipeline.
    pub(super) fn log(&mut self) -> Parsed<LogExpr> {
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        let unwrap = self.pipeline(&mut stages, false)?;
        debug_assert!(unwrap.is_none(), "not asked for");
        Ok(LogExpr { matchers, stages })
    }

    /// Stages up to the first token that is none. Where `unwrap` is allowed it ends them.
    pub(super) fn pipeline(
        &mut self,
        stages: &mut Vec<StageExpr>,
        allow_unwrap: bool,
    ) -> Parsed<Option<Unwrap>> {
        loop {
            if let Some(op) = self.line_op() {
                self.advance();
                let filter = self.line_filter(op)?;
                if let Some(StageExpr::LineFilters(filters)) = stages.last_mut() {
                    filters.push(filter);
                } else {
                    stages.push(StageExpr::LineFilters(vec![filter]));
                }
                continue;
            }
            if !self.eat("|") {
                return Ok(None);
            }
            if allow_unwrap && self.eat("unwrap") {
                return self.unwrap().map(Some);
            }
            let stage = self.stage()?;
            stages.push(stage);
        }
    }

    fn line_op(&self) -> Option<LineOp> {
        let Kind::Word(word) = self.peek() else {
            return None;
        };
        let ops = [
            LineOp::Contains,
            LineOp::NotContains,
            LineOp::Regex,
            LineOp::NotRegex,
            LineOp::Pattern,
            LineOp::NotPattern,
        ];
        let op = ops.into_iter().find(|op| op.as_str() == *word)?;
        // After a metric query `!=` compares; only a text or an address range makes it a filter.
        let text_follows = matches!(
            self.peek_second(),
            Kind::Text(_) | Kind::Word("ip") | Kind::End
        ) || op != LineOp::NotContains;
        text_follows.then_some(op)
    }

    fn line_filter(&mut self, op: LineOp) -> Parsed<LineFilter> {
        let mut any_of = vec![self.needle()?];
        while self.is("or") && matches!(self.peek_second(), Kind::Text(_) | Kind::Word("ip")) {
            self.advance();
            any_of.push(self.needle()?);
        }
        Ok(LineFilter { op, any_of })
    }

    fn needle(&mut self) -> Parsed<Needle> {
        if self.eat("ip") {
            self.expect("(", &["("])?;
            let text = self.text(&["STRING"])?;
            self.expect(")", &[")"])?;
            return Ok(Needle { text, ip: true });
        }
        let text = self.text(&["STRING", "ip"])?;
        Ok(Needle { text, ip: false })
    }

    fn stage(&mut self) -> Parsed<StageExpr> {
        match self.peek().clone() {
            Kind::Word("json") => {
                self.advance();
                Ok(StageExpr::Json(self.extracts()?))
            }
            Kind::Word("logfmt") => {
                self.advance();
                let (mut strict, mut keep_empty) = (false, false);
                while let Kind::Flag(flag) = *self.peek() {
                    self.advance();
                    strict |= flag == "--strict";
                    keep_empty |= flag == "--keep-empty";
                }
                let extract = self.extracts()?;
                Ok(StageExpr::Logfmt {
                    strict,
                    keep_empty,
                    extract,
                })
            }
            Kind::Word("regexp") => {
                self.advance();
                let text = self.text(&["STRING"])?;
                regexp::check(&text)
                    .map_err(|m| ParseError::whole(format!("invalid regexp parser: {m}")))?;
                Ok(StageExpr::Regexp(text))
            }
            Kind::Word("pattern") => {
                self.advance();
                let text = self.text(&["STRING"])?;
                pattern::check(&text)
                    .map_err(|m| ParseError::whole(format!("invalid pattern parser: {m}")))?;
                Ok(StageExpr::Pattern(text))
            }
            Kind::Word("unpack") => {
                self.advance();
                Ok(StageExpr::Unpack)
            }
            Kind::Word("decolorize") => {
                self.advance();
                Ok(StageExpr::Decolorize)
            }
            Kind::Word("line_format") => {
                self.advance();
                Ok(StageExpr::LineFormat(self.text(&["STRING"])?))
            }
            Kind::Word("label_format") => {
                self.advance();
                self.label_format().map(StageExpr::LabelFormat)
            }
            Kind::Word("drop") => {
                self.advance();
                self.label_selects().map(StageExpr::Drop)
            }
            Kind::Word("keep") => {
                self.advance();
                self.label_selects().map(StageExpr::Keep)
            }
            Kind::Identifier(_) | Kind::Word("(") => {
                self.label_filter().map(StageExpr::LabelFilter)
            }
            _ => Err(self.unexpected(&[])),
        }
    }

    /// `a, b="c"` behind a parser; may be empty.
    fn extracts(&mut self) -> Parsed<Vec<Extract>> {
        let mut all = Vec::new();
        if !matches!(self.peek(), Kind::Identifier(_)) {
            return Ok(all);
        }
        loop {
            let label = self.identifier(&["IDENTIFIER"])?;
            let expression = if self.eat("=") {
                self.text(&["STRING"])?
            } else {
                label.clone()
            };
            all.push(Extract { label, expression });
            if !self.eat(",") {
                return Ok(all);
            }
        }
    }

    fn label_format(&mut self) -> Parsed<Vec<(String, FormatSource)>> {
        let mut all = Vec::new();
        loop {
            let label = self.identifier(&["IDENTIFIER"])?;
            self.expect("=", &["="])?;
            let source = match self.peek().clone() {
                Kind::Identifier(name) => FormatSource::Rename(name),
                Kind::Text(text) => FormatSource::Template(text),
                _ => return Err(self.unexpected(&["IDENTIFIER", "STRING"])),
            };
            self.advance();
            all.push((label, source));
            if !self.eat(",") {
                return Ok(all);
            }
        }
    }

    fn label_selects(&mut self) -> Parsed<Vec<LabelSelect>> {
        let mut all = Vec::new();
        loop {
            let label = self.identifier(&["IDENTIFIER"])?;
            let is_op = matches!(self.peek(), Kind::Word("=" | "=~" | "!~"))
                || (self.is("!=") && matches!(self.peek_second(), Kind::Text(_)));
            if is_op {
                let op = self.match_op(&[])?;
                let value = self.text(&["STRING"])?;
                all.push(LabelSelect::Matcher(matcher(op, label, value)?));
            } else {
                all.push(LabelSelect::Name(label));
            }
            if !self.eat(",") {
                return Ok(all);
            }
        }
    }

    fn label_filter(&mut self) -> Parsed<LabelFilter> {
        self.label_filters(None)
    }

    /// Conditions joined by `or`, `and`, `,` or nothing. The generated grammar that Loki uses gives a
    /// precedence to `or` and `and` only: next to a comma or to nothing the rest goes to the right.
    fn label_filters(&mut self, pending: Option<u8>) -> Parsed<LabelFilter> {
        let mut left = self.label_condition()?;
        loop {
            let (precedence, is_or, words) = match self.peek() {
                Kind::Word("or") => (2, true, 1),
                Kind::Word("and") => (3, false, 1),
                Kind::Word(",") => (0, false, 1),
                Kind::Word("(") | Kind::Identifier(_) => (0, false, 0),
                _ => return Ok(left),
            };
            if pending.is_some_and(|p| p > 0 && precedence > 0 && p >= precedence) {
                return Ok(left);
            }
            self.count_operator()?;
            self.at += words;
            let right = self.label_filters(Some(precedence))?;
            let (a, b) = (Box::new(left), Box::new(right));
            left = if is_or {
                LabelFilter::Or(a, b)
            } else {
                LabelFilter::And(a, b)
            };
        }
    }

    fn label_condition(&mut self) -> Parsed<LabelFilter> {
        if self.eat("(") {
            self.filter_brackets += 1;
            if self.filter_brackets > MAX_FILTER_BRACKETS {
                return Err(ParseError::whole("expression nests too deeply"));
            }
            let inner = self.label_filter()?;
            self.expect(")", &[])?;
            return Ok(inner);
        }
        let label = self.identifier(&["IDENTIFIER", "("])?;
        let Kind::Word(word) = *self.peek() else {
            return Err(self.unexpected(&[]));
        };
        match word {
            "=~" | "!~" => {
                self.advance();
                let op = if word == "=~" {
                    MatchOp::Regex
                } else {
                    MatchOp::NotRegex
                };
                let value = self.text(&["STRING"])?;
                matcher(op, label, value).map(LabelFilter::Text)
            }
            "=" | "!=" => {
                self.advance();
                let equal = word == "=";
                match self.peek().clone() {
                    Kind::Text(value) => {
                        self.advance();
                        let op = if equal {
                            MatchOp::Equal
                        } else {
                            MatchOp::NotEqual
                        };
                        matcher(op, label, value).map(LabelFilter::Text)
                    }
                    Kind::Word("ip") => {
                        self.advance();
                        self.expect("(", &["("])?;
                        let range = self.text(&["STRING"])?;
                        self.expect(")", &[")"])?;
                        Ok(LabelFilter::Ip(label, equal, range))
                    }
                    _ => {
                        let op = if equal {
                            CompareOp::Equal
                        } else {
                            CompareOp::NotEqual
                        };
                        self.compared_value(label, op)
                    }
                }
            }
            word => match compare_op(word) {
                Some(op) => {
                    self.advance();
                    self.compared_value(label, op)
                }
                None => Err(self.unexpected(&[])),
            },
        }
    }

    fn compared_value(&mut self, label: String, op: CompareOp) -> Parsed<LabelFilter> {
        let negative = if self.is("-") || self.is("+") {
            self.advance() == Kind::Word("-")
        } else {
            false
        };
        let filter = match self.peek().clone() {
            Kind::Number(number) => {
                let value = parse_float(&number).map_err(ParseError::whole)?;
                LabelFilter::Number(label, op, if negative { -value } else { value })
            }
            Kind::Duration(ns) => LabelFilter::Duration(label, op, if negative { -ns } else { ns }),
            Kind::Bytes(bytes) if !negative => LabelFilter::Bytes(label, op, bytes),
            _ => return Err(self.unexpected(&[])),
        };
        self.advance();
        Ok(filter)
    }

    fn unwrap(&mut self) -> Parsed<Unwrap> {
        let conversion = match self.peek() {
            Kind::Word("bytes") => Conversion::Bytes,
            Kind::Word("duration") => Conversion::Duration,
            Kind::Word("duration_seconds") => Conversion::DurationSeconds,
            _ => Conversion::Number,
        };
        let label = if conversion == Conversion::Number {
            self.identifier(&[
                "IDENTIFIER",
                "BYTES_CONV",
                "DURATION_CONV",
                "DURATION_SECONDS_CONV",
            ])?
        } else {
            self.advance();
            self.expect("(", &["("])?;
            let label = self.identifier(&["IDENTIFIER"])?;
            self.expect(")", &[")"])?;
            label
        };
        let mut filters = Vec::new();
        while self.eat("|") {
            if !matches!(self.peek(), Kind::Identifier(_) | Kind::Word("(")) {
                return Err(self.unexpected(&["IDENTIFIER", "("]));
            }
            filters.push(self.label_filter()?);
        }
        Ok(Unwrap {
            label,
            conversion,
            filters,
        })
    }
}
