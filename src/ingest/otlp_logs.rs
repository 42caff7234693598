//! Log records of an OTLP export: where every transport hands them over, and Loki's own path `/otlp/v1/logs`.
//!
//! A fixed list of resource attributes names the stream; everything else becomes structured metadata.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prost::Message;

use super::export::{ExportError, RpcStatus};
use super::loki_push::{self, PushError};
use super::remote_write::now_ms;
use crate::app::AppState;
use crate::body;
use crate::tenant;
use crate::wire::loki_push::Writer;
use crate::wire::otlp::{
    AnyValue, ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
    KeyValue, LogRecord, any_value, json,
};

/// Resource attributes that become labels, as in Loki's default configuration.
const LABELS: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];
/// How deep maps are flattened.
const MAX_DEPTH: usize = 32;

/// Takes log records.
///
/// # Errors
/// See [`ExportError`].
pub(crate) async fn export(
    app: &AppState,
    headers: &HeaderMap,
    request: ExportLogsServiceRequest,
) -> Result<ExportLogsServiceResponse, ExportError> {
    let mut response = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess::default()),
    };
    let tenant = tenant::of(headers, &app.config)?;
    let push = to_push(&request);
    if push.is_empty() {
        return Ok(response);
    }
    let outcome = loki_push::store(app, &tenant, &push, None).await;
    let outcome = outcome.map_err(|e| match e.status {
        StatusCode::PAYLOAD_TOO_LARGE => ExportError::TooLarge(e.text),
        StatusCode::TOO_MANY_REQUESTS => ExportError::Exhausted(e.text),
        StatusCode::SERVICE_UNAVAILABLE => ExportError::Unavailable(e.text),
        _ => ExportError::Invalid(e.text),
    })?;
    if outcome.refused > 0 && outcome.refused == outcome.entries {
        return Err(ExportError::Invalid(outcome.text));
    }
    // What a limit refuses will be refused again; the rest was taken.
    response.partial_success = Some(ExportLogsPartialSuccess {
        rejected_log_records: i64::try_from(outcome.refused).unwrap_or(i64::MAX),
        error_message: outcome.text,
    });
    Ok(response)
}

/// `POST /otlp/v1/logs`.
pub(super) async fn push(State(app): State<AppState>, headers: HeaderMap, body: Body) -> Response {
    match take(&app, &headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => {
            let status = RpcStatus {
                code: i32::from(e.status.as_u16()),
                message: e.text,
            };
            let headers = [(CONTENT_TYPE, "application/octet-stream")];
            (e.status, headers, status.encode_to_vec()).into_response()
        }
    }
}

async fn take(app: &AppState, headers: &HeaderMap, body: Body) -> Result<(), PushError> {
    let tenant = tenant::of(headers, &app.config)?;
    let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    let sent = body::read(body, limit).await?;
    let sent = body::inflate(headers, sent, limit)?;
    let media = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media = media.unwrap_or_default().split(';').next();
    let request = match media.unwrap_or_default().trim() {
        "application/json" => {
            json::decode_logs(&sent).map_err(|e| PushError::bad(e.to_string()))?
        }
        "application/x-protobuf" => {
            ExportLogsServiceRequest::decode(sent).map_err(|e| PushError::bad(e.to_string()))?
        }
        other => {
            return Err(PushError::bad(format!(
                "content type: {other} is not supported"
            )));
        }
    };
    let push = to_push(&request);
    loki_push::store(app, &tenant, &push, None).await?.answer()
}

type Pairs = Vec<(String, String)>;

/// Labels of a stream, and its entries: time, line, metadata.
type OwnStream = (Pairs, Vec<(i64, String, Pairs)>);

/// The request as a push. Resources without records leave nothing.
pub(crate) fn to_push(request: &ExportLogsServiceRequest) -> Vec<u8> {
    let now_ns = now_ms().saturating_mul(1_000_000);
    let mut streams: Vec<OwnStream> = Vec::new();
    let mut known: HashMap<Pairs, usize> = HashMap::new();
    for resource_logs in &request.resource_logs {
        let (mut labels, mut of_resource) = (Vec::new(), Vec::new());
        let resource = resource_logs.resource.as_ref();
        for attribute in resource.map_or(&[][..], |r| &r.attributes) {
            let is_label = LABELS.contains(&attribute.key.as_str());
            let out = if is_label {
                &mut labels
            } else {
                &mut of_resource
            };
            flatten(attribute, "", out, 0);
        }
        for (name, _) in &mut labels {
            *name = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
        }
        labels.sort();
        labels.dedup_by(|later, kept| later.0 == kept.0);
        for scope_logs in &resource_logs.scope_logs {
            let mut of_scope = of_resource.clone();
            if let Some(scope) = &scope_logs.scope {
                for attribute in &scope.attributes {
                    flatten(attribute, "", &mut of_scope, 0);
                }
                put(&mut of_scope, "scope_name", &scope.name);
                put(&mut of_scope, "scope_version", &scope.version);
                if scope.dropped_attributes_count > 0 {
                    let count = scope.dropped_attributes_count.to_string();
                    put(&mut of_scope, "scope_dropped_attributes_count", &count);
                }
            }
            for record in &scope_logs.log_records {
                let at = *known.entry(labels.clone()).or_insert(streams.len());
                if at == streams.len() {
                    streams.push((labels.clone(), Vec::new()));
                }
                let mut metadata = of_scope.clone();
                let t_ns = record_pairs(record, &mut metadata, now_ns);
                let line = record.body.as_ref().map_or_else(String::new, text_of);
                if let Some((_, entries)) = streams.get_mut(at) {
                    entries.push((t_ns, line, metadata));
                }
            }
        }
    }
    let mut writer = Writer::default();
    for (labels, entries) in &streams {
        let labels = labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        writer.stream(&loki_push::print_labels(labels));
        for (t_ns, line, metadata) in entries {
            let metadata = metadata.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            writer.entry(*t_ns, line, metadata);
        }
    }
    writer.finish()
}

/// Adds what a record says beside its body; its time.
fn record_pairs(record: &LogRecord, out: &mut Pairs, now_ns: i64) -> i64 {
    for attribute in &record.attributes {
        flatten(attribute, "", out, 0);
    }
    if record.severity_number != 0 {
        put(out, "severity_number", &record.severity_number.to_string());
    }
    put(out, "severity_text", &record.severity_text);
    if record.dropped_attributes_count != 0 {
        let count = record.dropped_attributes_count.to_string();
        put(out, "dropped_attributes_count", &count);
    }
    if record.flags != 0 {
        put(out, "flags", &record.flags.to_string());
    }
    for (name, id) in [("trace_id", &record.trace_id), ("span_id", &record.span_id)] {
        if id.iter().any(|b| *b != 0) {
            put(out, name, &hex::encode(id));
        }
    }
    put(out, "event_name", &record.event_name);
    let given = [record.time_unix_nano, record.observed_time_unix_nano];
    let time = given.into_iter().find(|t| *t != 0);
    time.map_or(now_ns, |t| i64::try_from(t).unwrap_or(i64::MAX))
}

fn put(out: &mut Pairs, name: &str, value: &str) {
    if !value.is_empty() {
        out.push((name.to_owned(), value.to_owned()));
    }
}

/// Adds an attribute; a map gives one pair for each of its leaves.
fn flatten(attribute: &KeyValue, prefix: &str, out: &mut Pairs, depth: usize) {
    let name = if prefix.is_empty() {
        attribute.key.clone()
    } else {
        format!("{prefix}_{}", attribute.key)
    };
    let value = attribute.value.as_ref().and_then(|v| v.value.as_ref());
    match value {
        Some(any_value::Value::Kvlist(list)) if depth < MAX_DEPTH => {
            for inner in &list.values {
                flatten(inner, &name, out, depth + 1);
            }
        }
        _ => {
            let text = attribute.value.as_ref().map_or_else(String::new, text_of);
            put(out, &name, &text);
        }
    }
}

fn text_of(value: &AnyValue) -> String {
    match &value.value {
        None => String::new(),
        Some(any_value::Value::String(text)) => text.clone(),
        Some(_) => match to_json(value, 0) {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

fn to_json(value: &AnyValue, depth: usize) -> serde_json::Value {
    use any_value::Value;
    match &value.value {
        _ if depth > MAX_DEPTH => serde_json::Value::Null,
        None => serde_json::Value::Null,
        Some(Value::String(text)) => text.as_str().into(),
        Some(Value::Bool(b)) => (*b).into(),
        Some(Value::Int(i)) => (*i).into(),
        Some(Value::Double(d)) if d.fract() == 0.0 && d.abs() < 1e15 => (*d as i64).into(),
        Some(Value::Double(d)) => (*d).into(),
        Some(Value::Bytes(bytes)) => {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD
                .encode(bytes)
                .into()
        }
        Some(Value::Array(array)) => {
            let all = array.values.iter().map(|v| to_json(v, depth + 1));
            serde_json::Value::Array(all.collect())
        }
        Some(Value::Kvlist(list)) => {
            let mut pairs: Vec<(&str, serde_json::Value)> = Vec::new();
            for pair in &list.values {
                let value = pair.value.as_ref();
                let value = value.map_or(serde_json::Value::Null, |v| to_json(v, depth + 1));
                pairs.push((&pair.key, value));
            }
            pairs.sort_by_key(|(key, _)| *key);
            pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_attributes_name_the_stream_and_the_rest_is_metadata() {
        let body = br#"{"resourceLogs":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"shop"}},
            {"key":"process.pid","value":{"intValue":"42"}}]},
            "scopeLogs":[{"scope":{"name":"lib"},"logRecords":[{"timeUnixNano":"5",
            "body":{"kvlistValue":{"values":[{"key":"a","value":{"stringValue":"b"}}]}},
            "attributes":[{"key":"m","value":{"kvlistValue":{"values":[{"key":"in.ner","value":{"stringValue":"v"}}]}}}]}]}]}]}"#;
        let push = to_push(&json::decode_logs(body).unwrap());
        let batch = loki_push::decode(&push).unwrap();
        assert_eq!(
            batch.streams[0].labels.to_string(),
            r#"{service_name="shop"}"#
        );
        assert_eq!(
            (batch.entries[0].t_ns, &*batch.entries[0].line),
            (5, r#"{"a":"b"}"#)
        );
        let names: Vec<_> = batch.metadata.iter().map(|(n, _)| &**n).collect();
        assert_eq!(
            names,
            ["process_pid", "scope_name", "m_in_ner", "detected_level"]
        );
    }
    /// A request with a record for each service and time.
    fn request(records: &[(&str, i64)]) -> ExportLogsServiceRequest {
        let resource_logs = records.iter().map(|(service, t_ns)| {
            serde_json::json!({
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
                "scopeLogs": [{"logRecords": [{"timeUnixNano": t_ns.to_string(), "body": {"stringValue": "line"}}]}],
            })
        });
        let all: Vec<_> = resource_logs.collect();
        json::decode_logs(
            serde_json::json!({"resourceLogs": all})
                .to_string()
                .as_bytes(),
        )
        .unwrap()
    }

    async fn services(app: &AppState) -> Vec<String> {
        let tenant = storage::model::Tenant::anonymous();
        let all = storage::model::NsRange::ALL;
        let streams = app.storage.log_streams(&tenant, &[], all).await.unwrap();
        let name = |labels: &storage::model::Labels| labels.get("service_name").unwrap().to_owned();
        streams.iter().map(name).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_limit_refuses_is_counted_and_the_rest_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let args = ["--storage.min-free=0", "--storage.out-of-order-window=1h"];
        let app = crate::app::testing::open(folder.path(), &args).await;
        let headers = HeaderMap::new();
        let long = "n".repeat(3000);
        let hour = 3600 * 1_000_000_000;

        let refused = export(&app, &headers, request(&[(&long, 1), (&long, 2)])).await;
        let Err(ExportError::Invalid(text)) = refused else {
            panic!("{refused:?}");
        };
        assert!(text.contains("has label value too long"), "{text}");
        assert_eq!(services(&app).await, [""; 0]);

        let records = [(&*long, 1), ("shop", 3 * hour), (&long, 2)];
        let taken = export(&app, &headers, request(&records)).await.unwrap();
        let partial = taken.partial_success.unwrap();
        assert_eq!(partial.rejected_log_records, 2);
        assert!(partial.error_message.contains("label value too long"));
        assert_eq!(services(&app).await, ["shop"]);

        // A record that comes too late is counted wherever it stands in the request.
        let records = [("shop", hour), ("cart", 3 * hour)];
        let taken = export(&app, &headers, request(&records)).await.unwrap();
        let partial = taken.partial_success.unwrap();
        assert_eq!(partial.rejected_log_records, 1);
        assert!(partial.error_message.contains("entry too far behind"));
        assert_eq!(services(&app).await, ["cart", "shop"]);

        let taken = export(&app, &headers, request(&[("shop", 3 * hour + 1)])).await;
        assert_eq!(
            taken.unwrap().partial_success,
            Some(ExportLogsPartialSuccess::default())
        );
        app.storage.close().await.unwrap();
    }
}
