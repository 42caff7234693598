//! The Jaeger collector's gRPC door, `jaeger.api_v2.CollectorService`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::Request;
use prost::Message;

use super::export::ExportError;
use super::jaeger_spans::{Scopes, to_otlp};
use super::spans;
use crate::app::AppState;
use crate::tenant;
use crate::wire::grpc;
use crate::wire::jaeger::PostSpansRequest;

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new().route("/jaeger.api_v2.CollectorService/PostSpans", post(spans))
}

async fn spans(State(app): State<AppState>, request: Request<Body>) -> Response {
    let shared = Arc::clone(&app);
    let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    grpc::unary(request, limit, move |request| async move {
        let tenant =
            tenant::of(request.metadata().as_ref(), &shared.config).map_err(ExportError::from)?;
        let request = PostSpansRequest::decode(request.into_inner()).map_err(grpc::malformed)?;
        let batch = request.batch.unwrap_or_default();
        spans::append(&shared, &tenant, to_otlp(batch, Scopes::FromTags)).await?;
        // The answer is an empty message.
        Ok(Bytes::new())
    })
    .await
}
