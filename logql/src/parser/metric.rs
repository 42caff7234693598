//! Functions, aggregations and operators.

use storage::model::compile_search;

use super::{Parsed, Parser, binary_op};
use crate::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, Cardinality, Expr, Grouping,
    LabelReplaceExpr, LabelReplaceText, LogExpr, LogRange, Matching, RangeExpr, RangeOp,
    VariantsExpr,
};
use crate::error::ParseError;
use crate::lexer::Kind;
use crate::units::parse_float;
use crate::vector::arithmetic;

/// Whether a word of the grammar names a function.
pub(super) fn is_function(word: &str) -> bool {
    range_op(word).is_some()
        || aggregate_op(word).is_some()
        || matches!(word, "vector" | "label_replace" | "variants")
}

fn range_op(word: &str) -> Option<RangeOp> {
    RangeOp::TABLE
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, op)| *op)
}

fn aggregate_op(word: &str) -> Option<AggregateOp> {
    AggregateOp::TABLE
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, op)| *op)
}

impl Parser {
    /// An expression of operators that bind at least as tightly as given.
    pub(super) fn expr(&mut self, least: u8) -> Parsed<Expr> {
        let mut left = self.deeper(Self::operand)?;
        loop {
            let Kind::Word(word) = *self.peek() else {
                return Ok(left);
            };
            let Some(op) = binary_op(word) else {
                return Ok(left);
            };
            if op.precedence() < least {
                return Ok(left);
            }
            self.count_operator()?;
            self.advance();
            let return_bool = self.eat("bool");
            let matching = self.matching()?;
            let right_least = if op == BinaryOp::Pow {
                op.precedence()
            } else {
                op.precedence() + 1
            };
            let right = self.deeper(|p| p.expr(right_least))?;
            left = binary(op, return_bool, matching, left, right)?;
        }
    }

    /// An expression that must be a metric query. A selector is refused only behind it, because it
    /// might have been the start of an operation.
    fn metric(&mut self) -> Parsed<Expr> {
        let expr = self.expr(0)?;
        if expr.is_log() {
            return Err(self.unexpected(&[]));
        }
        Ok(expr)
    }

    fn operand(&mut self) -> Parsed<Expr> {
        match self.peek().clone() {
            Kind::Word("{") => self.log().map(Expr::Log),
            Kind::Word("(") => {
                self.advance();
                let inner = self.expr(0)?;
                self.expect(")", &[])?;
                Ok(inner)
            }
            Kind::Number(_) => self.number().map(Expr::Literal),
            Kind::Word(sign @ ("+" | "-")) => {
                self.advance();
                let value = self.number()?;
                Ok(Expr::Literal(if sign == "-" { -value } else { value }))
            }
            Kind::Word("vector") => {
                self.advance();
                self.expect("(", &["("])?;
                let value = self.number()?;
                self.expect(")", &[")"])?;
                Ok(Expr::Vector(value))
            }
            Kind::Word("label_replace") => self.label_replace(),
            Kind::Word("variants") => self.variants(),
            Kind::Word(word) => {
                if let Some(op) = range_op(word) {
                    self.range_function(op)
                } else if let Some(op) = aggregate_op(word) {
                    self.aggregate(op)
                } else {
                    Err(self.unexpected(&[]))
                }
            }
            _ => Err(self.unexpected(&[])),
        }
    }

    fn number(&mut self) -> Parsed<f64> {
        match self.peek() {
            Kind::Number(text) => {
                let value = parse_float(text).map_err(ParseError::whole)?;
                self.advance();
                Ok(value)
            }
            _ => Err(self.unexpected(&["NUMBER"])),
        }
    }

    fn label_replace(&mut self) -> Parsed<Expr> {
        self.advance();
        self.expect("(", &["("])?;
        let inner = self.metric()?;
        let mut texts = Vec::with_capacity(4);
        for _ in 0..4 {
            self.expect(",", &[","])?;
            texts.push(self.text(&["STRING"])?);
        }
        self.expect(")", &[")"])?;
        let [dst, replacement, src, regex] = <[String; 4]>::try_from(texts).unwrap_or_default();
        if let Err(message) = compile_search(&format!("^(?:{regex})$")) {
            return Err(ParseError::whole(format!(
                "invalid regex in label_replace: {message}"
            )));
        }
        let text = LabelReplaceText {
            dst,
            replacement,
            src,
            regex,
        };
        Ok(Expr::LabelReplace(Box::new(LabelReplaceExpr {
            inner,
            text,
        })))
    }

    fn variants(&mut self) -> Parsed<Expr> {
        self.advance();
        self.expect("(", &["("])?;
        let mut variants = vec![self.metric()?];
        while self.eat(",") {
            variants.push(self.metric()?);
        }
        self.expect(")", &[])?;
        self.expect("of", &["of"])?;
        self.expect("(", &["("])?;
        let of = self.log_range()?;
        self.expect(")", &[")"])?;
        Ok(Expr::Variants(Box::new(VariantsExpr { variants, of })))
    }

    fn range_function(&mut self, op: RangeOp) -> Parsed<Expr> {
        self.advance();
        self.expect("(", &["("])?;
        let param = if matches!(self.peek(), Kind::Number(_)) {
            let value = self.number()?;
            self.expect(",", &[","])?;
            Some(value)
        } else {
            None
        };
        if !self.is("{") && !self.is("(") {
            return Err(self.unexpected(&["NUMBER", "{", "("]));
        }
        let range = self.log_range()?;
        self.expect(")", &[")"])?;
        let grouping = self.grouping()?;
        let expr = RangeExpr {
            op,
            param,
            range,
            grouping,
        };
        check_range(&expr)?;
        Ok(Expr::Range(Box::new(expr)))
    }

    /// A pipeline with a range behind it, or behind its selector.
    fn log_range(&mut self) -> Parsed<LogRange> {
        if self.eat("(") {
            let mut inner = self.deeper(Self::log_range_parts)?;
            self.expect(")", &[])?;
            if inner.1.is_none() {
                inner.1 = self.range_and_offset()?;
            }
            return self.finish_range(inner);
        }
        let parts = self.log_range_parts()?;
        self.finish_range(parts)
    }

    fn log_range_parts(&mut self) -> Parsed<(LogRange, Option<(i64, i64)>)> {
        if self.is("(") {
            self.advance();
            let mut inner = self.deeper(Self::log_range_parts)?;
            self.expect(")", &[])?;
            if inner.1.is_none() {
                inner.1 = self.range_and_offset()?;
            }
            return Ok(inner);
        }
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        let mut unwrap = self.pipeline(&mut stages, true)?;
        let range = self.range_and_offset()?;
        if range.is_none() && unwrap.is_some() && !self.is(")") {
            return Err(self.unexpected(&["RANGE", "|"]));
        }
        if range.is_some() && unwrap.is_none() {
            unwrap = self.pipeline(&mut stages, true)?;
        }
        let log = LogExpr { matchers, stages };
        Ok((
            LogRange {
                log,
                unwrap,
                range_ns: 0,
                offset_ns: 0,
            },
            range,
        ))
    }

    fn finish_range(&self, parts: (LogRange, Option<(i64, i64)>)) -> Parsed<LogRange> {
        let (range, Some((range_ns, offset_ns))) = parts else {
            return Err(self.unexpected(&[]));
        };
        Ok(LogRange {
            range_ns,
            offset_ns,
            ..range
        })
    }

    fn range_and_offset(&mut self) -> Parsed<Option<(i64, i64)>> {
        let Kind::Range(range_ns) = *self.peek() else {
            return Ok(None);
        };
        self.advance();
        let mut offset_ns = 0;
        if self.eat("offset") {
            let negative = self.eat("-");
            let Kind::Duration(ns) = *self.peek() else {
                return Err(self.unexpected(&["DURATION"]));
            };
            self.advance();
            offset_ns = if negative { -ns } else { ns };
        }
        Ok(Some((range_ns, offset_ns)))
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = self.is("without");
        if !without && !self.is("by") {
            return Ok(None);
        }
        self.advance();
        let labels = self.label_list()?;
        Ok(Some(Grouping { without, labels }))
    }

    fn aggregate(&mut self, op: AggregateOp) -> Parsed<Expr> {
        self.advance();
        let mut grouping = self.grouping()?;
        self.expect("(", &["("])?;
        let param = match (self.peek().clone(), self.peek_second()) {
            (Kind::Number(text), Kind::Word(",")) => {
                self.at += 2;
                Some(text)
            }
            _ => None,
        };
        let inner = self.metric()?;
        self.expect(")", &[])?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let param = aggregate_param(op, param.as_deref())?;
        if matches!(op, AggregateOp::Sort | AggregateOp::SortDesc) && grouping.is_some() {
            return Err(ParseError::whole(
                "sort and sort_desc doesn't allow grouping by ",
            ));
        }
        let grouping = grouping.filter(|g| g.without || !g.labels.is_empty());
        Ok(Expr::Aggregate(Box::new(AggregateExpr {
            op,
            param,
            grouping,
            inner,
        })))
    }

    fn matching(&mut self) -> Parsed<Option<Matching>> {
        let on = self.is("on");
        if !on && !self.is("ignoring") {
            return Ok(None);
        }
        self.advance();
        let labels = self.label_list()?;
        let cardinality = if self.eat("group_left") {
            Cardinality::ManyToOne
        } else if self.eat("group_right") {
            Cardinality::OneToMany
        } else {
            Cardinality::OneToOne
        };
        // What follows `group_left` in parentheses is a list of labels unless it starts a query.
        let list = cardinality != Cardinality::OneToOne
            && self.is("(")
            && matches!(self.peek_second(), Kind::Identifier(_) | Kind::Word(")"));
        let include = if list { self.label_list()? } else { Vec::new() };
        Ok(Some(Matching {
            on,
            labels,
            cardinality,
            include,
        }))
    }
}

fn check_range(expr: &RangeExpr) -> Parsed<()> {
    let name = expr.op.as_str();
    let fail = |message: String| Err(ParseError::whole(message));
    match (expr.op, expr.param) {
        (RangeOp::Quantile, None) => {
            return fail(format!("parameter required for operation {name}"));
        }
        (op, Some(value)) if op != RangeOp::Quantile => {
            return fail(format!(
                "parameter {value} not supported for operation {name}"
            ));
        }
        _ => {}
    }
    let groups = matches!(
        expr.op,
        RangeOp::Avg
            | RangeOp::Max
            | RangeOp::Min
            | RangeOp::Stddev
            | RangeOp::Stdvar
            | RangeOp::Quantile
            | RangeOp::First
            | RangeOp::Last
    );
    if expr.grouping.is_some() && !groups {
        return fail(format!("grouping not allowed for {name} aggregation"));
    }
    let unwraps = expr.range.unwrap.is_some();
    if unwraps
        && matches!(
            expr.op,
            RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate
        )
    {
        return fail(format!("invalid aggregation {name} with unwrap"));
    }
    if !unwraps && (groups || matches!(expr.op, RangeOp::Sum | RangeOp::RateCounter)) {
        return fail(format!("invalid aggregation {name} without unwrap"));
    }
    Ok(())
}

fn aggregate_param(op: AggregateOp, text: Option<&str>) -> Parsed<Option<usize>> {
    let name = op.as_str();
    let takes = matches!(
        op,
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::ApproxTopk
    );
    let fail = |message: String| Err(ParseError::whole(message));
    match (takes, text) {
        (false, None) => Ok(None),
        (false, Some(text)) => fail(format!(
            "unsupported parameter for operation {name}({text},"
        )),
        (true, None) => fail(format!("parameter required for operation {name}")),
        (true, Some(text)) => match text.parse::<usize>() {
            Ok(0) => fail(format!(
                "invalid parameter (must be greater than 0) {name}({text}"
            )),
            Ok(n) => Ok(Some(n)),
            Err(_) => fail(format!("invalid parameter {name}({text},")),
        },
    }
}

fn binary(
    op: BinaryOp,
    return_bool: bool,
    matching: Option<Matching>,
    left: Expr,
    right: Expr,
) -> Parsed<Expr> {
    for (side, leg) in [("left", &left), ("right", &right)] {
        if let Expr::Log(log) = leg {
            let kind = if log.stages.is_empty() {
                "MatchersExpr"
            } else {
                "PipelineExpr"
            };
            return Err(ParseError::whole(format!(
                "unexpected type for {side} leg of binary operation ({}): *syntax.{kind}",
                op.as_str()
            )));
        }
    }
    if op.is_set() {
        for (side, leg) in [("left", &left), ("right", &right)] {
            if let Expr::Literal(value) = leg {
                return Err(ParseError::whole(format!(
                    "unexpected literal for {side} leg of logical/set binary operation ({}): {value:.6}",
                    op.as_str()
                )));
            }
        }
    }
    if let (Expr::Literal(a), Expr::Literal(b)) = (&left, &right) {
        let value = match op {
            BinaryOp::Compare(compare) => f64::from(u8::from(compare.holds(a, b))),
            op => arithmetic(op, *a, *b),
        };
        return Ok(Expr::Literal(value));
    }
    Ok(Expr::Binary(Box::new(BinaryExpr {
        op,
        return_bool,
        matching,
        left,
        right,
    })))
}
