//! The first query after a start meets code, threads and indexes that nobody has touched yet, and takes several times as long as the
//! next. A few small ones of our own go ahead of it.

use promql::EvalOptions;
use promql::lexer::quote;
use storage::Newest;
use storage::model::Labels;

use crate::app::AppState;
use crate::query::{self, Limits};

const RANGE_MS: i64 = 3_600_000;
const STEP_MS: i64 = 60_000;

/// Reads what the first queries need ahead, and asks some. What fails is left to whoever asks next.
pub(crate) async fn run(app: AppState) {
    let Some(Newest { end_ms, series }) = app.storage.warm_up().await else {
        return;
    };
    let Some((tenant, series)) = series else {
        return;
    };
    let over_time = EvalOptions::range(end_ms - RANGE_MS, end_ms, STEP_MS);
    let at_once = EvalOptions::instant(end_ms);
    let selector = selector_of(&series);
    for (expr, options) in [
        (selector.clone(), &over_time),
        (format!("sum by (job) (rate({selector}[5m]))"), &over_time),
        (format!("topk(1, avg_over_time({selector}[10m]))"), &at_once),
    ] {
        let Ok(expr) = promql::parse(&expr, &query::parse_options(&app.config)) else {
            return;
        };
        let limits = Limits::of(&app.config);
        let asked = query::run(&app, &tenant, expr, options.clone(), &limits).await;
        if let Err(e) = asked {
            tracing::debug!("a first query of our own failed: {e}");
        }
    }
}

/// What selects a series alone. Its names may be any text.
fn selector_of(series: &Labels) -> String {
    let matcher = |(name, value)| format!("{}={}", quote(name), quote(value));
    let matchers: Vec<String> = series.iter().map(matcher).collect();
    format!("{{{}}}", matchers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_has_all_labels_of_its_series_whatever_they_are() {
        let labels = Labels::from_pairs([("__name__", "up"), ("a.b", "\"\n\\"), ("ü", "é\u{1}")]);
        let selector = selector_of(&labels);
        let parsed = promql::parse(&selector, &promql::ParseOptions::default()).unwrap();
        assert_eq!(
            parsed.to_string(),
            r#"{"a.b"="\"\n\\","ü"="é\x01",__name__="up"}"#
        );
    }
}
