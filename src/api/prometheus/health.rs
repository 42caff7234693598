//! `/-/healthy`, `/-/ready` and `/metrics`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use storage::BucketStatus;

use crate::app::AppState;

pub(super) async fn healthy() -> &'static str {
    "Prometheus Server is Healthy.\n"
}

pub(super) async fn ready(State(app): State<AppState>) -> Response {
    if app.storage.is_ready() {
        let mut text = "Prometheus Server is Ready.\n".to_owned();
        if let Some(status) = app.storage.bucket_status() {
            text.push_str(&bucket_detail(&status));
        }
        return text.into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response()
}

/// One line on the bucket. Without it the server is ready all the same: what is local is taken and served.
fn bucket_detail(status: &BucketStatus) -> String {
    let state = match (&status.outage, &status.refused) {
        (Some((lasts, reason)), _) => {
            format!("cannot be reached for {} s ({reason})", lasts.as_secs())
        }
        (None, Some(refused)) => format!("is not ours ({refused})"),
        (None, None) => "is reached".to_owned(),
    };
    let waiting = match status.waiting_blocks {
        0 => "nothing waits for it".to_owned(),
        n => format!(
            "{n} blocks of {} bytes wait for it on local disk",
            status.waiting_bytes
        ),
    };
    format!("bucket {} {state}, {waiting}\n", status.url)
}

pub(super) async fn metrics(State(app): State<AppState>) -> Response {
    let headers = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
    )];
    let families = app.families();
    (headers, crate::telemetry::exposition(&families)).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_detail_says_how_the_bucket_fares() {
        let mut status = BucketStatus {
            url: "s3://b/p".to_owned(),
            ..BucketStatus::default()
        };
        let expected = "bucket s3://b/p is reached, nothing waits for it\n";
        assert_eq!(bucket_detail(&status), expected);
        status.outage = Some((Duration::from_secs(7), "connection refused".to_owned()));
        (status.waiting_blocks, status.waiting_bytes) = (2, 700);
        let expected = "bucket s3://b/p cannot be reached for 7 s (connection refused), \
             2 blocks of 700 bytes wait for it on local disk\n";
        assert_eq!(bucket_detail(&status), expected);
    }
}
