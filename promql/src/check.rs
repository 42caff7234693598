//! Types and numbers of arguments, read from the table of functions; and which clauses an operator may have.

use crate::ast::{
    Aggregate, AggregateOp, Binary, Call, Card, Expr, Span, ValueType, VectorSelector,
};
use crate::error::ParseError;
use crate::functions::Func;
use crate::lexer::quote;

const METRIC_NAME: &str = "__name__";

/// Checks a tree, and settles what depends on types: the matching of an operator between anything but two instant
/// vectors is dropped, that of a set operator becomes many-to-many.
///
/// # Errors
/// The first fault, in upstream's words and at its place.
pub(crate) fn check(expr: &mut Expr, text: &str) -> Result<(), ParseError> {
    Checker { text }.expr(expr)
}

struct Checker<'a> {
    text: &'a str,
}

type Checked = Result<(), ParseError>;

impl Checker<'_> {
    fn expr(&self, expr: &mut Expr) -> Checked {
        match expr {
            Expr::Number(_) | Expr::String(_) => Ok(()),
            Expr::Vector(e) => self.vector(e, false),
            Expr::Matrix(e) => self.vector(&e.vector, false),
            Expr::Paren(e) => self.expr(&mut e.expr),
            Expr::Call(e) => self.call(e),
            Expr::Aggregate(e) => self.aggregate(e),
            Expr::Binary(e) => self.binary(e),
            Expr::Unary(e) => {
                self.expr(&mut e.expr)?;
                let found = e.expr.value_type();
                if matches!(found, ValueType::Scalar | ValueType::Vector) {
                    return Ok(());
                }
                self.fail(
                    e.span,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                        quote(found.documented())
                    ),
                )
            }
            Expr::Subquery(e) => {
                self.expr(&mut e.expr)?;
                let found = e.expr.value_type();
                if found == ValueType::Vector {
                    return Ok(());
                }
                self.fail(
                    e.span,
                    format!(
                        "subquery is only allowed on instant vector, got {} instead",
                        found.as_str()
                    ),
                )
            }
        }
    }

    fn vector(&self, vector: &VectorSelector, may_select_all: bool) -> Checked {
        if !vector.name.is_empty() {
            // The last matcher is the one of the name itself.
            let others = &vector.matchers[..vector.matchers.len() - 1];
            if let Some(other) = others.iter().find(|m| m.name() == METRIC_NAME) {
                return self.fail(
                    vector.span,
                    format!(
                        "metric name must not be set twice: {} or {}",
                        quote(&vector.name),
                        quote(other.value())
                    ),
                );
            }
            return Ok(());
        }
        if may_select_all || vector.matchers.iter().any(|m| !m.matches_empty()) {
            return Ok(());
        }
        self.fail(
            vector.span,
            "vector selector must contain at least one non-empty matcher",
        )
    }

    fn call(&self, call: &mut Call) -> Checked {
        let signature = call.func.signature();
        let given = call.args.len();
        let name = quote(signature.name);
        let (least, most) = (signature.min_args(), signature.max_args());
        if most == Some(least) && given != least {
            return self.fail(
                call.span,
                format!("expected {least} argument(s) in call to {name}, got {given}"),
            );
        }
        if given < least {
            return self.fail(
                call.span,
                format!("expected at least {least} argument(s) in call to {name}, got {given}"),
            );
        }
        if let Some(most) = most
            && given > most
        {
            return self.fail(
                call.span,
                format!("expected at most {most} argument(s) in call to {name}, got {given}"),
            );
        }
        let info = call.func == Func::Info;
        if info && let Some(labels) = call.args.get(1) {
            self.info_labels(labels, call.span)?;
        }
        for (index, arg) in call.args.iter_mut().enumerate() {
            match arg {
                Expr::Vector(selector) if info && index == 1 => self.vector(selector, true)?,
                _ => self.expr(arg)?,
            }
            if let Some(wanted) = signature.arg(index) {
                self.expect(arg, wanted, &format!("call to function {name}"))?;
            }
        }
        Ok(())
    }

    /// The second argument of `info` is looked at before all others, and a wrong type of it is told of the call.
    fn info_labels(&self, labels: &Expr, call: Span) -> Checked {
        let found = labels.value_type();
        match labels {
            _ if found != ValueType::Vector => self.fail(
                call,
                format!(
                    "expected type {} in call to function \"info\", got {}",
                    ValueType::Vector.documented(),
                    found.documented()
                ),
            ),
            Expr::Vector(selector) if selector.name.is_empty() => Ok(()),
            Expr::Vector(selector) => self.fail(
                selector.span,
                "expected label selectors only, got vector selector instead",
            ),
            _ => self.fail(labels.span(), "expected label selectors only"),
        }
    }

    fn aggregate(&self, aggregate: &mut Aggregate) -> Checked {
        self.expr(&mut aggregate.expr)?;
        self.expect(&aggregate.expr, ValueType::Vector, "aggregation expression")?;
        let Some(param) = &mut aggregate.param else {
            return Ok(());
        };
        self.expr(param)?;
        let wanted = match aggregate.op {
            AggregateOp::CountValues => ValueType::String,
            _ => ValueType::Scalar,
        };
        self.expect(param, wanted, "aggregation parameter")
    }

    fn binary(&self, binary: &mut Binary) -> Checked {
        self.expr(&mut binary.lhs)?;
        self.expr(&mut binary.rhs)?;
        let (lhs, rhs) = (binary.lhs.value_type(), binary.rhs.value_type());
        let scalars = lhs == ValueType::Scalar && rhs == ValueType::Scalar;
        let op = quote(binary.op.as_str());
        if binary.bool_modifier && !binary.op.is_comparison() {
            return self.fail(
                self.operator(binary),
                "bool modifier can only be used on comparison operators",
            );
        }
        if binary.op.is_comparison() && !binary.bool_modifier && scalars {
            return self.fail(
                self.operator(binary),
                "comparisons between scalars must use BOOL modifier",
            );
        }
        if let Some(matching) = &binary.matching
            && matching.on
            && let Some(label) = matching
                .labels
                .iter()
                .find(|l| matching.include.contains(l))
        {
            return self.fail(
                self.operator(binary),
                format!(
                    "label {} must not occur in ON and GROUP clause at once",
                    quote(label)
                ),
            );
        }
        for operand in [&binary.lhs, &binary.rhs] {
            if !matches!(operand.value_type(), ValueType::Scalar | ValueType::Vector) {
                return self.fail(
                    operand.span(),
                    "binary expression must contain only scalar and instant vector types",
                );
            }
        }
        let vectors = lhs == ValueType::Vector && rhs == ValueType::Vector;
        if !vectors {
            let matching = binary.matching.take();
            if matching.as_ref().is_some_and(|m| !m.labels.is_empty()) {
                return self.fail(
                    binary.span,
                    "vector matching only allowed between instant vectors",
                );
            }
            if matching.is_some_and(|m| m.fill_left.is_some() || m.fill_right.is_some()) {
                return self.fail(
                    binary.span,
                    "filling in missing series only allowed between instant vectors",
                );
            }
            if binary.op.is_set() {
                return self.fail(
                    binary.span,
                    format!("set operator {op} not allowed in binary scalar expression"),
                );
            }
        } else if binary.op.is_set()
            && let Some(matching) = &mut binary.matching
        {
            if matching.card != Card::OneToOne {
                return self.fail(
                    binary.span,
                    format!("no grouping allowed for {op} operation"),
                );
            }
            matching.card = Card::ManyToMany;
            if matching.fill_left.is_some() || matching.fill_right.is_some() {
                return self.fail(
                    binary.span,
                    "filling in missing series not allowed for set operators",
                );
            }
        }
        Ok(())
    }

    fn expect(&self, expr: &Expr, wanted: ValueType, context: &str) -> Checked {
        let found = expr.value_type();
        if found == wanted {
            return Ok(());
        }
        self.fail(
            expr.span(),
            format!(
                "expected type {} in {context}, got {}",
                wanted.documented(),
                found.documented()
            ),
        )
    }

    /// From the operator to the right operand.
    fn operator(&self, binary: &Binary) -> Span {
        let (end, next) = (binary.lhs.span().end, binary.rhs.span().start);
        let between = &self.text[end..next];
        Span::new(end + (between.len() - between.trim_start().len()), next)
    }

    fn fail(&self, span: Span, message: impl Into<String>) -> Checked {
        Err(ParseError::new(self.text, span.start, span.end, message))
    }
}
