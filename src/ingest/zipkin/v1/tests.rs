use super::*;
use crate::wire::otlp::KeyValue;

/// One span of a request, with the attributes of its resource.
fn only(request: ExportTraceServiceRequest) -> (Vec<KeyValue>, Span) {
    let [group] = &request.resource_spans[..] else {
        panic!("{} resources", request.resource_spans.len());
    };
    let resource = group.resource.clone().unwrap().attributes;
    (resource, group.scope_spans[0].spans[0].clone())
}

fn json(members: &str) -> (Vec<KeyValue>, Span) {
    let text = format!(
        r#"[{{"traceId":"a000000000000011","id":"0000000000000012","name":"n",{members}}}]"#
    );
    only(from_json(text.as_bytes()).unwrap())
}

fn text(key: &str, value: &str) -> KeyValue {
    text_pair(key, value.to_owned())
}

#[test]
fn core_annotations_tell_kind_times_and_service() {
    let (resource, span) = json(
        r#""annotations":[
            {"timestamp":20,"value":"note","endpoint":{"serviceName":"other"}},
            {"timestamp":10,"value":"cs","endpoint":{"serviceName":"shop","ipv4":"10.0.0.1","port":80}},
            {"timestamp":30,"value":"cr","endpoint":{"serviceName":"shop"}}]"#,
    );
    assert_eq!(
        resource,
        [
            text("service.name", "shop"),
            text("ipv4", "10.0.0.1"),
            text("port", "80")
        ]
    );
    assert_eq!((span.kind, span.events.len()), (3, 1));
    assert_eq!(
        (span.start_time_unix_nano, span.end_time_unix_nano),
        (10_000, 30_000)
    );
}

#[test]
fn a_span_without_peers_is_named_by_its_tags() {
    let named = |tags: &str| {
        let (resource, span) = json(&format!(
            r#""timestamp":5,"duration":2,"binaryAnnotations":[{tags}]"#
        ));
        assert_eq!(resource.len(), 1);
        let Some(Value::String(name)) = resource[0].value.clone().unwrap().value else {
            panic!("a name that is no text");
        };
        assert_eq!(span.end_time_unix_nano, 7000);
        name
    };
    assert_eq!(named(r#"{"key":"k","value":"v"}"#), "unknown-service");
    assert_eq!(named(r#"{"key":"lc","value":"cron"}"#), "cron");
    assert_eq!(
        named(r#"{"key":"lc","value":"cron","endpoint":{"serviceName":"jobs"}}"#),
        "jobs"
    );
}

#[test]
fn the_surest_tag_tells_the_status() {
    for (tags, code, message) in [
        (r#"{"key":"error","value":"boom"}"#, 2, ""),
        (
            r#"{"key":"error","value":""},{"key":"census.status_description","value":"m"}"#,
            2,
            "m",
        ),
        (
            r#"{"key":"error","value":"x"},{"key":"otel.status_code","value":"1"}"#,
            1,
            "",
        ),
        (
            r#"{"key":"otel.status_code","value":"1"},{"key":"census.status_code","value":"5"}"#,
            2,
            "",
        ),
        (
            r#"{"key":"http.status_code","value":"503"},{"key":"http.status_message","value":"busy"}"#,
            2,
            "busy",
        ),
        (r#"{"key":"http.status_code","value":"200"}"#, 0, ""),
    ] {
        let (_, span) = json(&format!(r#""timestamp":5,"binaryAnnotations":[{tags}]"#));
        let status = span.status.unwrap();
        assert_eq!((status.code, &*status.message), (code, message), "{tags}");
        assert!(
            span.attributes.iter().all(|a| a.key.starts_with("http.")),
            "{tags}"
        );
    }
    assert_eq!(json(r#""timestamp":5"#).1.status, None);
}

#[test]
fn a_span_without_any_time_is_of_now_and_says_so() {
    let (_, span) = json(r#""debug":true"#);
    assert!(span.start_time_unix_nano > 1_700_000_000_000_000_000);
    assert_eq!(span.attributes[0].key, "otel.zipkin.absentField.startTime");
}

#[test]
fn ids_are_checked() {
    for (trace_id, id, words) in [
        (
            "1",
            "0000000000000001",
            "zipkinV1 span traceId: hex traceId span has wrong length (expected 16 or 32)",
        ),
        (
            "0000000000000000",
            "0000000000000001",
            "zipkinV1 span traceId: traceId is zero",
        ),
        (
            "a000000000000099",
            "1",
            "zipkinV1 span id: hex Id has wrong length (expected 16)",
        ),
        (
            "a000000000000099",
            "00000000000000zz",
            "zipkinV1 span id: encoding/hex: invalid byte: U+007A 'z'",
        ),
        (
            "a000000000000099",
            "0000000000000000",
            "zipkinV1 span id: ID is zero",
        ),
    ] {
        let text = format!(r#"[{{"traceId":"{trace_id}","id":"{id}"}}]"#);
        assert_eq!(from_json(text.as_bytes()).unwrap_err(), words);
    }
}

/// Fields of a Thrift struct in the binary protocol.
fn field(kind: u8, id: i16, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &id.to_be_bytes(), value].concat()
}

fn thrift_text(id: i16, value: &[u8]) -> Vec<u8> {
    let length = i32::try_from(value.len()).unwrap().to_be_bytes();
    field(11, id, &[&length[..], value].concat())
}

fn structure(fields: &[Vec<u8>]) -> Vec<u8> {
    [fields.concat(), vec![0]].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let count = i32::try_from(items.len()).unwrap().to_be_bytes();
    [&[12][..], &count, &items.concat()].concat()
}

fn tag(key: &str, kind: i32, value: &[u8]) -> Vec<u8> {
    structure(&[
        thrift_text(1, key.as_bytes()),
        thrift_text(2, value),
        field(8, 3, &kind.to_be_bytes()),
    ])
}

#[test]
fn thrift_spans_come_with_typed_tags_and_unsigned_addresses() {
    let i64_field = |id, value: i64| field(10, id, &value.to_be_bytes());
    let endpoint = structure(&[
        field(8, 1, &[10, 0, 0, 4]),
        field(6, 2, &50_000_u16.to_be_bytes()),
        thrift_text(3, b"shop"),
    ]);
    let annotation = structure(&[
        i64_field(1, 77),
        thrift_text(2, b"sr"),
        field(12, 3, &endpoint),
    ]);
    let tags = [
        tag("yes", 0, &[1]),
        tag("bytes", 1, &[0, 255]),
        tag("short", 2, &(-5_i16).to_be_bytes()),
        tag("int", 3, &(-6_i32).to_be_bytes()),
        tag("long", 4, &(-7_i64).to_be_bytes()),
        tag("double", 5, &1.5_f64.to_be_bytes()),
        tag("text", 6, "ü".as_bytes()),
        tag("torn", 4, &[1]),
        tag("odd", 9, &[]),
    ];
    let span = structure(&[
        i64_field(1, 2),
        thrift_text(3, b"get"),
        i64_field(4, 3),
        i64_field(5, 4),
        field(15, 6, &list(&[annotation])),
        field(15, 8, &list(&tags)),
        field(2, 9, &[1]),
        i64_field(10, 100),
        i64_field(11, 20),
        i64_field(12, 1),
    ]);
    let (resource, span) = only(from_thrift(list(&[span]).into()).unwrap());
    assert_eq!(
        resource,
        [
            text("service.name", "shop"),
            text("ipv4", "10.0.0.4"),
            text("port", "50000")
        ]
    );
    assert_eq!(
        span.trace_id[..],
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    );
    assert_eq!(span.span_id[..], 3_u64.to_be_bytes());
    assert_eq!(span.parent_span_id[..], 4_u64.to_be_bytes());
    assert_eq!(
        (
            span.name.as_str(),
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano
        ),
        ("get", 2, 100_000, 120_000)
    );
    let values = span
        .attributes
        .into_iter()
        .map(|a| a.value.unwrap().value.unwrap());
    assert_eq!(
        values.collect::<Vec<_>>(),
        [
            Value::Bool(true),
            Value::String("AP8=".to_owned()),
            Value::Int(-5),
            Value::Int(-6),
            Value::Int(-7),
            Value::Double(1.5),
            Value::String("ü".to_owned()),
            Value::String("<not enough bytes representing the number>".to_owned()),
            Value::String("<unknown zipkin v1 binary annotation type (9)>".to_owned()),
        ]
    );
}

#[test]
fn torn_thrift_is_refused() {
    let whole = list(&[structure(&[thrift_text(3, b"name")])]);
    assert!(from_thrift(whole.clone().into()).is_ok());
    for end in 0..whole.len() {
        let torn = Bytes::copy_from_slice(&whole[..end]);
        assert!(from_thrift(torn).is_err(), "{end} bytes");
    }
    let endless = Bytes::from_static(&[12, 0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(from_thrift(endless).unwrap_err(), "EOF");
}
