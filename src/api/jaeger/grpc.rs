//! `jaeger.api_v2.QueryService` and `jaeger.api_v3.QueryService`.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::Request;
use prost::Message;
use storage::model::{Resource, Tenant, Trace};
use tonic::Status;

use super::error::ApiError;
use super::search::{self, Query};
use super::summary::Summary;
use super::view::{self, Tag, TagValue};
use super::{archive, ids, otlp, v3};
use crate::app::AppState;
use crate::tenant;
use crate::wire::grpc;
use crate::wire::jaeger::{
    self, DependencyLink, FindTracesRequest, GetDependenciesRequest, GetDependenciesResponse,
    GetOperationsRequest, GetOperationsResponse, GetServicesResponse, GetTraceRequest,
    GetTraceRequestV3, OperationsV3, ServiceSummary, SpansResponseChunk, Summaries, TraceSummary,
    value_type,
};

/// Requests are small; the longest part is a set of tags.
const REQUEST_BYTES: usize = 4 << 20;
/// Spans of one message of a streamed answer of v2.
const CHUNK_SPANS: usize = 10;

/// Routes of both services.
pub(super) fn router() -> Router<AppState> {
    const V2: &str = "/jaeger.api_v2.QueryService";
    const V3: &str = "/jaeger.api_v3.QueryService";
    Router::new()
        .route(&format!("{V2}/GetTrace"), post(get_trace))
        .route(&format!("{V2}/ArchiveTrace"), post(archive_trace))
        .route(&format!("{V2}/FindTraces"), post(find_traces))
        .route(&format!("{V2}/GetServices"), post(get_services))
        .route(&format!("{V2}/GetOperations"), post(get_operations))
        .route(&format!("{V2}/GetDependencies"), post(get_dependencies))
        .route(&format!("{V3}/GetTrace"), post(get_trace_v3))
        .route(&format!("{V3}/FindTraces"), post(find_traces_v3))
        .route(&format!("{V3}/FindTraceSummaries"), post(find_summaries_v3))
        .route(&format!("{V3}/GetServices"), post(get_services))
        .route(&format!("{V3}/GetOperations"), post(get_operations_v3))
        .route(&format!("{V3}/GetDependencies"), post(get_dependencies))
}

fn tenant(app: &AppState, request: &tonic::Request<Bytes>) -> Result<Tenant, Status> {
    tenant::of(request.metadata().as_ref(), &app.config)
        .map_err(|e| Status::unauthenticated(e.to_string()))
}

fn decode<T: Message + Default>(request: tonic::Request<Bytes>) -> Result<T, Status> {
    T::decode(request.into_inner()).map_err(grpc::malformed)
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

async fn get_trace(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::streaming(request, REQUEST_BYTES, move |request| async move {
        let tenant = tenant(&app, &request)?;
        let request: GetTraceRequest = decode(request)?;
        let id = id_of(&request)?;
        let trace = search::trace(&app, &tenant, id, request.raw_traces)
            .await
            .map_err(|e| e.into_grpc(""))?;
        Ok(chunks(&trace))
    })
    .await
}

fn id_of(request: &GetTraceRequest) -> Result<storage::model::TraceId, Status> {
    if request.trace_id.is_empty() {
        return Err(Status::invalid_argument(
            "uninitialized TraceID is not allowed",
        ));
    }
    ids::from_bytes(&request.trace_id).map_err(|()| grpc::malformed("invalid length for TraceID"))
}

async fn archive_trace(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::unary(request, REQUEST_BYTES, move |request| async move {
        let tenant = tenant(&app, &request)?;
        let request: GetTraceRequest = decode(request)?;
        let id = id_of(&request)?;
        match archive::keep(&app, &tenant, id).await {
            // The answer is a message without fields.
            Ok(()) => Ok(Bytes::new()),
            Err(e) if e == ApiError::trace_not_found() => Err(e.into_grpc("trace not found: ")),
            Err(e) => Err(e.into_grpc("failed to archive trace: ")),
        }
    })
    .await
}

async fn find_traces(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::streaming(request, REQUEST_BYTES, move |request| async move {
        let tenant = tenant(&app, &request)?;
        let query = query(decode(request)?)?;
        let found = search::search(&app, &tenant, &query)
            .await
            .map_err(|e| e.into_grpc("failed when searching for traces: "))?;
        Ok(found.iter().flat_map(chunks).collect())
    })
    .await
}

fn query(request: FindTracesRequest) -> Result<Query, Status> {
    let q = request
        .query
        .ok_or_else(|| Status::invalid_argument("missing query"))?;
    Ok(Query {
        service: q.service_name,
        operation: q.operation_name,
        tags: q.tags.into_iter().collect(),
        start_min_ns: q.start_time_min.map(jaeger::Timestamp::ns),
        start_max_ns: q.start_time_max.map(jaeger::Timestamp::ns),
        duration_min_ns: q.duration_min.map_or(0, jaeger::Duration::ns),
        duration_max_ns: q.duration_max.map_or(0, jaeger::Duration::ns),
        limit: i64::from(q.search_depth),
        raw: q.raw_traces,
    })
}

async fn get_services(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::unary(request, REQUEST_BYTES, move |request| async move {
        let tenant = tenant(&app, &request)?;
        let services = app.storage.services(&tenant).await.map_err(internal)?;
        Ok(encoded(&GetServicesResponse { services }))
    })
    .await
}

fn internal(e: storage::Error) -> Status {
    ApiError::from(e).into_grpc("")
}

async fn operations(
    app: &AppState,
    request: tonic::Request<Bytes>,
) -> Result<Vec<storage::Operation>, Status> {
    let tenant = tenant(app, &request)?;
    let request: GetOperationsRequest = decode(request)?;
    if request.service.is_empty() {
        return Ok(Vec::new());
    }
    let found = app.storage.operations(&tenant, &request.service).await;
    let mut found = found.map_err(internal)?;
    found.retain(|o| request.span_kind.is_empty() || o.span_kind == request.span_kind);
    Ok(found)
}

async fn get_operations(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::unary(request, REQUEST_BYTES, move |request| async move {
        let found = operations(&app, request).await?;
        let names: BTreeSet<String> = found.iter().map(|o| o.name.clone()).collect();
        let operations = found.into_iter().map(|o| jaeger::Operation {
            name: o.name,
            span_kind: o.span_kind,
        });
        Ok(encoded(&GetOperationsResponse {
            operation_names: names.into_iter().collect(),
            operations: operations.collect(),
        }))
    })
    .await
}

async fn get_operations_v3(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::unary(request, REQUEST_BYTES, move |request| async move {
        let found = operations(&app, request).await?;
        let operations = found.into_iter().map(|o| jaeger::Operation {
            span_kind: v3::kind_word(&o.span_kind).to_owned(),
            name: o.name,
        });
        Ok(encoded(&OperationsV3 {
            operations: operations.collect(),
        }))
    })
    .await
}

async fn get_dependencies(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::unary(request, REQUEST_BYTES, move |request| async move {
        let tenant = tenant(&app, &request)?;
        let request: GetDependenciesRequest = decode(request)?;
        let (Some(start), Some(end)) = (request.start_time, request.end_time) else {
            return Err(Status::invalid_argument(
                "StartTime and EndTime must be initialized.",
            ));
        };
        let links = search::dependencies(&app, &tenant, start.ns(), end.ns())
            .await
            .map_err(|e| e.into_grpc("failed to fetch dependencies: "))?;
        let dependencies = links.into_iter().map(|l| DependencyLink {
            parent: l.parent,
            child: l.child,
            call_count: l.call_count,
        });
        Ok(encoded(&GetDependenciesResponse {
            dependencies: dependencies.collect(),
        }))
    })
    .await
}

async fn get_trace_v3(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::streaming(request, REQUEST_BYTES, move |request| async move {
        let tenant = tenant(&app, &request)?;
        let request: GetTraceRequestV3 = decode(request)?;
        let id = ids::from_hex(&request.trace_id)
            .map_err(|e| Status::unknown(format!("malform trace ID: {e}")))?;
        match search::trace(&app, &tenant, id, request.raw_traces).await {
            Ok(trace) => Ok(vec![encoded(&otlp::message(&trace))]),
            Err(e) if e == ApiError::trace_not_found() => Ok(Vec::new()),
            Err(e) => Err(e.into_grpc("")),
        }
    })
    .await
}

async fn search_v3(app: &AppState, request: tonic::Request<Bytes>) -> Result<Vec<Trace>, Status> {
    let tenant = tenant(app, &request)?;
    let query = query(decode(request)?)?;
    if query.start_min_ns.is_none() || query.start_max_ns.is_none() {
        return Err(Status::invalid_argument(
            "start time min and max are required parameters",
        ));
    }
    search::search(app, &tenant, &query)
        .await
        .map_err(|e| e.into_grpc(""))
}

async fn find_traces_v3(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::streaming(request, REQUEST_BYTES, move |request| async move {
        let found = search_v3(&app, request).await?;
        Ok(found.iter().map(|t| encoded(&otlp::message(t))).collect())
    })
    .await
}

async fn find_summaries_v3(State(app): State<AppState>, request: Request<Body>) -> Response {
    grpc::streaming(request, REQUEST_BYTES, move |request| async move {
        let found = search_v3(&app, request).await?;
        Ok(found.iter().map(|t| encoded(&summaries(t))).collect())
    })
    .await
}

fn summaries(trace: &Trace) -> Summaries {
    let summary = Summary::of(trace);
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let service = |s: &Resource| s.service_name().unwrap_or_default().to_owned();
    Summaries {
        summaries: vec![TraceSummary {
            trace_id: summary.trace_id.to_string(),
            root_service_name: summary
                .root
                .map(|r| service(&r.resource))
                .unwrap_or_default(),
            root_operation_name: summary.root.map(|r| r.name.clone()).unwrap_or_default(),
            min_start_time_unix_nano: summary.min_start_ns,
            max_end_time_unix_nano: summary.max_end_ns,
            span_count: count(summary.spans),
            error_span_count: count(summary.errors),
            orphan_span_count: count(summary.orphans),
            services: summary
                .services
                .iter()
                .map(|(name, (spans, errors))| ServiceSummary {
                    name: (*name).to_owned(),
                    span_count: count(*spans),
                    error_span_count: count(*errors),
                })
                .collect(),
        }],
    }
}

/// A trace as v2's messages.
fn chunks(trace: &Trace) -> Vec<Bytes> {
    let spans = view::spans(trace).into_iter().map(|v| {
        let (service, tags) = view::process(&v.span.resource);
        jaeger::Span {
            trace_id: Bytes::copy_from_slice(&v.span.trace_id.0),
            span_id: Bytes::copy_from_slice(&v.span.span_id.0),
            operation_name: v.span.name.clone(),
            references: v
                .references
                .iter()
                .map(|r| jaeger::SpanRef {
                    trace_id: Bytes::copy_from_slice(&r.trace_id.0),
                    span_id: Bytes::copy_from_slice(&r.span_id.0),
                    ref_type: i32::from(r.follows_from),
                })
                .collect(),
            start_time: Some(jaeger::Timestamp::from_ns(v.span.start_ns)),
            duration: Some(jaeger::Duration::from_ns(v.span.duration_ns())),
            tags: v.tags.iter().map(key_value).collect(),
            logs: v
                .span
                .events
                .iter()
                .map(|e| jaeger::Log {
                    timestamp: Some(jaeger::Timestamp::from_ns(e.time_ns)),
                    fields: view::fields(e).iter().map(key_value).collect(),
                })
                .collect(),
            process: Some(jaeger::Process {
                service_name: service.to_owned(),
                tags: tags.iter().map(key_value).collect(),
            }),
            warnings: v.warnings,
            ..jaeger::Span::default()
        }
    });
    let spans: Vec<jaeger::Span> = spans.collect();
    let message = |spans: &[jaeger::Span]| {
        encoded(&SpansResponseChunk {
            spans: spans.to_vec(),
        })
    };
    spans.chunks(CHUNK_SPANS).map(message).collect()
}

fn key_value(tag: &Tag<'_>) -> jaeger::KeyValue {
    let mut out = jaeger::KeyValue {
        key: tag.key.to_owned(),
        ..jaeger::KeyValue::default()
    };
    match &tag.value {
        TagValue::Text(text) => out.v_str = text.to_string(),
        TagValue::Bool(b) => {
            out.v_type = value_type::BOOL;
            out.v_bool = *b;
        }
        TagValue::Int(i) => {
            out.v_type = value_type::INT64;
            out.v_int64 = *i;
        }
        TagValue::Float(f) => {
            out.v_type = value_type::FLOAT64;
            out.v_float64 = *f;
        }
        TagValue::Binary(b) => {
            out.v_type = value_type::BINARY;
            out.v_binary = Bytes::copy_from_slice(b);
        }
    }
    out
}
