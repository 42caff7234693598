//! gRPC without generated code: messages pass as bytes, and a call is a handler like any other.

use std::future::Future;

use axum::response::Response;
use bytes::{Buf, BufMut, Bytes};
use http::Request;
use tonic::Status;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Hands over messages undecoded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}

fn grpc(limit_bytes: usize) -> tonic::server::Grpc<RawCodec> {
    tonic::server::Grpc::new(RawCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(limit_bytes)
}

/// Answers a call of one message with one message.
pub(crate) async fn unary<F>(
    request: Request<axum::body::Body>,
    limit_bytes: usize,
    call: impl FnOnce(tonic::Request<Bytes>) -> F + Send + Clone + 'static,
) -> Response
where
    F: Future<Output = Result<Bytes, Status>> + Send + 'static,
{
    let service = tower::service_fn(move |request: tonic::Request<Bytes>| {
        let call = call.clone();
        async move { call(request).await.map(tonic::Response::new) }
    });
    let response = grpc(limit_bytes).unary(service, request).await;
    response.map(axum::body::Body::new)
}

/// The messages of a streaming answer.
pub(crate) type Messages = futures::stream::Iter<std::vec::IntoIter<Result<Bytes, Status>>>;

/// Answers a call of one message with a stream of messages.
pub(crate) async fn streaming<F>(
    request: Request<axum::body::Body>,
    limit_bytes: usize,
    call: impl FnOnce(tonic::Request<Bytes>) -> F + Send + Clone + 'static,
) -> Response
where
    F: Future<Output = Result<Vec<Bytes>, Status>> + Send + 'static,
{
    let service = tower::service_fn(move |request: tonic::Request<Bytes>| {
        let call = call.clone();
        async move {
            let messages: Vec<_> = call(request).await?.into_iter().map(Ok).collect();
            let stream: Messages = futures::stream::iter(messages);
            Ok::<_, Status>(tonic::Response::new(stream))
        }
    });
    let response = grpc(limit_bytes).server_streaming(service, request).await;
    response.map(axum::body::Body::new)
}

/// The refusal of a message that cannot be decoded, as Go's servers word it.
pub(crate) fn malformed(e: impl std::fmt::Display) -> Status {
    Status::internal(format!(
        "grpc: failed to unmarshal the received message: {e}"
    ))
}
