//! Spans as OpenTelemetry has them: everything that came in goes out again.
//! Source: opentelemetry-proto v1, `trace.proto`, `common.proto`, `resource.proto`.

use std::fmt;
use std::sync::Arc;

/// A trace id, big-endian as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// A span id, big-endian as on the wire; all zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

impl SpanId {
    /// Whether the id is absent.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == [0; 8]
    }
}

impl fmt::Display for TraceId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// A value of an attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AnyValue {
    /// No value at all.
    #[default]
    Empty,
    /// Text.
    String(String),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A float, NaN and infinities included.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list, of mixed types perhaps.
    Array(Vec<Self>),
    /// Keys and values; keys may come twice.
    Map(Vec<Attribute>),
}

impl AnyValue {
    /// The text, if the value is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            _ => None,
        }
    }
}

/// A key and a value. In lists of attributes the order is that of the sender, and keys may come twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribute {
    /// Key.
    pub key: String,
    /// Value.
    pub value: AnyValue,
}

/// Who sent a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// Attributes, `service.name` among them.
    pub attributes: Vec<Attribute>,
    /// How many were dropped by the sender.
    pub dropped_attributes_count: u32,
    /// Schema URL of the resource.
    pub schema_url: String,
}

impl Resource {
    /// Name of the service, where it is text.
    #[must_use]
    pub fn service_name(&self) -> Option<&str> {
        self.attributes
            .iter()
            .find(|a| a.key == "service.name")
            .and_then(|a| a.value.as_str())
    }
}

/// Which library made a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Name of the library, may be empty.
    pub name: String,
    /// Its version, may be empty.
    pub version: String,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
    /// How many were dropped by the sender.
    pub dropped_attributes_count: u32,
    /// Schema URL of the scope.
    pub schema_url: String,
}

/// Kind of a span. The numbers are those of OTLP; others are kept as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpanKind(pub i32);

impl SpanKind {
    /// Not said.
    pub const UNSPECIFIED: Self = Self(0);
    /// Within one service.
    pub const INTERNAL: Self = Self(1);
    /// Answering a call.
    pub const SERVER: Self = Self(2);
    /// Making a call.
    pub const CLIENT: Self = Self(3);
    /// Sending a message.
    pub const PRODUCER: Self = Self(4);
    /// Receiving a message.
    pub const CONSUMER: Self = Self(5);

    /// The word Jaeger uses; empty where unspecified or unknown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.0 {
            1 => "internal",
            2 => "server",
            3 => "client",
            4 => "producer",
            5 => "consumer",
            _ => "",
        }
    }
}

/// Status of a span: 0 unset, 1 ok, 2 error; other numbers are kept as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatusCode(pub i32);

impl StatusCode {
    /// Nothing said.
    pub const UNSET: Self = Self(0);
    /// Fine.
    pub const OK: Self = Self(1);
    /// Failed.
    pub const ERROR: Self = Self(2);
}

/// Something that happened during a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanEvent {
    /// When, in nanoseconds since the epoch.
    pub time_ns: u64,
    /// What.
    pub name: String,
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// How many were dropped by the sender.
    pub dropped_attributes_count: u32,
}

/// A pointer to another span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// W3C trace state.
    pub trace_state: String,
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// How many were dropped by the sender.
    pub dropped_attributes_count: u32,
    /// Flags.
    pub flags: u32,
}

/// One span with whom it came from. Resources and scopes are shared between the spans of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Who sent it.
    pub resource: Arc<Resource>,
    /// Which library made it.
    pub scope: Arc<Scope>,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// Id of its parent, zero where it has none.
    pub parent_span_id: SpanId,
    /// W3C trace state.
    pub trace_state: String,
    /// Flags.
    pub flags: u32,
    /// Name of the operation.
    pub name: String,
    /// Kind.
    pub kind: SpanKind,
    /// Start, nanoseconds since the epoch.
    pub start_ns: u64,
    /// End, nanoseconds since the epoch.
    pub end_ns: u64,
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// How many were dropped by the sender.
    pub dropped_attributes_count: u32,
    /// Events.
    pub events: Vec<SpanEvent>,
    /// How many were dropped by the sender.
    pub dropped_events_count: u32,
    /// Links.
    pub links: Vec<Link>,
    /// How many were dropped by the sender.
    pub dropped_links_count: u32,
    /// Status.
    pub status_code: StatusCode,
    /// Text of the status, may be empty.
    pub status_message: String,
}

impl Span {
    /// Time from start to end in nanoseconds, 0 where the end lies before the start.
    #[must_use]
    pub const fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// The spans of one trace, in order of arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Its id.
    pub trace_id: TraceId,
    /// At least one span.
    pub spans: Vec<Span>,
}
