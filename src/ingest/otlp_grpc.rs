//! OTLP over gRPC for the three signals.

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
use super::{otlp_logs, otlp_metrics, spans};
use crate::app::AppState;
use crate::tenant;
use crate::wire::grpc;
use crate::wire::otlp::{
    ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceResponse,
};

/// Routes of this door.
pub fn router() -> Router<AppState> {
    const ROOT: &str = "/opentelemetry.proto.collector";
    Router::new()
        .route(
            &format!("{ROOT}.trace.v1.TraceService/Export"),
            post(traces),
        )
        .route(&format!("{ROOT}.logs.v1.LogsService/Export"), post(logs))
        .route(
            &format!("{ROOT}.metrics.v1.MetricsService/Export"),
            post(metrics),
        )
}

fn limit(app: &AppState) -> usize {
    usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX)
}

async fn traces(State(app): State<AppState>, request: Request<Body>) -> Response {
    let shared = Arc::clone(&app);
    grpc::unary(request, limit(&app), move |request| async move {
        let tenant =
            tenant::of(request.metadata().as_ref(), &shared.config).map_err(ExportError::from)?;
        spans::append_encoded(&shared, &tenant, request.into_inner()).await?;
        Ok(ExportTraceServiceResponse::default().encode_to_vec().into())
    })
    .await
}

async fn logs(State(app): State<AppState>, request: Request<Body>) -> Response {
    let shared = Arc::clone(&app);
    grpc::unary(request, limit(&app), move |request| async move {
        let headers = request.metadata().clone().into_headers();
        let request =
            ExportLogsServiceRequest::decode(request.into_inner()).map_err(grpc::malformed)?;
        let response = otlp_logs::export(&shared, &headers, request).await?;
        Ok(Bytes::from(response.encode_to_vec()))
    })
    .await
}

async fn metrics(State(app): State<AppState>, request: Request<Body>) -> Response {
    let shared = Arc::clone(&app);
    grpc::unary(request, limit(&app), move |request| async move {
        let headers = request.metadata().clone().into_headers();
        let request =
            ExportMetricsServiceRequest::decode(request.into_inner()).map_err(grpc::malformed)?;
        let response = otlp_metrics::export(&shared, &headers, request).await?;
        Ok(Bytes::from(response.encode_to_vec()))
    })
    .await
}
