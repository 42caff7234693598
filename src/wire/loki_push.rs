//! Loki's push request in protobuf, borrowed and written.
//!
//! ```text
//!  PushRequest { 1 streams: Stream { 1 labels, 2 entries: Entry { 1 timestamp { 1 seconds, 2 nanos }, 2 line,
//!                                                                 3 metadata: Pair { 1 name, 2 value } } } }
//! ```

use super::protobuf::{Reader, Value, WireError, put_bytes, put_uint};

/// One line as it lies in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEntry<'a> {
    /// Nanoseconds since the epoch.
    pub t_ns: i64,
    /// The line, maybe no UTF-8.
    pub line: &'a [u8],
}

/// A name and a value of structured metadata, maybe no UTF-8.
pub type RawPair<'a> = (&'a [u8], &'a [u8]);

/// Calls `stream` for each stream of a request.
///
/// # Errors
/// Where the bytes are no message, or what `stream` says.
pub fn for_each_stream<'a, E: From<WireError>>(
    request: &'a [u8],
    mut stream: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(request);
    while let Some((field, value)) = reader.next()? {
        if field == 1 {
            stream(bytes(value, "PushRequest", field)?)?;
        }
    }
    Ok(())
}

/// The labels of a stream, as text.
///
/// # Errors
/// Where the bytes are no message.
pub fn labels(stream: &[u8]) -> Result<&[u8], WireError> {
    let mut reader = Reader::new(stream);
    let mut labels = &b""[..];
    while let Some((field, value)) = reader.next()? {
        if field == 1 {
            labels = bytes(value, "Stream", field)?;
            // Senders write the labels first; the entries are checked when they are read.
            break;
        }
    }
    Ok(labels)
}

/// Calls `entry` for each line of a stream, with its metadata.
///
/// # Errors
/// Where the bytes are no message, or what `entry` says.
pub fn for_each_entry<'a, E: From<WireError>>(
    stream: &'a [u8],
    pairs: &mut Vec<RawPair<'a>>,
    mut entry: impl FnMut(RawEntry<'a>, &[RawPair<'a>]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(stream);
    while let Some((field, value)) = reader.next()? {
        if field != 2 {
            continue;
        }
        pairs.clear();
        let (mut seconds, mut nanos, mut line) = (0_i64, 0_i64, &b""[..]);
        let mut inner = Reader::new(bytes(value, "Entry", field)?);
        while let Some((field, value)) = inner.next()? {
            match (field, value) {
                (1, Value::Bytes(time)) => {
                    let mut time = Reader::new(time);
                    while let Some((field, value)) = time.next()? {
                        match (field, value) {
                            (1, Value::Varint(n)) => seconds = n as i64,
                            (2, Value::Varint(n)) => nanos = n as i64,
                            _ => {}
                        }
                    }
                }
                (2, Value::Bytes(text)) => line = text,
                (3, Value::Bytes(pair)) => pairs.push(read_pair(pair)?),
                _ => {}
            }
        }
        let t_ns = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        entry(RawEntry { t_ns, line }, pairs)?;
    }
    Ok(())
}

fn read_pair(pair: &[u8]) -> Result<RawPair<'_>, WireError> {
    let (mut name, mut text) = (&b""[..], &b""[..]);
    let mut reader = Reader::new(pair);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => text = bytes,
            _ => {}
        }
    }
    Ok((name, text))
}

fn bytes<'a>(value: Value<'a>, message: &'static str, field: u32) -> Result<&'a [u8], WireError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(WireError::WrongType { message, field }),
    }
}

/// Writes a request, stream by stream.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    stream: Vec<u8>,
    entry: Vec<u8>,
    scratch: Vec<u8>,
}

impl Writer {
    /// Begins a stream.
    pub fn stream(&mut self, labels: &str) {
        self.end_stream();
        put_bytes(&mut self.stream, 1, labels.as_bytes());
    }

    /// Adds a line to the stream.
    pub fn entry<'t>(
        &mut self,
        t_ns: i64,
        line: &str,
        metadata: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) {
        self.entry.clear();
        self.scratch.clear();
        put_uint(&mut self.scratch, 1, t_ns.div_euclid(1_000_000_000) as u64);
        put_uint(&mut self.scratch, 2, t_ns.rem_euclid(1_000_000_000) as u64);
        put_bytes(&mut self.entry, 1, &self.scratch);
        put_bytes(&mut self.entry, 2, line.as_bytes());
        for (name, value) in metadata {
            self.scratch.clear();
            put_bytes(&mut self.scratch, 1, name.as_bytes());
            put_bytes(&mut self.scratch, 2, value.as_bytes());
            put_bytes(&mut self.entry, 3, &self.scratch);
        }
        put_bytes(&mut self.stream, 2, &self.entry);
    }

    /// The request.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.end_stream();
        self.out
    }

    fn end_stream(&mut self) {
        if !self.stream.is_empty() {
            put_bytes(&mut self.out, 1, &self.stream);
            self.stream.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_request_reads_back() {
        let mut writer = Writer::default();
        writer.stream("{a=\"b\"}");
        writer.entry(-5, "x", [("k", "v")]);
        writer.entry(1_000_000_001, "", []);
        let request = writer.finish();
        let mut seen = Vec::new();
        for_each_stream::<WireError>(&request, |stream| {
            assert_eq!(labels(stream), Ok(&b"{a=\"b\"}"[..]));
            for_each_entry::<WireError>(stream, &mut Vec::new(), |entry, pairs| {
                seen.push((entry.t_ns, entry.line.len(), pairs.len()));
                Ok(())
            })
        })
        .unwrap();
        assert_eq!(seen, [(-5, 1, 1), (1_000_000_001, 0, 0)]);
    }
}
