//! Aggregations: folded into their operand's pipeline where they stream.

use super::super::EvalError;
use super::super::node::{Kind, Node, Selection};
use super::super::pipeline::Sink;
use super::Compiler;
use crate::ast::{Aggregate, AggregateOp, Expr};
use crate::vector::aggregate::{Aggregation, Reduce};
use crate::vector::select::Pick;
use crate::vector::{Grid, Grouping};

impl Compiler<'_> {
    pub(super) fn aggregate(&mut self, a: &Aggregate, grid: Grid) -> Result<Node, EvalError> {
        let expr = a.expr.unparenthesized();
        let param = a.param.as_deref().map(Expr::unparenthesized);
        let grouping = Grouping::new(&a.grouping, a.without);
        let select = match a.op {
            AggregateOp::Sum => return self.reduce(Reduce::Sum, grouping, expr, grid),
            AggregateOp::Avg => return self.reduce(Reduce::Avg, grouping, expr, grid),
            AggregateOp::Min => return self.reduce(Reduce::Min, grouping, expr, grid),
            AggregateOp::Max => return self.reduce(Reduce::Max, grouping, expr, grid),
            AggregateOp::Count => return self.reduce(Reduce::Count, grouping, expr, grid),
            AggregateOp::Group => return self.reduce(Reduce::Group, grouping, expr, grid),
            AggregateOp::Stddev => return self.reduce(Reduce::Stddev, grouping, expr, grid),
            AggregateOp::Stdvar => return self.reduce(Reduce::Stdvar, grouping, expr, grid),
            AggregateOp::Topk => Selection::Pick(Pick::Topk),
            AggregateOp::Bottomk => Selection::Pick(Pick::Bottomk),
            AggregateOp::Limitk => Selection::Pick(Pick::Limitk),
            AggregateOp::LimitRatio => Selection::Pick(Pick::LimitRatio),
            AggregateOp::Quantile => Selection::Quantile,
            AggregateOp::CountValues => return self.count_values(a, param, grid),
        };
        let Some(param) = param else {
            return Err(missing_parameter());
        };
        let kind = Kind::Select {
            position: match select {
                Selection::Quantile => expr.span().start,
                Selection::Pick(_) => a.span.start,
            },
            op: select,
            grouping,
            param_position: param.span().start,
            param: Box::new(self.node(param, grid)?),
            child: Box::new(self.node(expr, grid)?),
        };
        Ok(Node { grid, kind })
    }

    fn reduce(
        &mut self,
        op: Reduce,
        grouping: Grouping,
        expr: &Expr,
        grid: Grid,
    ) -> Result<Node, EvalError> {
        let position = expr.span().start;
        let child = self.node(expr, grid)?;
        if let Kind::Series(id) = child.kind {
            let pipeline = &mut self.pipelines[id];
            let checked = self.options.delayed_name_removal || pipeline.one_name;
            if pipeline.is_open() && (checked || pipeline.keeps_labels()) {
                let groups = Aggregation::new(op, grouping, grid.steps, position);
                pipeline.sink = Sink::Reduce(groups);
                return Ok(child);
            }
        }
        let kind = Kind::Reduce {
            op,
            grouping,
            child: Box::new(child),
            position,
        };
        Ok(Node { grid, kind })
    }

    fn count_values(
        &mut self,
        a: &Aggregate,
        param: Option<&Expr>,
        grid: Grid,
    ) -> Result<Node, EvalError> {
        let Some(Expr::String(label)) = param else {
            return Err(missing_parameter());
        };
        if label.value.is_empty() || label.invalid_utf8.is_some() {
            return Err(EvalError::Execution(format!(
                "invalid label name {}",
                Expr::String(label.clone())
            )));
        }
        let kind = Kind::CountValues {
            label: label.value.clone(),
            names: a.grouping.clone(),
            without: a.without,
            child: Box::new(self.node(a.expr.unparenthesized(), grid)?),
        };
        Ok(Node { grid, kind })
    }
}

/// The parser lets no aggregation through without its parameter.
fn missing_parameter() -> EvalError {
    EvalError::BadQuery("no parameter for aggregation operation".to_owned())
}
