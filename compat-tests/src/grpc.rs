//! Jaeger's gRPC cases: calls written in protobuf's JSON, made over the wire, and compared as bags.
//!
//! The messages are described by a table of our own ([`schema`]), so that a mistake in the server's
//! definitions cannot hide in a shared one. A unary answer is a stream of one message.

mod schema;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BufMut as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use crate::compare::{bag, strict};
use crate::feed::clients::Outcome;
use crate::replay::Selection;

/// One call with what the upstream answered.
#[derive(Debug, Clone, Deserialize)]
pub struct GrpcCase {
    /// Unique in its file.
    pub id: String,
    /// Full name of the service.
    pub service: String,
    /// The method.
    pub method: String,
    /// The request message in protobuf's JSON.
    pub request: Value,
    /// `messages` or `error`.
    pub expect: Value,
}

#[derive(Deserialize)]
struct File {
    cases: Vec<GrpcCase>,
}

/// Reads a case file.
///
/// # Errors
/// When it cannot be read or is no such file.
pub fn load(path: &Path) -> Result<Vec<GrpcCase>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let file: File = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(file.cases)
}

/// Asks each case and compares.
///
/// # Errors
/// When the file cannot be read.
pub async fn cases(base: &str, path: &Path, selection: &Selection) -> Result<Vec<Outcome>> {
    let cases = load(path)?;
    let channel = connect(base).await;
    let mut out = Vec::new();
    for case in cases.into_iter().filter(|c| selection.takes(&c.id)) {
        let problem = match &channel {
            Ok(channel) => match ask(channel, &case).await {
                Ok(got) => difference(&case.expect, &got),
                Err(error) => Some(format!("{error:#}")),
            },
            Err(error) => Some(format!("{error:#}")),
        };
        out.push((case.id, problem));
    }
    Ok(out)
}

async fn connect(base: &str) -> Result<Channel> {
    if base.is_empty() {
        bail!("the server has no such listener");
    }
    let endpoint = Endpoint::from_shared(base.to_owned())?.timeout(Duration::from_secs(60));
    endpoint
        .connect()
        .await
        .with_context(|| format!("cannot connect to {base}"))
}

/// Makes the call; the answer has the form of a case's `expect`.
async fn ask(channel: &Channel, case: &GrpcCase) -> Result<Value> {
    let (request, response) = schema::method(&case.service, &case.method)
        .with_context(|| format!("{}/{} is not described", case.service, case.method))?;
    let body = schema::encode(request, &case.request)?;
    let mut client = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
    client.ready().await?;
    let path = format!("/{}/{}", case.service, case.method).parse()?;
    let failed = |status: &Status| json!({"error": {"code": status.code() as i32, "message": status.message()}});
    let mut stream = match client
        .server_streaming(tonic::Request::new(body), path, Raw)
        .await
    {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Ok(failed(&status)),
    };
    let mut messages = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => messages.push(schema::decode(response, &message)?),
            Ok(None) => return Ok(json!({ "messages": messages })),
            Err(status) => return Ok(failed(&status)),
        }
    }
}

/// The first difference of two answers, no list having an order.
fn difference(upstream: &Value, ours: &Value) -> Option<String> {
    strict(&bag(upstream.clone()), &bag(ours.clone()), "$")
}

/// Messages as bytes.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every recorded message, written as protobuf and read back, is what it was.
    #[test]
    fn recorded_messages_survive_the_way_through_the_wire_format() {
        let Some(root) = crate::paths::conformance() else {
            println!("skipped: no recordings");
            return;
        };
        let mut messages = 0;
        for case in load(&root.join("traces/grpc_cases.json")).unwrap() {
            let (request, response) = schema::method(&case.service, &case.method).unwrap();
            schema::encode(request, &case.request).unwrap();
            let recorded = case.expect.get("messages").and_then(Value::as_array);
            for message in recorded.into_iter().flatten() {
                let bytes = schema::encode(response, message).unwrap();
                let again = schema::decode(response, &bytes).unwrap();
                assert_eq!(difference(message, &again), None, "{}", case.id);
                messages += 1;
            }
        }
        assert!(messages > 40);
    }
}
