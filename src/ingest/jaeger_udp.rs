//! The Jaeger agent's UDP doors: one `emitBatch` a datagram.

use tokio::net::UdpSocket;

use crate::app::AppState;

/// Which Thrift protocol a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Port 6831.
    Compact,
    /// Port 6832.
    Binary,
}

/// Takes datagrams until the task is dropped.
pub async fn serve(_socket: UdpSocket, _protocol: Protocol, _app: AppState) {
    std::future::pending::<()>().await;
}
