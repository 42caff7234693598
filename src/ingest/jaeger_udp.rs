//! The Jaeger agent's UDP doors: one `emitBatch` a datagram.
//!
//! A datagram that cannot be read is dropped and logged: there is nobody to answer. Datagrams have
//! no header, so with multi-tenancy on nothing can be taken here.

use bytes::Bytes;
use storage::model::Tenant;
use tokio::net::UdpSocket;

use super::jaeger_spans::{Scopes, to_otlp};
use super::spans;
use crate::app::AppState;
use crate::wire::thrift;

/// Largest datagram: clients keep below 65,000 bytes, UDP below 65,508.
const DATAGRAM_BYTES: usize = 65_536;

/// Which Thrift protocol a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Port 6831.
    Compact,
    /// Port 6832.
    Binary,
}

/// Takes datagrams until the task is dropped.
pub async fn serve(socket: UdpSocket, protocol: Protocol, app: AppState) {
    let protocol = match protocol {
        Protocol::Compact => thrift::Protocol::Compact,
        Protocol::Binary => thrift::Protocol::Binary,
    };
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let datagram = match socket.recv_from(&mut buffer).await {
            Ok((length, _)) => Bytes::copy_from_slice(&buffer[..length]),
            Err(e) => {
                tracing::warn!("Jaeger agent port: {e}");
                continue;
            }
        };
        if app.config.multitenancy {
            tracing::debug!("a datagram of spans names no tenant and is dropped");
            continue;
        }
        let taken = match thrift::decode_emit_batch(protocol, datagram) {
            Ok(batch) => {
                let request = to_otlp(batch, Scopes::None);
                spans::append(&app, &Tenant::anonymous(), request)
                    .await
                    .map_err(|e| e.to_string())
            }
            Err(e) => Err(e.to_string()),
        };
        if let Err(e) = taken {
            tracing::warn!("a datagram of spans was dropped: {e}");
        }
    }
}
