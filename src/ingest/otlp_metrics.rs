//! Data points of an OTLP export: where every transport hands them over.

use axum::http::HeaderMap;

use super::export::ExportError;
use crate::app::AppState;
use crate::wire::otlp::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};

/// Takes data points.
///
/// # Errors
/// See [`ExportError`].
pub(crate) async fn export(
    _app: &AppState,
    _headers: &HeaderMap,
    _request: ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, ExportError> {
    Err(ExportError::Unimplemented)
}
