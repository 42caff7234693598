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
    use storage::model::{Labels, MsRange, NO_START_MS, SampleBuf};
    use storage::read::{ReadError, Series};

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
    fn a_label_that_two_matchers_are_about_is_among_those_of_absent_where_the_last_is_by_equality()
    {
        for (text, labels) in [
            (r#"absent(m{a="1",b="2"})"#, r#"{a="1", b="2"}"#),
            (r#"absent(m{a!~"x",a="1",b="2"})"#, r#"{b="2"}"#),
            (r#"absent(m{a="1",a="1"})"#, "{}"),
            (r#"absent(m{a="1",a=~"x"})"#, "{}"),
            (r#"absent(m{a=~"x",a="1"})"#, r#"{a="1"}"#),
            (r#"absent(m{a!="",a="1"})"#, r#"{a="1"}"#),
            (r#"absent(m{a!="x",a="1"})"#, "{}"),
            (r#"absent(m{a=~"x",a="1",a="1"})"#, "{}"),
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

    /// One series, `m`, of floats.
    #[derive(Clone)]
    struct Floats(&'static [(i64, f64)], Labels, MsRange);

    impl Floats {
        fn new(samples: &'static [(i64, f64)]) -> Self {
            let labels = Labels::from_pairs([("__name__", "m")]);
            Self(samples, labels, MsRange::ALL)
        }
    }

    impl Source for Floats {
        fn select(&self, select: &SeriesSelect) -> SeriesBatch {
            vec![Box::new(Self(self.0, self.1.clone(), select.range))]
        }
    }

    impl Series for Floats {
        fn labels(&self) -> &Labels {
            &self.1
        }

        fn samples(&self, out: &mut SampleBuf) -> Result<(), ReadError> {
            for &(t_ms, value) in self.0.iter().filter(|(t, _)| self.2.contains(*t)) {
                out.push_float(t_ms, value, NO_START_MS);
            }
            Ok(())
        }
    }

    #[test]
    fn faults_come_in_the_order_in_which_what_they_are_about_is_evaluated() {
        let source = Floats::new(&[(0, 1.0), (30_000, 2.0)]);
        let two = r#"(m or label_replace(vector(2), "a", "1", "", ""))"#;
        let twice = format!("{two} * on () {two}");
        let duplicate = "found duplicate series for the match group {}";
        for (fault, words) in [
            ("changes(m[1m] smoothed)", "smoothed modifier can only be"),
            (
                "mad_over_time(m[1m] anchored)",
                "anchored modifier can only be",
            ),
            (
                "double_exponential_smoothing(m[1m], 2, 0.5)",
                "invalid smoothing factor",
            ),
            (
                r#"label_replace(m, "a", "b", "c", "(")"#,
                "invalid regular expression in label_replace()",
            ),
            (
                r#"label_join(m, "", "b", "c")"#,
                "invalid destination label name in label_join()",
            ),
            (r#"count_values("", m)"#, "invalid label name"),
        ] {
            for (text, words) in [
                (fault.to_owned(), words),
                (format!("start_timestamp({fault})"), words),
                (format!("absent({fault}) + {twice}"), words),
                (format!("{twice} + {fault}"), duplicate),
                (
                    format!("quantile_over_time(scalar({twice}), m[1m] smoothed)"),
                    duplicate,
                ),
            ] {
                let expr = parse(&text, &ParseOptions::ALL).unwrap();
                let error = evaluate(expr, EvalOptions::instant(30_000), &source);
                let error = error.map(|answer| answer.value).unwrap_err().to_string();
                assert!(error.starts_with(words), "{text}: {error}");
            }
        }
    }

    #[test]
    fn what_start_timestamp_is_of_is_remarked_upon() {
        for (text, remarks) in [
            ("start_timestamp(quantile(2, vector(1)))", 1),
            ("start_timestamp(vector(1))", 0),
        ] {
            let answer = asked(text, EvalOptions::instant(0));
            assert_eq!(answer.annotations.warnings(text).len(), remarks, "{text}");
        }
    }

    #[test]
    fn remarks_on_a_subquery_point_at_the_first_argument_or_the_start() {
        let source = Floats::new(&[(0, 1.0), (60_000, 2.0)]);
        for (text, place) in [
            ("1 + quantile_over_time(2, m[5m:])", "(1:24)"),
            ("1 + rate(m[5m:])", "(1:1)"),
            ("1 + rate(m[5m])", "(1:10)"),
        ] {
            let expr = parse(text, &ParseOptions::ALL).unwrap();
            let answer = evaluate(expr, EvalOptions::instant(90_000), &source).unwrap();
            let remarks = [
                answer.annotations.warnings(text),
                answer.annotations.infos(text),
            ]
            .concat();
            assert_eq!(remarks.len(), 1, "{text}");
            assert!(remarks[0].ends_with(place), "{remarks:?}");
        }
    }

    #[test]
    fn a_whole_smoothed_or_anchored_range_has_a_value_at_both_ends() {
        for (text, samples, expected) in [
            (
                "m[1m] smoothed",
                &[(70_000, 5.0)][..],
                &[(0, 5.0), (60_000, 5.0)][..],
            ),
            (
                "m[1m] smoothed",
                &[(-10_000, 1.0), (10_000, 3.0), (70_000, 9.0)],
                &[(0, 2.0), (10_000, 3.0), (60_000, 8.0)],
            ),
            (
                "m[1m] anchored",
                &[(-10_000, 1.0), (10_000, 3.0), (70_000, 9.0)],
                &[(0, 1.0), (10_000, 3.0), (60_000, 3.0)],
            ),
            ("m[1m] anchored", &[(-10_000, 1.0)], &[]),
            ("m[1m] smoothed", &[(-10_000, 1.0)], &[]),
        ] {
            let expr = parse(text, &ParseOptions::ALL).unwrap();
            let source = Floats::new(samples);
            let answer = evaluate(expr, EvalOptions::instant(60_000), &source).unwrap();
            let Value::Matrix(matrix) = answer.value else {
                panic!("{text} is a matrix");
            };
            let floats = matrix.into_iter().flat_map(|series| series.floats);
            assert_eq!(floats.collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
