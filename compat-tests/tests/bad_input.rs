//! Bad bytes at every door: each gets an answer of the 400s, and the process stays up.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use compat_tests::feed;
use compat_tests::http::Client;
use compat_tests::server::{Options, Server};
use compat_tests::suite::own_root;
use compat_tests::wire::{gzip, snappy, varint};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const THRIFT: (&str, &str) = ("content-type", "application/x-thrift");
const SNAPPY: (&str, &str) = ("content-encoding", "snappy");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// A snappy block that says it holds `length` bytes and then ends.
fn declared(length: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, length);
    out.extend_from_slice(&[0xfe, 0x01, 0x00]);
    out
}

/// A few bytes that are the same on every run and look like nothing.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A Thrift binary batch whose list of spans claims two thousand million elements.
fn absurd_thrift() -> Vec<u8> {
    let mut out = vec![12, 0, 1]; // field 1: struct Process
    out.extend_from_slice(&[11, 0, 1, 0, 0, 0, 1, b's', 0]); // service name "s", end
    out.extend_from_slice(&[15, 0, 2, 12, 0x7f, 0xff, 0xff, 0xff]); // field 2: list of structs
    out
}

type Door = (
    &'static str,
    String,
    Vec<(&'static str, &'static str)>,
    Vec<u8>,
);

fn doors(server: &Server) -> Vec<Door> {
    let urls = &server.urls;
    let write = format!("{}/api/v1/write", urls.web);
    let push = format!("{}/loki/api/v1/push", urls.loki);
    let otlp = |signal: &str| format!("{}/v1/{signal}", urls.otlp_http);
    let thrift = format!("{}/api/traces?format=jaeger.thrift", urls.jaeger_http);
    let zipkin = format!("{}/api/v2/spans", urls.zipkin);
    let valid = snappy(&[0x0a, 0x02, 0x0a, 0x00]);
    let zeros = vec![0; 64 << 20];
    let mut all: Vec<Door> = vec![
        (
            "truncated snappy",
            write.clone(),
            vec![PROTOBUF, SNAPPY],
            valid[..valid.len() - 1].to_vec(),
        ),
        (
            "a declared length of 4 GiB",
            write.clone(),
            vec![PROTOBUF, SNAPPY],
            declared(u64::from(u32::MAX)),
        ),
        (
            "a declared length beyond 32 bits",
            write.clone(),
            vec![PROTOBUF, SNAPPY],
            declared(1 << 40),
        ),
        (
            "a snappy bomb",
            write.clone(),
            vec![PROTOBUF, SNAPPY],
            snappy(&zeros),
        ),
        (
            "protobuf of the wrong types",
            write.clone(),
            vec![PROTOBUF, SNAPPY],
            snappy(&[0x08, 0x01, 0x0a, 0x7f]),
        ),
        (
            "a cut length",
            write.clone(),
            vec![PROTOBUF, SNAPPY],
            snappy(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ),
        (
            "truncated snappy to Loki",
            push.clone(),
            vec![PROTOBUF],
            valid[..valid.len() - 1].to_vec(),
        ),
        (
            "a declared length of 4 GiB to Loki",
            push.clone(),
            vec![PROTOBUF],
            declared(u64::from(u32::MAX)),
        ),
        (
            "wrong protobuf to Loki",
            push.clone(),
            vec![PROTOBUF],
            snappy(&[0x0a, 0x7f, 0x01]),
        ),
        (
            "JSON of the wrong shape",
            push.clone(),
            vec![JSON],
            br#"{"streams": 7}"#.to_vec(),
        ),
        (
            "a number as a line",
            push.clone(),
            vec![JSON],
            br#"{"streams":[{"stream":{"a":"b"},"values":[["1",2]]}]}"#.to_vec(),
        ),
        (
            "cut JSON",
            push.clone(),
            vec![JSON],
            br#"{"streams":[{"stream":{"a""#.to_vec(),
        ),
        ("deep JSON", push.clone(), vec![JSON], vec![b'['; 200_000]),
        (
            "a gzip bomb to Loki",
            push.clone(),
            vec![JSON, GZIP],
            gzip(&zeros),
        ),
        (
            "gzip that is none",
            push,
            vec![JSON, GZIP],
            b"not gzip".to_vec(),
        ),
        (
            "absurd thrift lengths",
            thrift.clone(),
            vec![THRIFT],
            absurd_thrift(),
        ),
        (
            "an empty thrift body",
            thrift.clone(),
            vec![THRIFT],
            Vec::new(),
        ),
        (
            "Zipkin of the wrong shape",
            zipkin.clone(),
            vec![JSON],
            br#"[{"traceId": 5}]"#.to_vec(),
        ),
        (
            "Zipkin with a long id",
            zipkin.clone(),
            vec![JSON],
            format!(r#"[{{"traceId":"{}","id":"1"}}]"#, "f".repeat(99)).into_bytes(),
        ),
    ];
    for signal in ["traces", "logs", "metrics"] {
        let json_of_wrong_types = match signal {
            "traces" => r#"{"resourceSpans": {"a": 1}}"#,
            "logs" => r#"{"resourceLogs": "x"}"#,
            _ => r#"{"resourceMetrics": [5]}"#,
        };
        all.push((
            "JSON of wrong types to OTLP",
            otlp(signal),
            vec![JSON],
            json_of_wrong_types.into(),
        ));
        all.push((
            "wrong protobuf to OTLP",
            otlp(signal),
            vec![PROTOBUF],
            vec![0x0a, 0x7f, 0x01],
        ));
        all.push((
            "a gzip bomb to OTLP",
            otlp(signal),
            vec![JSON, GZIP],
            gzip(&zeros),
        ));
        all.push((
            "another content type",
            otlp(signal),
            vec![("content-type", "text/plain")],
            b"x".to_vec(),
        ));
    }
    let ids = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"abc","spanId":"1","name":"x"}]}]}]}"#;
    all.push((
        "ids of a wrong length",
        otlp("traces"),
        vec![JSON],
        ids.into(),
    ));
    for seed in 1..6 {
        let garbage = |length: usize| noise(seed * 7919, length);
        all.push(("noise", write.clone(), vec![PROTOBUF, SNAPPY], garbage(300)));
        all.push((
            "noise in snappy",
            write.clone(),
            vec![PROTOBUF, SNAPPY],
            snappy(&garbage(300)),
        ));
        all.push(("noise to Zipkin", zipkin.clone(), vec![JSON], garbage(300)));
        all.push((
            "noise as thrift",
            thrift.clone(),
            vec![THRIFT],
            garbage(300),
        ));
        all.push(("noise to OTLP", otlp("logs"), vec![PROTOBUF], garbage(300)));
    }
    all
}

/// The most memory the process ever had, in MiB.
fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bytes_are_refused_and_the_process_stays_up() {
    let mut server = Server::start(&Options::common()).await.unwrap();
    let client = Client::new();
    let mut wrong = Vec::new();
    for (what, url, headers, body) in doors(&server) {
        let start: Vec<u8> = body.iter().copied().take(20).collect();
        match client.post(&url, &headers, body).await {
            Ok(answer) if (400..500).contains(&answer.status) => {}
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                wrong.push(format!(
                    "{what}: {url} {start:02x?}: HTTP {} {text:.100}",
                    answer.status
                ));
            }
            // A server may hang up on a body that it does not want to read to its end.
            Err(error) => println!("{what}: {error:#}"),
        }
        assert!(
            server.exited().is_none(),
            "{what} ended the process: {}",
            server.last_words()
        );
    }
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for address in [&server.urls.agent_compact, &server.urls.agent_binary] {
        for seed in 1..50 {
            if !address.is_empty() {
                socket.send_to(&noise(seed, 200), address).await.unwrap();
            }
        }
    }
    // What is good is still taken, and read back.
    let data = own_root();
    for signal in ["metrics", "logs", "traces"] {
        let path = data.join(signal).join("dataset.jsonl");
        feed::dataset(&client, &server.urls, &path).await.unwrap();
    }
    assert!(server.exited().is_none(), "ended: {}", server.last_words());
    let peak = peak_mib(server.pid()).unwrap_or(0);
    assert!(peak < 1024, "{peak} MiB at the peak");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
