//! `GET|POST /api/v1/query_exemplars`: exemplars of the series that an expression selects.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use promql::Expr;
use storage::model::{ExemplarSeries, Matcher};

use super::error::ApiError;
use super::format::{json, write_labels, write_time, write_value};
use super::params::{Ask, parse_options};
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let range = ask.params.range()?;
    if range.max_ms < range.min_ms {
        return Err(ApiError::BadData(
            "end timestamp must not be before start timestamp".to_owned(),
        ));
    }
    let expr = promql::parse(ask.params.get("query"), &parse_options(&app.config))
        .map_err(|e| ApiError::BadData(e.to_string()))?;
    let mut selectors = Vec::new();
    collect(&expr, &mut selectors);
    if selectors.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let series = app.storage.exemplars(&ask.tenant, &selectors, range);
    Ok(json(write(&series).into()))
}

/// The matchers of every selector in the tree.
fn collect(expr: &Expr, out: &mut Vec<Vec<Matcher>>) {
    match expr {
        Expr::Vector(selector) => out.push(selector.matchers.clone()),
        Expr::Matrix(matrix) => out.push(matrix.vector.matchers.clone()),
        _ => expr
            .children()
            .into_iter()
            .for_each(|child| collect(child, out)),
    }
}

fn write(series: &[ExemplarSeries]) -> Vec<u8> {
    let mut out = b"{\"status\":\"success\",\"data\":[".to_vec();
    for (index, series) in series.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"seriesLabels\":");
        write_labels(&mut out, &series.series);
        out.extend_from_slice(b",\"exemplars\":[");
        for (index, exemplar) in series.exemplars.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"labels\":");
            write_labels(&mut out, &exemplar.labels);
            out.extend_from_slice(b",\"value\":");
            write_value(&mut out, exemplar.value);
            out.extend_from_slice(b",\"timestamp\":");
            write_time(&mut out, exemplar.t_ms);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
    out
}

#[cfg(test)]
mod tests {
    use storage::model::{Exemplar, Labels};

    use super::*;

    #[test]
    fn exemplars_stand_behind_the_labels_of_their_series() {
        let series = ExemplarSeries {
            series: Labels::from_pairs([("__name__", "a")]),
            exemplars: vec![Exemplar {
                labels: Labels::from_pairs([("trace_id", "t")]),
                value: 0.5,
                t_ms: 1500,
            }],
        };
        assert_eq!(
            String::from_utf8(write(&[series])).unwrap(),
            r#"{"status":"success","data":[{"seriesLabels":{"__name__":"a"},"exemplars":[{"labels":{"trace_id":"t"},"value":"0.5","timestamp":1.500}]}]}"#
        );
    }

    #[test]
    fn every_selector_of_the_expression_counts() {
        let expr = promql::parse("rate(a[5m]) + sum(b) by (c)", &Default::default()).unwrap();
        let mut out = Vec::new();
        collect(&expr, &mut out);
        assert_eq!(out.len(), 2);
    }
}
