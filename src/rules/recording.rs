//! Recording rules: the result under a new name.

use std::collections::HashSet;

use promql::VectorSample;
use storage::model::METRIC_NAME;

use crate::config::rule_file::Pairs;

/// Gives the samples of a result their new name and labels.
///
/// # Errors
/// Two series that have become one, or more than the limit allows (none where it is not positive).
pub(super) fn evaluate(
    name: &str,
    labels: &Pairs,
    mut result: Vec<VectorSample>,
    limit: i64,
) -> Result<Vec<VectorSample>, String> {
    let mut seen = HashSet::with_capacity(result.len());
    for sample in &mut result {
        let mut builder = sample.labels.to_builder();
        builder.set(METRIC_NAME, name);
        for (label, value) in labels {
            builder.set(label, value);
        }
        sample.labels = builder.finish();
        if !seen.insert(sample.labels.clone()) {
            return Err(
                "vector contains metrics with the same labelset after applying rule labels"
                    .to_owned(),
            );
        }
    }
    if usize::try_from(limit).is_ok_and(|limit| limit > 0 && result.len() > limit) {
        return Err(format!(
            "exceeded limit of {limit} with {} series",
            result.len()
        ));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use promql::vector::Sample;
    use storage::model::Labels;

    use super::*;

    fn f(
        pairs: &[&[(&str, &str)]],
        labels: &[(&str, &str)],
        limit: i64,
    ) -> Result<Vec<String>, String> {
        let result = pairs.iter().map(|pairs| VectorSample {
            labels: Labels::from_pairs(pairs.iter().copied()),
            t_ms: 0,
            sample: Sample::Float(1.0),
        });
        let labels = labels
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let samples = evaluate("new", &labels.collect(), result.collect(), limit)?;
        Ok(samples.iter().map(|s| s.labels.to_string()).collect())
    }

    #[test]
    fn labels_are_set_and_empty_ones_removed() {
        assert_eq!(
            f(
                &[&[("__name__", "old"), ("a", "1"), ("b", "2")]],
                &[("b", ""), ("c", "3")],
                0
            ),
            Ok(vec![r#"{__name__="new", a="1", c="3"}"#.to_owned()])
        );
    }

    #[test]
    fn series_that_become_one_and_too_many_series_are_refused() {
        let two: &[&[(&str, &str)]] = &[&[("a", "1")], &[("a", "2")]];
        let twice = "vector contains metrics with the same labelset after applying rule labels";
        assert_eq!(f(two, &[("a", "x")], 0), Err(twice.to_owned()));
        assert_eq!(
            f(two, &[], 1),
            Err("exceeded limit of 1 with 2 series".to_owned())
        );
        assert_eq!(f(two, &[], 2).map(|s| s.len()), Ok(2));
        assert_eq!(f(two, &[], -1).map(|s| s.len()), Ok(2));
    }
}
