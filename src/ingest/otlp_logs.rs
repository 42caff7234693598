//! Log records of an OTLP export: where every transport hands them over.

use axum::http::HeaderMap;

use super::export::ExportError;
use crate::app::AppState;
use crate::wire::otlp::{ExportLogsServiceRequest, ExportLogsServiceResponse};

/// Takes log records.
///
/// # Errors
/// See [`ExportError`].
pub(crate) async fn export(
    _app: &AppState,
    _headers: &HeaderMap,
    _request: ExportLogsServiceRequest,
) -> Result<ExportLogsServiceResponse, ExportError> {
    Err(ExportError::Unimplemented)
}
