//! The messages of Jaeger's query services and of OTLP traces, as a table, and the way between
//! protobuf and its canonical JSON that the table describes.
//!
//! Source: `api_v2/query.proto`, `api_v2/model.proto`, `api_v3/query_service.proto` of jaeger-idl,
//! and OTLP's `trace.proto`, `common.proto`, `resource.proto`.

use std::collections::HashMap;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::wire::Message;

/// A line is a message: `Name: number field type, ...`. `*` marks a list, `?` a member of a oneof
/// (there even when it holds the default). A capital letter begins a message's or an enum's name.
const MESSAGES: &str = "
Empty:
Timestamp: 1 seconds int64, 2 nanos int32
Duration: 1 seconds int64, 2 nanos int32
Entry: 1 key string, 2 value string
v2.GetTraceRequest: 1 trace_id bytes, 2 start_time Timestamp, 3 end_time Timestamp, 4 raw_traces bool
v2.FindTracesRequest: 1 query v2.Query
v2.Query: 1 service_name string, 2 operation_name string, 3 tags map, 4 start_time_min Timestamp, 5 start_time_max Timestamp, 6 duration_min Duration, 7 duration_max Duration, 8 search_depth int32, 9 raw_traces bool
v2.Chunk: 1 spans *v2.Span
v2.Services: 1 services *string
v2.OperationsRequest: 1 service string, 2 span_kind string
v2.Operations: 1 operationNames *string, 2 operations *Operation
Operation: 1 name string, 2 span_kind string
v2.DependenciesRequest: 1 start_time Timestamp, 2 end_time Timestamp
v2.Dependencies: 1 dependencies *v2.Link
v2.Link: 1 parent string, 2 child string, 3 call_count uint64, 4 source string
v2.Span: 1 trace_id bytes, 2 span_id bytes, 3 operation_name string, 4 references *v2.Reference, 5 flags uint32, 6 start_time Timestamp, 7 duration Duration, 8 tags *v2.Tag, 9 logs *v2.Log, 10 process v2.Process, 11 process_id string, 12 warnings *string
v2.Reference: 1 trace_id bytes, 2 span_id bytes, 3 ref_type RefType
v2.Tag: 1 key string, 2 v_type ValueType, 3 v_str string, 4 v_bool bool, 5 v_int64 int64, 6 v_float64 double, 7 v_binary bytes
v2.Log: 1 timestamp Timestamp, 2 fields *v2.Tag
v2.Process: 1 service_name string, 2 tags *v2.Tag
v3.GetTraceRequest: 1 trace_id string, 2 start_time Timestamp, 3 end_time Timestamp, 4 raw_traces bool
v3.FindTracesRequest: 1 query v3.Query
v3.Query: 1 service_name string, 2 operation_name string, 3 attributes map, 4 start_time_min Timestamp, 5 start_time_max Timestamp, 6 duration_min Duration, 7 duration_max Duration, 8 search_depth int32, 9 raw_traces bool
v3.Operations: 1 operations *Operation
v3.Dependencies: 1 dependencies *v3.Dependency
v3.Dependency: 1 parent string, 2 child string, 3 call_count uint64
v3.Summaries: 1 summaries *v3.Summary
v3.Summary: 1 trace_id string, 2 root_service_name string, 3 root_operation_name string, 4 min_start_time_unix_nano fixed64, 5 max_end_time_unix_nano fixed64, 6 span_count int32, 7 error_span_count int32, 8 orphan_span_count int32, 9 services *v3.ServiceSummary
v3.ServiceSummary: 1 name string, 2 span_count int32, 3 error_span_count int32
Traces: 1 resource_spans *ResourceSpans
ResourceSpans: 1 resource Resource, 2 scope_spans *ScopeSpans, 3 schema_url string
Resource: 1 attributes *KeyValue, 2 dropped_attributes_count uint32
ScopeSpans: 1 scope Scope, 2 spans *Span, 3 schema_url string
Scope: 1 name string, 2 version string, 3 attributes *KeyValue, 4 dropped_attributes_count uint32
Span: 1 trace_id bytes, 2 span_id bytes, 3 trace_state string, 4 parent_span_id bytes, 5 name string, 6 kind SpanKind, 7 start_time_unix_nano fixed64, 8 end_time_unix_nano fixed64, 9 attributes *KeyValue, 10 dropped_attributes_count uint32, 11 events *Event, 12 dropped_events_count uint32, 13 links *Link, 14 dropped_links_count uint32, 15 status Status, 16 flags fixed32
Event: 1 time_unix_nano fixed64, 2 name string, 3 attributes *KeyValue, 4 dropped_attributes_count uint32
Link: 1 trace_id bytes, 2 span_id bytes, 3 trace_state string, 4 attributes *KeyValue, 5 dropped_attributes_count uint32, 6 flags fixed32
Status: 2 message string, 3 code StatusCode
KeyValue: 1 key string, 2 value AnyValue
AnyValue: 1 string_value ?string, 2 bool_value ?bool, 3 int_value ?int64, 4 double_value ?double, 5 array_value ?ArrayValue, 6 kvlist_value ?KeyValueList, 7 bytes_value ?bytes
ArrayValue: 1 values *AnyValue
KeyValueList: 1 values *KeyValue
";

/// Enums, by the numbers from zero.
const ENUMS: [(&str, &[&str]); 4] = [
    ("RefType", &["CHILD_OF", "FOLLOWS_FROM"]),
    (
        "ValueType",
        &["STRING", "BOOL", "INT64", "FLOAT64", "BINARY"],
    ),
    (
        "SpanKind",
        &[
            "SPAN_KIND_UNSPECIFIED",
            "SPAN_KIND_INTERNAL",
            "SPAN_KIND_SERVER",
            "SPAN_KIND_CLIENT",
            "SPAN_KIND_PRODUCER",
            "SPAN_KIND_CONSUMER",
        ],
    ),
    (
        "StatusCode",
        &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"],
    ),
];

/// The request's and the answers' message of a method.
pub(super) fn method(service: &str, method: &str) -> Option<(&'static str, &'static str)> {
    Some(match (service, method) {
        ("jaeger.api_v2.QueryService", method) => match method {
            "GetTrace" => ("v2.GetTraceRequest", "v2.Chunk"),
            "ArchiveTrace" => ("v2.GetTraceRequest", "Empty"),
            "FindTraces" => ("v2.FindTracesRequest", "v2.Chunk"),
            "GetServices" => ("Empty", "v2.Services"),
            "GetOperations" => ("v2.OperationsRequest", "v2.Operations"),
            "GetDependencies" => ("v2.DependenciesRequest", "v2.Dependencies"),
            _ => return None,
        },
        ("jaeger.api_v3.QueryService", method) => match method {
            "GetTrace" => ("v3.GetTraceRequest", "Traces"),
            "FindTraces" => ("v3.FindTracesRequest", "Traces"),
            "FindTraceSummaries" => ("v3.FindTracesRequest", "v3.Summaries"),
            "GetServices" => ("Empty", "v2.Services"),
            "GetOperations" => ("v2.OperationsRequest", "v3.Operations"),
            "GetDependencies" => ("v2.DependenciesRequest", "v3.Dependencies"),
            _ => return None,
        },
        _ => return None,
    })
}

#[derive(Debug)]
struct Field {
    number: u32,
    name: &'static str,
    json: String,
    list: bool,
    oneof: bool,
    kind: &'static str,
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

fn fields(message: &str) -> Result<&'static [Field]> {
    static TABLE: OnceLock<HashMap<&'static str, Vec<Field>>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let lines = MESSAGES.lines().filter_map(|line| line.split_once(':'));
        lines
            .map(|(message, fields)| {
                let fields = fields.split(',').filter_map(|field| {
                    let mut words = field.split_whitespace();
                    let number = words.next()?.parse().ok()?;
                    let (name, kind) = (words.next()?, words.next()?);
                    let list = kind.starts_with('*');
                    let oneof = kind.starts_with('?');
                    let kind = kind.trim_start_matches(['*', '?']);
                    Some(Field {
                        number,
                        name,
                        json: camel(name),
                        list,
                        oneof,
                        kind,
                    })
                });
                (message, fields.collect())
            })
            .collect()
    });
    table
        .get(message)
        .map(Vec::as_slice)
        .with_context(|| format!("no message {message}"))
}

fn enum_names(kind: &str) -> Option<&'static [&'static str]> {
    ENUMS
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, names)| *names)
}

/// Writes a message of protobuf's JSON (either spelling of names) as protobuf.
pub(super) fn encode(message: &str, value: &Value) -> Result<Vec<u8>> {
    let mut out = Message::new();
    let members = value
        .as_object()
        .with_context(|| format!("{message}: {value}"))?;
    for (name, value) in members {
        let field = fields(message)?
            .iter()
            .find(|f| f.name == name || f.json == *name);
        let field = field.with_context(|| format!("{message} has no field {name}"))?;
        match (field.kind, value) {
            ("map", Value::Object(entries)) => {
                for (k, v) in entries {
                    let entry = encode("Entry", &json!({"key": k, "value": v}))?;
                    out.bytes(field.number, entry);
                }
            }
            (_, Value::Array(items)) if field.list => {
                items
                    .iter()
                    .try_for_each(|item| encode_one(&mut out, field, item))?;
            }
            _ => encode_one(&mut out, field, value)?,
        }
    }
    Ok(out.0)
}

fn encode_one(out: &mut Message, field: &Field, value: &Value) -> Result<()> {
    let wrong = || format!("{}: {value}", field.name);
    let text = || value.as_str().with_context(wrong);
    let digits = || match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    let n = field.number;
    match field.kind {
        "string" => out.bytes(n, text()?),
        "bytes" => out.bytes(n, STANDARD.decode(text()?).with_context(wrong)?),
        "bool" => out.uint_always(n, u64::from(value.as_bool().with_context(wrong)?)),
        "int32" | "int64" => {
            out.uint_always(n, digits().parse::<i64>().with_context(wrong)? as u64)
        }
        "uint32" | "uint64" => out.uint_always(n, digits().parse().with_context(wrong)?),
        "fixed32" => out.fixed32(n, digits().parse().with_context(wrong)?),
        "fixed64" => out.fixed64(n, digits().parse().with_context(wrong)?),
        "double" => out.double_bits(n, digits().parse::<f64>().with_context(wrong)?.to_bits()),
        "Timestamp" => out.message(
            n,
            &seconds_and_nanos(timestamp(text()?).with_context(wrong)?),
        ),
        "Duration" => out.message(
            n,
            &seconds_and_nanos(duration(text()?).with_context(wrong)?),
        ),
        kind => {
            if let Some(names) = enum_names(kind) {
                let name = text()?;
                let number = names.iter().position(|n| *n == name).with_context(wrong)?;
                out.uint_always(n, number as u64)
            } else {
                out.bytes(n, encode(kind, value)?)
            }
        }
    };
    Ok(())
}

fn seconds_and_nanos((seconds, nanos): (i64, i64)) -> Message {
    let mut m = Message::new();
    m.int(1, seconds).int(2, nanos);
    m
}

fn fraction_nanos(digits: &str) -> Option<i64> {
    format!("{digits:0<9}").get(..9)?.parse().ok()
}

/// Days since the epoch of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Seconds and nanoseconds of `2026-11-01T00:00:00.5Z`.
fn timestamp(text: &str) -> Option<(i64, i64)> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|p| p.parse::<i64>().ok());
    let days = days(date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(|p| p.parse::<i64>().ok());
    let seconds = time.next()?? * 3600 + time.next()?? * 60 + time.next()??;
    Some((days * 86_400 + seconds, fraction_nanos(fraction)?))
}

/// Seconds and nanoseconds of `1.500s`.
fn duration(text: &str) -> Option<(i64, i64)> {
    let text = text.strip_suffix('s')?;
    let negative = text.starts_with('-');
    let (seconds, fraction) = text
        .trim_start_matches('-')
        .split_once('.')
        .unwrap_or((text, "0"));
    let sign = if negative { -1 } else { 1 };
    let seconds = seconds.trim_start_matches('-').parse::<i64>().ok()?;
    Some((sign * seconds, sign * fraction_nanos(fraction)?))
}

/// Nothing, or three, six or nine digits.
fn fraction_text(nanos: u64) -> String {
    match nanos {
        0 => String::new(),
        n if n.is_multiple_of(1_000_000) => format!(".{:03}", n / 1_000_000),
        n if n.is_multiple_of(1000) => format!(".{:06}", n / 1000),
        n => format!(".{n:09}"),
    }
}

fn timestamp_text(seconds: i64, nanos: i64) -> String {
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted - era * 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = fraction_text(nanos.unsigned_abs());
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}{fraction}Z")
}

fn duration_text(seconds: i64, nanos: i64) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!(
        "{sign}{}{}s",
        seconds.unsigned_abs(),
        fraction_text(nanos.unsigned_abs())
    )
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut out = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else {
            bail!("a number is cut off")
        };
        *bytes = rest;
        out |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(out);
        }
    }
    bail!("a number of more than ten bytes")
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(n).context("a field is cut off")?;
    *bytes = rest;
    Ok(head)
}

/// A field's payload.
enum Payload<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads a message into protobuf's canonical JSON: defaults are left out, unknown fields are errors.
pub(super) fn decode(message: &str, mut bytes: &[u8]) -> Result<Value> {
    if matches!(message, "Timestamp" | "Duration") {
        return seconds_text(message, bytes);
    }
    let mut out = Map::new();
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let payload = match key & 7 {
            0 => Payload::Number(take_varint(&mut bytes)?),
            1 => Payload::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into()?)),
            2 => {
                let length = usize::try_from(take_varint(&mut bytes)?)?;
                Payload::Bytes(take(&mut bytes, length)?)
            }
            5 => Payload::Number(u32::from_le_bytes(take(&mut bytes, 4)?.try_into()?).into()),
            wire => bail!("{message}: wire type {wire}"),
        };
        let field = fields(message)?
            .iter()
            .find(|f| u64::from(f.number) == key >> 3);
        let field = field.with_context(|| format!("{message}: unknown field {}", key >> 3))?;
        let value = decode_one(message, field, &payload)?;
        if field.list {
            let list = out.entry(field.json.clone()).or_insert_with(|| json!([]));
            list.as_array_mut().context("a list")?.push(value);
        } else if field.oneof || !is_default(&value, field.kind) {
            out.insert(field.json.clone(), value);
        }
    }
    Ok(Value::Object(out))
}

fn decode_one(message: &str, field: &Field, payload: &Payload<'_>) -> Result<Value> {
    Ok(match (field.kind, payload) {
        ("string", Payload::Bytes(b)) => json!(std::str::from_utf8(b)?),
        ("bytes", Payload::Bytes(b)) => json!(STANDARD.encode(b)),
        ("bool", Payload::Number(n)) => json!(*n != 0),
        ("int32", Payload::Number(n)) => json!(*n as i32),
        ("int64", Payload::Number(n)) => json!((*n as i64).to_string()),
        ("uint32" | "fixed32", Payload::Number(n)) => json!(n),
        ("uint64" | "fixed64", Payload::Number(n)) => json!(n.to_string()),
        ("double", Payload::Number(n)) => match f64::from_bits(*n) {
            x if x.is_nan() => json!("NaN"),
            x if x.is_infinite() => json!(if x > 0.0 { "Infinity" } else { "-Infinity" }),
            x => json!(x),
        },
        (kind, Payload::Number(n)) => match enum_names(kind) {
            Some(names) => usize::try_from(*n)
                .ok()
                .and_then(|n| names.get(n))
                .map_or_else(|| json!(n), |name| json!(name)),
            None => bail!("{message}.{}: a number", field.name),
        },
        (kind, Payload::Bytes(b)) => decode(kind, b)?,
    })
}

fn is_default(value: &Value, kind: &str) -> bool {
    match value {
        Value::String(s) => {
            let zero = matches!(kind, "int64" | "uint64" | "fixed64") && s == "0";
            let first = enum_names(kind).is_some_and(|names| names[0] == s);
            s.is_empty() || zero || first
        }
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        _ => false,
    }
}

fn seconds_text(message: &str, mut bytes: &[u8]) -> Result<Value> {
    let (mut seconds, mut nanos) = (0, 0);
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let value = take_varint(&mut bytes)? as i64;
        match key {
            0x08 => seconds = value,
            0x10 => nanos = value,
            _ => bail!("{message}: unknown field"),
        }
    }
    Ok(json!(if message == "Timestamp" {
        timestamp_text(seconds, nanos)
    } else {
        duration_text(seconds, nanos)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_protobuf_writes_them() {
        assert_eq!(timestamp("2026-11-01T00:00:00Z"), Some((1_793_491_200, 0)));
        for text in [
            "2026-11-01T00:06:08.063306710Z",
            "1970-01-01T00:00:00Z",
            "2000-02-29T23:59:59.500Z",
        ] {
            let (s, n) = timestamp(text).unwrap();
            assert_eq!(timestamp_text(s, n), text);
        }
        assert_eq!(duration("0.090s"), Some((0, 90_000_000)));
        assert_eq!(duration_text(0, 90_000_000), "0.090s");
        assert_eq!(duration_text(3, 0), "3s");
        assert_eq!(duration("-1.5s"), Some((-1, -500_000_000)));
    }

    #[test]
    fn a_member_of_a_oneof_is_there_even_when_it_is_empty() {
        let bytes = encode("AnyValue", &json!({"stringValue": ""})).unwrap();
        assert_eq!(
            decode("AnyValue", &bytes).unwrap(),
            json!({"stringValue": ""})
        );
        let bytes = encode("v2.Tag", &json!({"key": "k", "v_str": ""})).unwrap();
        assert_eq!(decode("v2.Tag", &bytes).unwrap(), json!({"key": "k"}));
        assert!(decode("v2.Tag", &[0x12]).is_err());
    }
}
