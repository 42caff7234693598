//! Calls that are about labels: `label_replace`, `label_join`, `info`.

use storage::model::{METRIC_NAME, MatchOp, Matcher, compile_anchored};

use super::super::EvalError;
use super::super::node::Kind;
use super::super::pipeline::instant::{InstantLeaf, Take};
use super::Compiler;
use super::call::text;
use super::selector::millis;
use crate::ast::{Expr, VectorSelector};
use crate::vector::Grid;

impl Compiler<'_> {
    pub(super) fn label_replace(&mut self, args: &[&Expr], grid: Grid) -> Result<Kind, EvalError> {
        let [target, replacement, source, pattern] = [1, 2, 3, 4].map(|i| text(args[i]));
        let Ok(pattern) = compile_anchored(&pattern) else {
            return Err(EvalError::Execution(format!(
                "invalid regular expression in label_replace(): {pattern}"
            )));
        };
        check_label("destination", "label_replace", args[1])?;
        Ok(Kind::LabelReplace {
            child: Box::new(self.node(args[0], grid)?),
            target,
            replacement,
            source,
            pattern,
        })
    }

    pub(super) fn label_join(&mut self, args: &[&Expr], grid: Grid) -> Result<Kind, EvalError> {
        let (target, separator) = (text(args[1]), text(args[2]));
        let sources: Vec<String> = args[3..].iter().map(|e| text(e)).collect();
        for source in &args[3..] {
            check_label("source", "label_join", source)?;
        }
        check_label("destination", "label_join", args[1])?;
        Ok(Kind::LabelJoin {
            child: Box::new(self.node(args[0], grid)?),
            target,
            separator,
            sources,
        })
    }

    pub(super) fn info(&mut self, args: &[&Expr], grid: Grid) -> Result<Kind, EvalError> {
        let (at_ms, offset_ms) = self.first_selector(args[0], 0).unwrap_or((None, 0));
        let matchers: Vec<Matcher> = match args.get(1) {
            Some(Expr::Vector(v)) => v.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, data): (Vec<_>, Vec<_>) =
            matchers.into_iter().partition(|m| m.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if names.iter().all(|m| m.op().is_negative())
            && let Ok(any_info) = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info")
        {
            names.insert(0, any_info);
        }
        let child = Box::new(self.node(args[0], grid)?);
        let leaf = InstantLeaf {
            at_ms,
            offset_ms,
            take: Take::Millis,
            inner: self.inner,
            position: 0,
        };
        let all: Vec<Matcher> = names.iter().chain(&data).cloned().collect();
        Ok(Kind::Info {
            child,
            info: self.instant_pipeline(&all, leaf, grid),
            names,
            data,
        })
    }

    /// `@` and offset of the first selector of an expression, those of the subqueries around it included.
    fn first_selector(&self, expr: &Expr, offset_ms: i64) -> Option<(Option<i64>, i64)> {
        let own = |v: &VectorSelector| (self.at_ms(v.at), millis(&v.offset) + offset_ms);
        match expr {
            Expr::Vector(v) => Some(own(v)),
            Expr::Matrix(m) => Some(own(&m.vector)),
            Expr::Subquery(s) => {
                let (at, offset) = self.first_selector(&s.expr, 0)?;
                if at.is_some() {
                    return Some((at, offset));
                }
                let offset = offset + millis(&s.offset);
                Some((self.at_ms(s.at), offset))
            }
            _ => expr
                .children()
                .into_iter()
                .find_map(|e| self.first_selector(e, offset_ms)),
        }
    }
}

fn check_label(role: &str, function: &str, name: &Expr) -> Result<(), EvalError> {
    if let Expr::String(s) = name
        && (s.value.is_empty() || s.invalid_utf8.is_some())
    {
        let message = format!("invalid {role} label name in {function}(): {}", s.value);
        return Err(EvalError::Execution(message));
    }
    Ok(())
}
