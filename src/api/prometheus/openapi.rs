//! `GET /api/v1/openapi.yaml`: the paths of this API, for tools that read OpenAPI.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use http::header;

/// Path, whether forms may be posted, what it does.
const PATHS: &[(&str, bool, &str)] = &[
    ("/query", true, "Evaluate an expression at one moment"),
    (
        "/query_range",
        true,
        "Evaluate an expression over a range of time",
    ),
    (
        "/query_exemplars",
        true,
        "Exemplars of the series that an expression selects",
    ),
    ("/format_query", true, "Lay out an expression"),
    ("/parse_query", true, "Syntax tree of an expression"),
    ("/series", true, "Label sets that selectors match"),
    ("/labels", true, "Names of labels"),
    ("/label/{name}/values", false, "Values of a label"),
    ("/metadata", false, "Type, help and unit of metrics"),
    ("/targets", false, "What is scraped"),
    ("/targets/metadata", false, "Metadata by target"),
    ("/scrape_pools", false, "Names of scrape pools"),
    ("/rules", false, "Rules and their state"),
    ("/alerts", false, "Active alerts"),
    ("/alertmanagers", false, "Alertmanagers that are notified"),
    ("/notifications", false, "Notifications about this server"),
    ("/features", false, "What is switched on"),
    ("/status/buildinfo", false, "Version"),
    ("/status/runtimeinfo", false, "The running process"),
    ("/status/config", false, "The configuration in force"),
    ("/status/flags", false, "Command line flags"),
    ("/status/tsdb", false, "Cardinality"),
    ("/status/tsdb/blocks", false, "Blocks of metrics"),
    (
        "/status/walreplay",
        false,
        "Progress of the replay of the log",
    ),
];

pub(super) async fn handle() -> Response {
    let mut out = String::from(
        "openapi: 3.1.0\ninfo:\n  title: Prometheus API\n  version: 3.14.0\nservers:\n- url: /api/v1\npaths:\n",
    );
    for (path, posts, summary) in PATHS {
        let _ = writeln!(out, "  {path}:");
        for method in if *posts {
            &["get", "post"][..]
        } else {
            &["get"][..]
        } {
            let _ = write!(out, "    {method}:\n      summary: {summary}\n");
            if path.contains("{name}") {
                out.push_str(
                    "      parameters:\n      - name: name\n        in: path\n        required: true\n        schema:\n          type: string\n",
                );
            }
            out.push_str(
                "      responses:\n        '200':\n          description: Success\n        default:\n          description: Error\n",
            );
        }
    }
    (
        [(header::CONTENT_TYPE, "application/yaml; charset=utf-8")],
        out,
    )
        .into_response()
}
