//! Messages of the wire protocols. Nothing here knows who asks or where the data goes.

pub(crate) mod otlp;
