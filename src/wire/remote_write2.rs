//! Prometheus remote write 2.0: the borrowing decoder of `io.prometheus.write.v2.Request`.
//!
//! ```text
//!  Request    { 4: symbols*, 5: TimeSeries* }           references are positions in the symbols
//!  TimeSeries { 1: refs*, 2: Sample* {1 double, 2 ms, 3 start ms}, 3: Histogram* (17: start ms), 4: Exemplar*, 5: Metadata, (6: created ms) }
//! ```
//! The member in brackets was in drafts of the protocol and is sent by older clients.
//! Source: prometheus.io/docs/specs/prw/remote_write_spec_2_0.

use storage::model::{Histogram, NO_START_MS};

use super::protobuf::{Reader, Value, WireError};
use super::remote_write;

/// A request: its table of symbols, and its series not yet decoded.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// What references point into; no more than bytes, until somebody uses one as text.
    pub(crate) symbols: Vec<&'a [u8]>,
    body: &'a [u8],
}

/// One series with its references. Used again for each series of a request.
#[derive(Debug, Default)]
pub(crate) struct TimeSeries {
    /// Name, value, name, value …
    pub(crate) label_refs: Vec<u32>,
    /// Time, value, start time or [`NO_START_MS`].
    pub(crate) samples: Vec<(i64, f64, i64)>,
    /// Time, start time or [`NO_START_MS`], histogram.
    pub(crate) histograms: Vec<(i64, i64, Histogram)>,
    /// Exemplars.
    pub(crate) exemplars: Vec<Exemplar>,
    /// Metadata.
    pub(crate) metadata: Metadata,
}

/// An exemplar with its references.
#[derive(Debug, Default)]
pub(crate) struct Exemplar {
    /// Name, value, name, value …
    pub(crate) label_refs: Vec<u32>,
    /// Its value.
    pub(crate) value: f64,
    /// Its time in milliseconds.
    pub(crate) t_ms: i64,
}

/// Metadata with its references; all zero where a series has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Metadata {
    /// Number of the type.
    pub(crate) metric_type: u64,
    /// Where the help text is.
    pub(crate) help_ref: u32,
    /// Where the unit is.
    pub(crate) unit_ref: u32,
}

impl<'a> Request<'a> {
    /// Reads the symbols of an inflated request.
    ///
    /// # Errors
    /// Where it is no such message.
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, WireError> {
        let mut symbols = Vec::new();
        let mut reader = Reader::new(body);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (4, Value::Bytes(bytes)) => symbols.push(bytes),
                (5, Value::Bytes(_)) => {}
                (4 | 5, _) => return Err(wrong("Request", field)),
                _ => {}
            }
        }
        Ok(Self { symbols, body })
    }

    /// Hands over the series, one after the other, with their positions.
    ///
    /// # Errors
    /// At the first that is no such message.
    pub(crate) fn for_each_series(
        &self,
        mut take: impl FnMut(usize, &mut TimeSeries),
    ) -> Result<(), WireError> {
        let mut series = TimeSeries::default();
        let mut reader = Reader::new(self.body);
        let mut n = 0;
        while let Some((field, value)) = reader.next()? {
            if let (5, Value::Bytes(bytes)) = (field, value) {
                series.read(bytes)?;
                take(n, &mut series);
                n += 1;
            }
        }
        Ok(())
    }
}

impl TimeSeries {
    fn read(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.label_refs.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata = Metadata::default();
        let mut created_ms = NO_START_MS;
        let mut reader = Reader::new(bytes);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, v) => references(v, &mut self.label_refs)?,
                (2, Value::Bytes(bytes)) => self.samples.push(sample(bytes)?),
                (3, Value::Bytes(bytes)) => {
                    let (t_ms, histogram) = remote_write::histogram(bytes)?;
                    let start_ms = histogram_start(bytes)?;
                    self.histograms.push((t_ms, start_ms, histogram));
                }
                (4, Value::Bytes(bytes)) => self.exemplars.push(exemplar(bytes)?),
                (5, Value::Bytes(bytes)) => self.metadata.read(bytes)?,
                (2..=5, _) => return Err(wrong("TimeSeries", field)),
                (6, Value::Varint(n)) if n != 0 => created_ms = n as i64,
                _ => {}
            }
        }
        let starts = self.samples.iter_mut().map(|(_, _, start_ms)| start_ms);
        let starts = starts.chain(self.histograms.iter_mut().map(|(_, start_ms, _)| start_ms));
        for start_ms in starts.filter(|start_ms| **start_ms == NO_START_MS) {
            *start_ms = created_ms;
        }
        Ok(())
    }
}

impl Metadata {
    fn read(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let mut reader = Reader::new(bytes);
        while let Some((field, v)) = reader.next()? {
            match (field, v) {
                (1, Value::Varint(n)) => self.metric_type = n,
                (3, Value::Varint(n)) => self.help_ref = n as u32,
                (4, Value::Varint(n)) => self.unit_ref = n as u32,
                (1 | 3 | 4, _) => return Err(wrong("Metadata", field)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn wrong(message: &'static str, field: u32) -> WireError {
    WireError::WrongType { message, field }
}

fn references(value: Value<'_>, out: &mut Vec<u32>) -> Result<(), WireError> {
    match value {
        Value::Varint(n) => out.push(n as u32),
        Value::Bytes(bytes) => {
            let mut reader = Reader::new(bytes);
            while !reader.is_done() {
                out.push(reader.varint()? as u32);
            }
        }
        _ => return Err(wrong("TimeSeries", 1)),
    }
    Ok(())
}

fn sample(bytes: &[u8]) -> Result<(i64, f64, i64), WireError> {
    let (mut value, mut t_ms, mut start_ms) = (0.0, 0, NO_START_MS);
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Value::Varint(n)) => t_ms = n as i64,
            (3, Value::Varint(n)) if n != 0 => start_ms = n as i64,
            (3, Value::Varint(_)) => {}
            (1..=3, _) => return Err(wrong("Sample", field)),
            _ => {}
        }
    }
    Ok((t_ms, value, start_ms))
}

fn histogram_start(bytes: &[u8]) -> Result<i64, WireError> {
    let mut start_ms = NO_START_MS;
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (17, Value::Varint(n)) if n != 0 => start_ms = n as i64,
            (17, Value::Varint(_)) => {}
            (17, _) => return Err(wrong("Histogram", field)),
            _ => {}
        }
    }
    Ok(start_ms)
}

fn exemplar(bytes: &[u8]) -> Result<Exemplar, WireError> {
    let mut out = Exemplar::default();
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, v) => references(v, &mut out.label_refs)?,
            (2, Value::Fixed64(bits)) => out.value = f64::from_bits(bits),
            (3, Value::Varint(n)) => out.t_ms = n as i64,
            (2 | 3, _) => return Err(wrong("Exemplar", field)),
            _ => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::{put_bytes, put_fixed64, put_uint};
    use super::*;

    fn message(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    fn all(body: &[u8]) -> Result<Vec<TimeSeries>, WireError> {
        let mut out = Vec::new();
        Request::decode(body)?.for_each_series(|_, s| out.push(std::mem::take(s)))?;
        Ok(out)
    }

    #[test]
    fn a_series_is_read_with_its_start_timestamps() {
        let sample = |start_ms: u64| {
            message(|m| {
                put_fixed64(m, 1, 2.5_f64.to_bits());
                put_uint(m, 2, 1000);
                put_uint(m, 3, start_ms);
            })
        };
        let series = message(|m| {
            put_bytes(m, 1, &[1, 2]);
            put_uint(m, 1, 3);
            put_bytes(m, 2, &sample(500));
            put_bytes(m, 2, &sample(0));
            put_bytes(m, 3, &message(|h| put_uint(h, 17, 7)));
            put_uint(m, 6, 400);
        });
        let body = message(|m| {
            put_bytes(m, 4, b"");
            put_bytes(m, 5, &series);
            put_bytes(m, 4, b"up");
        });
        assert_eq!(Request::decode(&body).unwrap().symbols, [&b""[..], b"up"]);
        let read = all(&body).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].label_refs, [1, 2, 3]);
        assert_eq!(read[0].samples, [(1000, 2.5, 500), (1000, 2.5, 400)]);
        assert_eq!(read[0].histograms[0].1, 7);
    }

    #[test]
    fn a_member_of_another_type_is_refused() {
        let fixed = message(|m| put_fixed64(m, 2, 0));
        assert!(all(&message(|m| put_bytes(m, 5, &fixed))).is_err());
        assert!(all(&message(|m| put_uint(m, 4, 1))).is_err());
        assert!(all(&message(|m| put_uint(m, 5, 1))).is_err());
        assert!(all(&message(|m| put_uint(m, 9, 1))).unwrap().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            let _ = all(&body);
        }
    }
}
