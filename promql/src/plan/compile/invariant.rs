//! Which parts of an expression are the same at every step, because `@` pins the time of all that
//! they read.

use crate::ast::Expr;
use crate::functions::Func;

/// Whether an expression does not depend on the step, and evaluating it once is worth a node.
pub(super) fn is_worth_it(expr: &Expr) -> bool {
    let (invariant, worth_it) = judge(expr);
    invariant && worth_it
}

fn judge(expr: &Expr) -> (bool, bool) {
    match expr {
        Expr::Number(_) | Expr::String(_) => (true, false),
        Expr::Vector(v) => (v.at.is_some(), v.at.is_some()),
        Expr::Matrix(m) => (m.vector.at.is_some(), false),
        Expr::Subquery(s) => (s.at.is_some(), false),
        Expr::Aggregate(a) => judge(a.expr.unparenthesized()),
        Expr::Paren(p) => judge(&p.expr),
        Expr::Unary(u) => judge(&u.expr),
        Expr::Binary(b) => {
            let both = judge(&b.lhs).0 && judge(&b.rhs).0;
            (both, both)
        }
        Expr::Call(c) => {
            let mut args = c.args.iter().map(Expr::unparenthesized);
            let pinned = |e: &Expr| judge(e).0;
            let safe = if depends_on_time(c.func) {
                // The time of a sample that `@` picks is the same at every step.
                let selector = |e: &Expr| matches!(e, Expr::Vector(_));
                c.func == Func::Timestamp && args.all(|e| pinned(e) && selector(e))
            } else {
                args.all(pinned)
            };
            (safe, safe)
        }
    }
}

/// Functions whose result depends on the time of the step even if what they read does not.
const fn depends_on_time(func: Func) -> bool {
    matches!(
        func,
        Func::DaysInMonth
            | Func::DayOfMonth
            | Func::DayOfWeek
            | Func::DayOfYear
            | Func::Hour
            | Func::Minute
            | Func::Month
            | Func::Year
            | Func::PredictLinear
            | Func::Time
            | Func::Timestamp
    )
}
