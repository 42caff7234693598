//! Evaluation in one call, where the series can be had at once.

use storage::read::{SeriesBatch, SeriesSelect};

use crate::ast::Expr;
use crate::plan::{Answer, EvalError, EvalOptions, Plan};

/// Something that has series at hand.
pub trait Source {
    /// The series of a selection, each label set once, with their samples in its range.
    fn select(&self, select: &SeriesSelect) -> SeriesBatch;
}

/// Plans, reads and computes.
///
/// # Errors
/// Any of [`EvalError`].
pub fn evaluate(
    expr: Expr,
    options: EvalOptions,
    source: &dyn Source,
) -> Result<Answer, EvalError> {
    let mut plan = Plan::new(expr, options)?;
    for select in plan.selects().to_vec() {
        plan.push(select.id, &source.select(&select.select))?;
    }
    plan.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Value;
    use crate::{ParseOptions, parse};

    struct Nothing;

    impl Source for Nothing {
        fn select(&self, _: &SeriesSelect) -> SeriesBatch {
            Vec::new()
        }
    }

    fn asked(text: &str, options: EvalOptions) -> Answer {
        let expr = parse(text, &ParseOptions::ALL).unwrap();
        evaluate(expr, options, &Nothing).unwrap()
    }

    #[test]
    fn a_label_that_two_matchers_are_about_is_not_among_those_of_absent() {
        for (text, labels) in [
            (r#"absent(m{a="1",b="2"})"#, r#"{a="1", b="2"}"#),
            (r#"absent(m{a!~"x",a="1",b="2"})"#, r#"{b="2"}"#),
            (r#"absent(m{a="1",a="1"})"#, "{}"),
        ] {
            let Value::Vector(vector) = asked(text, EvalOptions::instant(0)).value else {
                panic!("{text} is a vector");
            };
            assert_eq!(vector[0].labels.to_string(), labels, "{text}");
        }
    }

    #[test]
    fn sorting_a_range_is_remarked_upon_even_where_it_has_one_step() {
        let infos = |options| {
            asked("sort(vector(1))", options)
                .annotations
                .warnings("sort")
        };
        assert_eq!(infos(EvalOptions::range(0, 1, 60_000)).len(), 1);
        assert_eq!(infos(EvalOptions::range(0, 0, 60_000)).len(), 0);
        assert_eq!(infos(EvalOptions::instant(0)).len(), 0);
    }
}
