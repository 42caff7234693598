//! Prometheus remote write 2.0: decodes `io.prometheus.write.v2.Request` and writes it anew in the
//! form of [`super::remote_write`], with start timestamps.
//!
//! ```text
//!  Request    { 4: symbol*, 5: TimeSeries* }
//!  TimeSeries { 1: label refs, 2: Sample*, 3: Histogram*, 4: Exemplar*, 5: Metadata, 6: created ms }
//! ```
//! Source: prometheus.io/docs/specs/prw/remote_write_spec_2_0.

use storage::model::{Metadata, MetricType, NO_START_MS};

use super::protobuf::{Reader, Value, WireError};
use super::remote_write::{self, Writer};

/// A request that cannot be decoded, or a series in it that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No protobuf, or not this message.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// References that do not fit the symbol table.
    #[error("invalid labels: {0}")]
    BadReferences(String),
}

/// A request in the form of 1.0, and what had to be left out of it.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// The request, not compressed.
    pub body: Vec<u8>,
    /// Series that hold neither sample nor histogram, by their labels.
    pub empty_series: Vec<String>,
}

/// Decodes an inflated request.
///
/// # Errors
/// See [`DecodeError`].
pub fn rewrite(body: &[u8]) -> Result<Rewritten, DecodeError> {
    let mut symbols = Vec::new();
    let mut reader = Reader::new(body);
    while let Some((field, value)) = reader.next()? {
        if let (4, Value::Bytes(bytes)) = (field, value) {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| DecodeError::BadReferences("a symbol is not valid UTF-8".into()))?;
            symbols.push(text);
        }
    }
    let mut out = Rewritten::default();
    let mut writer = Writer::default();
    let mut reader = Reader::new(body);
    while let Some((field, value)) = reader.next()? {
        if let (5, Value::Bytes(bytes)) = (field, value) {
            series(bytes, &symbols, &mut writer, &mut out)?;
        }
    }
    out.body = writer.finish();
    Ok(out)
}

fn series(
    bytes: &[u8],
    symbols: &[&str],
    writer: &mut Writer,
    out: &mut Rewritten,
) -> Result<(), DecodeError> {
    let mut refs = Vec::new();
    let (mut floats, mut histograms, mut exemplars) = (Vec::new(), Vec::new(), Vec::new());
    let mut metadata = None;
    let mut created_ms = NO_START_MS;
    let mut reader = Reader::new(bytes);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, v) => references(v, &mut refs)?,
            (2, Value::Bytes(bytes)) => floats.push(sample(bytes)?),
            (3, Value::Bytes(bytes)) => {
                let (t_ms, histogram) = remote_write::histogram(bytes)?;
                histograms.push((t_ms, histogram_start(bytes)?, histogram));
            }
            (4, Value::Bytes(bytes)) => exemplars.push(exemplar(bytes)?),
            (5, Value::Bytes(bytes)) => metadata = Some(bytes),
            (6, Value::Varint(n)) if n != 0 => created_ms = n as i64,
            _ => {}
        }
    }
    let labels = pairs(&refs, symbols)?;
    if let (Some(bytes), Some((_, name))) =
        (metadata, labels.iter().find(|(n, _)| *n == "__name__"))
        && let Some(metadata) = self::metadata(bytes, name, symbols)?
    {
        writer.metadata(&metadata);
    }
    if floats.is_empty() && histograms.is_empty() {
        out.empty_series.push(format!("{labels:?}"));
        return Ok(());
    }
    writer.series(labels);
    let start = |own: i64| if own == NO_START_MS { created_ms } else { own };
    for (t_ms, value, start_ms) in floats {
        writer.float(t_ms, value, start(start_ms));
    }
    for (t_ms, start_ms, histogram) in histograms {
        writer.histogram(t_ms, &histogram, start(start_ms));
    }
    for (refs, value, t_ms) in exemplars {
        writer.exemplar(pairs(&refs, symbols)?, value, t_ms);
    }
    Ok(())
}

fn references(value: Value<'_>, out: &mut Vec<u64>) -> Result<(), WireError> {
    match value {
        Value::Varint(n) => out.push(n),
        Value::Bytes(bytes) => {
            let mut reader = Reader::new(bytes);
            while !reader.is_done() {
                out.push(reader.varint()?);
            }
        }
        _ => {
            return Err(WireError::WrongType {
                message: "TimeSeries",
                field: 1,
            });
        }
    }
    Ok(())
}

fn pairs<'s>(refs: &[u64], symbols: &[&'s str]) -> Result<Vec<(&'s str, &'s str)>, DecodeError> {
    let (couples, rest) = refs.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(DecodeError::BadReferences(format!(
            "invalid labelRefs length {}",
            refs.len()
        )));
    }
    let symbol = |i: u64| {
        usize::try_from(i)
            .ok()
            .and_then(|i| symbols.get(i).copied())
            .ok_or_else(|| {
                let length = symbols.len();
                DecodeError::BadReferences(format!("labelRef {i} outside of the {length} symbols"))
            })
    };
    couples
        .iter()
        .map(|[name, value]| Ok((symbol(*name)?, symbol(*value)?)))
        .collect()
}

fn sample(bytes: &[u8]) -> Result<(i64, f64, i64), WireError> {
    let (mut value, mut t_ms, mut start_ms) = (0.0, 0, NO_START_MS);
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Value::Varint(n)) => t_ms = n as i64,
            (3, Value::Varint(n)) if n != 0 => start_ms = n as i64,
            _ => {}
        }
    }
    Ok((t_ms, value, start_ms))
}

fn histogram_start(bytes: &[u8]) -> Result<i64, WireError> {
    let mut start_ms = NO_START_MS;
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        if let (17, Value::Varint(n)) = (field, v) {
            start_ms = n as i64;
        }
    }
    Ok(start_ms)
}

type ExemplarRefs = (Vec<u64>, f64, i64);

fn exemplar(bytes: &[u8]) -> Result<ExemplarRefs, WireError> {
    let (mut refs, mut value, mut t_ms) = (Vec::new(), 0.0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, v) => references(v, &mut refs)?,
            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (3, Value::Varint(n)) => t_ms = n as i64,
            _ => {}
        }
    }
    Ok((refs, value, t_ms))
}

fn metadata(bytes: &[u8], family: &str, symbols: &[&str]) -> Result<Option<Metadata>, DecodeError> {
    let mut metadata = Metadata {
        family: family.to_owned(),
        ..Metadata::default()
    };
    let text = |i: u64| {
        let symbol = usize::try_from(i).ok().and_then(|i| symbols.get(i));
        symbol.map(|s| (*s).to_owned()).ok_or_else(|| {
            DecodeError::BadReferences(format!("metadata reference {i} outside of the symbols"))
        })
    };
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, Value::Varint(n)) => metadata.metric_type = MetricType::from_number(n),
            (3, Value::Varint(n)) => metadata.help = text(n)?,
            (4, Value::Varint(n)) => metadata.unit = text(n)?,
            _ => {}
        }
    }
    let said = metadata.metric_type != MetricType::Unknown
        || !metadata.help.is_empty()
        || !metadata.unit.is_empty();
    Ok(said.then_some(metadata))
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::{put_bytes, put_fixed64, put_uint};
    use super::super::remote_write::{Form, decode};
    use super::*;

    fn request(refs: &[u8], with_sample: bool) -> Vec<u8> {
        let mut series = Vec::new();
        put_bytes(&mut series, 1, refs);
        if with_sample {
            let mut sample = Vec::new();
            put_fixed64(&mut sample, 1, 2.5_f64.to_bits());
            put_uint(&mut sample, 2, 1000);
            put_uint(&mut sample, 3, 500);
            put_bytes(&mut series, 2, &sample);
        }
        let mut body = Vec::new();
        for symbol in ["", "__name__", "up"] {
            put_bytes(&mut body, 4, symbol.as_bytes());
        }
        put_bytes(&mut body, 5, &series);
        body
    }

    #[test]
    fn a_series_keeps_its_start_timestamps() {
        let rewritten = rewrite(&request(&[1, 2], true)).unwrap();
        let batch = decode(&rewritten.body, Form { with_start: true }).unwrap();
        assert_eq!(
            (batch.t_ms, batch.values, batch.start_ms),
            (vec![1000], vec![2.5], vec![500])
        );
    }

    #[test]
    fn references_outside_the_table_are_refused() {
        assert!(rewrite(&request(&[1, 3], true)).is_err());
        assert!(rewrite(&request(&[1], true)).is_err());
        assert_eq!(
            rewrite(&request(&[1, 2], false))
                .unwrap()
                .empty_series
                .len(),
            1
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            let _ = rewrite(&body);
        }
    }
}
