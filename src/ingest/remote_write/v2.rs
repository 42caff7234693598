//! A request of remote write 2.0 as one in the form of 1.0: references looked up, labels and metadata checked series by series.
//! What is wrong with one series costs that series alone.

use storage::model::{METRIC_NAME, Metadata, MetricType, NO_START_MS};

use super::super::native_histogram::zero_of;
use crate::wire::protobuf::WireError;
use crate::wire::remote_write::Writer;
use crate::wire::remote_write2::{Exemplar, Request, TimeSeries};

/// Labels for type and unit, where they are wanted.
const TYPE_LABEL: &str = "__type__";
const UNIT_LABEL: &str = "__unit__";

/// What the features of the process ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Features {
    /// `type-and-unit-labels`.
    pub(crate) type_and_unit_labels: bool,
    /// `created-timestamp-zero-ingestion`.
    pub(crate) zero_samples: bool,
}

/// A request in the form of 1.0, and what had to be left out of it.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// The request, not compressed.
    pub(crate) body: Vec<u8>,
    /// For each series of `body` its place in the request.
    pub(crate) origin: Vec<usize>,
    /// Zeros at the start timestamps, a request of its own; empty unless they are wanted.
    pub(crate) zeros: Vec<u8>,
    /// Series and exemplars that are refused: place in the request, and why.
    pub(crate) faults: Vec<(usize, String)>,
}

type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// Translates an inflated request.
///
/// # Errors
/// Where it is no such message; nothing of it may be stored then.
pub(crate) fn translate(body: &[u8], features: Features) -> Result<Translated, WireError> {
    let request = Request::decode(body)?;
    let mut out = Translated::default();
    let (mut writer, mut zeros) = (Writer::default(), Writer::default());
    let mut has_zeros = false;
    request.for_each_series(|n, series| {
        let (labels, metadata) = match resolve(series, &request.symbols, features) {
            Ok(resolved) => resolved,
            Err(text) => return out.faults.push((n, text)),
        };
        if series.samples.is_empty() && series.histograms.is_empty() {
            let labels = labels_text(&labels);
            let text = format!(
                "TimeSeries must contain at least one sample or histogram for series {labels}"
            );
            return out.faults.push((n, text));
        }
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let pairs = || labels.iter().map(|(name, value)| (text(name), text(value)));
        if let Some(mut metadata) = metadata {
            let name = pairs().find(|(name, _)| *name == METRIC_NAME);
            metadata.family = name.map_or_else(String::new, |(_, value)| value.to_owned());
            writer.metadata(&metadata);
        }
        if features.zero_samples && has_start(series) {
            has_zeros = true;
            zeros.series(pairs());
            write_zeros(series, &mut zeros);
        }
        out.origin.push(n);
        writer.series(pairs());
        for (t_ms, value, start_ms) in &series.samples {
            writer.float(*t_ms, *value, *start_ms);
        }
        for (t_ms, start_ms, histogram) in &series.histograms {
            writer.histogram(*t_ms, histogram, *start_ms);
        }
        for exemplar in &series.exemplars {
            match exemplar_pairs(exemplar, &request.symbols) {
                Ok(own) => {
                    let own: Vec<_> = own
                        .into_iter()
                        .map(|(n, v)| (String::from_utf8_lossy(n), String::from_utf8_lossy(v)))
                        .collect();
                    let own = own.iter().map(|(n, v)| (&**n, &**v));
                    writer.exemplar(own, exemplar.value, exemplar.t_ms);
                }
                Err(e) => {
                    let labels = labels_text(&labels);
                    let text = format!("parsing exemplar for series {labels}: {e}");
                    out.faults.push((n, text));
                }
            }
        }
    })?;
    out.body = writer.finish();
    if has_zeros {
        out.zeros = zeros.finish();
    }
    Ok(out)
}

/// The labels of some series of a request as text, in the order of their places.
pub(super) fn labels_of(body: &[u8], places: &[usize], features: Features) -> Vec<(usize, String)> {
    let mut out = Vec::with_capacity(places.len());
    // A request that was translated is read once more without a fault.
    if let Ok(request) = Request::decode(body) {
        let _ = request.for_each_series(|n, series| {
            if places.contains(&n)
                && let Ok((labels, _)) = resolve(series, &request.symbols, features)
            {
                out.push((n, labels_text(&labels)));
            }
        });
    }
    out
}

/// Labels, sorted, and metadata where the series has any.
fn resolve<'a>(
    series: &TimeSeries,
    symbols: &[&'a [u8]],
    features: Features,
) -> Result<(Pairs<'a>, Option<Metadata>), String> {
    let refs = &series.label_refs;
    let mut labels = look_up(refs, symbols)
        .map_err(|e| format!("parsing labels for series {}: {e}", list_text(refs)))?;
    let metadata = metadata(series, symbols)
        .map_err(|e| format!("parsing metadata for series {}: {e}", list_text(refs)))?;
    if features.type_and_unit_labels
        && let Some((metadata, unit)) = &metadata
        && (metadata.metric_type != MetricType::Unknown || !metadata.unit.is_empty())
    {
        let stays = |name: &[u8]| name != TYPE_LABEL.as_bytes() && name != UNIT_LABEL.as_bytes();
        labels.retain(|(name, _)| stays(name));
        if metadata.metric_type != MetricType::Unknown {
            let word = metadata.metric_type.as_str();
            labels.push((TYPE_LABEL.as_bytes(), word.as_bytes()));
        }
        labels.push((UNIT_LABEL.as_bytes(), unit));
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_by_key(|(name, _)| *name);
    }
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    let name = labels.iter().find(|(n, _)| *n == METRIC_NAME.as_bytes());
    let valid = name.is_some_and(|(_, value)| !value.is_empty())
        && labels
            .iter()
            .all(|(name, value)| !name.is_empty() && is_text(name) && is_text(value));
    if !valid {
        let labels = labels_text(&labels);
        return Err(format!("invalid metric name or labels, got {labels}"));
    }
    if let Some(twice) = labels.windows(2).find(|w| w[0].0 == w[1].0) {
        let name = String::from_utf8_lossy(twice[0].0);
        let labels = labels_text(&labels);
        return Err(format!(
            "invalid labels for series, labels {labels}, duplicated label {name}"
        ));
    }
    Ok((labels, metadata.map(|(m, _)| m)))
}

fn look_up<'a>(refs: &[u32], symbols: &[&'a [u8]]) -> Result<Pairs<'a>, String> {
    let (couples, rest) = refs.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("invalid labelRefs length {}", refs.len()));
    }
    let symbol = |i: u32| symbols.get(i as usize).copied();
    let mut labels = Vec::with_capacity(couples.len());
    for [name, value] in couples {
        let (Some(n), Some(v)) = (symbol(*name), symbol(*value)) else {
            return Err(format!(
                "labelRefs {name} (name) = {value} (value) outside of symbols table (size {})",
                symbols.len()
            ));
        };
        labels.push((n, v));
    }
    labels.sort_by_key(|(name, _)| *name);
    Ok(labels)
}

fn exemplar_pairs<'a>(exemplar: &Exemplar, symbols: &[&'a [u8]]) -> Result<Pairs<'a>, String> {
    look_up(&exemplar.label_refs, symbols)
}

type FoundMetadata<'a> = Option<(Metadata, &'a [u8])>;

/// The metadata without its family, and the unit's bytes; `None` where nothing is said.
fn metadata<'a>(series: &TimeSeries, symbols: &[&'a [u8]]) -> Result<FoundMetadata<'a>, String> {
    let m = series.metadata;
    let symbol = |what: &str, i: u32| {
        symbols.get(i as usize).copied().ok_or_else(|| {
            let size = symbols.len();
            format!("metadata {what} {i} outside of symbols table (size {size})")
        })
    };
    let unit = symbol("unit_ref", m.unit_ref)?;
    let help = symbol("help_ref", m.help_ref)?;
    let metadata = Metadata {
        family: String::new(),
        metric_type: MetricType::from_number(m.metric_type),
        help: String::from_utf8_lossy(help).into_owned(),
        unit: String::from_utf8_lossy(unit).into_owned(),
    };
    let said = metadata.metric_type != MetricType::Unknown
        || !metadata.help.is_empty()
        || !metadata.unit.is_empty();
    Ok(said.then_some((metadata, unit)))
}

fn has_start(series: &TimeSeries) -> bool {
    let floats = series
        .samples
        .iter()
        .map(|(t_ms, _, start_ms)| (*t_ms, *start_ms));
    let histograms = series
        .histograms
        .iter()
        .map(|(t_ms, start_ms, _)| (*t_ms, *start_ms));
    floats
        .chain(histograms)
        .any(|(t_ms, start_ms)| is_before(start_ms, t_ms))
}

/// Whether a zero belongs at the start timestamp of a sample.
const fn is_before(start_ms: i64, t_ms: i64) -> bool {
    start_ms != NO_START_MS && start_ms != 0 && t_ms != 0 && start_ms < t_ms
}

/// A zero for each start timestamp of the series, each once.
fn write_zeros(series: &TimeSeries, writer: &mut Writer) {
    let mut last = NO_START_MS;
    for (t_ms, _, start_ms) in &series.samples {
        if is_before(*start_ms, *t_ms) && *start_ms != last {
            writer.float(*start_ms, 0.0, NO_START_MS);
            last = *start_ms;
        }
    }
    last = NO_START_MS;
    for (t_ms, start_ms, histogram) in &series.histograms {
        if is_before(*start_ms, *t_ms) && *start_ms != last {
            writer.histogram(*start_ms, &zero_of(histogram), NO_START_MS);
            last = *start_ms;
        }
    }
}

/// `[7 8]`, as Go prints a list.
fn list_text(refs: &[u32]) -> String {
    let refs: Vec<String> = refs.iter().map(u32::to_string).collect();
    format!("[{}]", refs.join(" "))
}

/// `{a="b", c="d"}`, also for labels that cannot be stored.
fn labels_text(labels: &Pairs<'_>) -> String {
    let lossy = |bytes| String::from_utf8_lossy(bytes);
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{}={:?}", lossy(name), lossy(value)))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protobuf::{put_bytes, put_fixed64, put_uint};
    use crate::wire::remote_write::{Form, decode, decode_labels};

    const SYMBOLS: [&[u8]; 7] = [b"", b"__name__", b"up", b"a", b"1", b"\xff", b"seconds"];

    fn message(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    fn sample(start_ms: u64) -> Vec<u8> {
        message(|m| {
            put_fixed64(m, 1, 2.5_f64.to_bits());
            put_uint(m, 2, 1000);
            put_uint(m, 3, start_ms);
        })
    }

    fn series(refs: &[u8], samples: &[Vec<u8>], rest: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        message(|m| {
            put_bytes(m, 1, refs);
            samples.iter().for_each(|s| put_bytes(m, 2, s));
            rest(m);
        })
    }

    fn request(all: &[Vec<u8>]) -> Vec<u8> {
        message(|m| {
            SYMBOLS.iter().for_each(|s| put_bytes(m, 4, s));
            all.iter().for_each(|s| put_bytes(m, 5, s));
        })
    }

    #[test]
    fn each_bad_series_is_named_and_the_good_ones_are_kept() {
        let one = [sample(500)];
        let out = translate(
            &request(&[
                series(&[1], &one, |_| {}),
                series(&[3, 4, 1, 2], &one, |_| {}),
                series(&[1, 9], &one, |_| {}),
                series(&[3, 4], &one, |_| {}),
                series(&[1, 2, 3, 5], &one, |_| {}),
                series(&[1, 2, 3, 4, 3, 2], &one, |_| {}),
                series(&[1, 2], &[], |_| {}),
                series(&[1, 2], &one, |m| {
                    put_bytes(m, 5, &message(|m| put_uint(m, 3, 77)))
                }),
                series(&[1, 2], &one, |m| {
                    put_bytes(m, 4, &message(|m| put_bytes(m, 1, &[1])))
                }),
            ]),
            Features::default(),
        )
        .unwrap();
        assert_eq!(out.origin, [1, 8]);
        let faults: Vec<(usize, &str)> = out.faults.iter().map(|(n, t)| (*n, &**t)).collect();
        assert_eq!(
            faults,
            [
                (
                    0,
                    "parsing labels for series [1]: invalid labelRefs length 1"
                ),
                (
                    2,
                    "parsing labels for series [1 9]: labelRefs 1 (name) = 9 (value) outside of symbols table (size 7)"
                ),
                (3, "invalid metric name or labels, got {a=\"1\"}"),
                (
                    4,
                    "invalid metric name or labels, got {__name__=\"up\", a=\"\u{fffd}\"}"
                ),
                (
                    5,
                    "invalid labels for series, labels {__name__=\"up\", a=\"1\", a=\"up\"}, duplicated label a"
                ),
                (
                    6,
                    "TimeSeries must contain at least one sample or histogram for series {__name__=\"up\"}"
                ),
                (
                    7,
                    "parsing metadata for series [1 2]: metadata help_ref 77 outside of symbols table (size 7)"
                ),
                (
                    8,
                    "parsing exemplar for series {__name__=\"up\"}: invalid labelRefs length 1"
                ),
            ]
        );
        let batch = decode(&out.body, Form { with_start: true }).unwrap();
        assert_eq!((batch.t_ms, batch.start_ms), (vec![1000; 2], vec![500; 2]));
        assert!(out.zeros.is_empty());
        let body = request(&[series(&[3, 4, 1, 2], &one, |_| {})]);
        let labels = labels_of(&body, &[0], Features::default());
        assert_eq!(labels, [(0, "{__name__=\"up\", a=\"1\"}".to_owned())]);
    }

    #[test]
    fn an_empty_table_has_no_place_for_metadata_either() {
        let body = message(|m| put_bytes(m, 5, &series(&[], &[sample(0)], |_| {})));
        let out = translate(&body, Features::default()).unwrap();
        assert_eq!(
            out.faults,
            [(0, "parsing metadata for series []: metadata unit_ref 0 outside of symbols table (size 0)".to_owned())]
        );
    }

    #[test]
    fn zeros_lie_at_the_start_timestamps_where_they_are_wanted() {
        let features = Features {
            zero_samples: true,
            ..Features::default()
        };
        let samples = [
            sample(500),
            sample(500),
            sample(700),
            sample(1000),
            sample(0),
        ];
        let out = translate(&request(&[series(&[1, 2], &samples, |_| {})]), features).unwrap();
        let zeros = decode(&out.zeros, Form { with_start: true }).unwrap();
        assert_eq!((zeros.t_ms, zeros.values), (vec![500, 700], vec![0.0; 2]));
    }

    #[test]
    fn type_and_unit_become_labels_where_they_are_wanted() {
        let features = Features {
            type_and_unit_labels: true,
            ..Features::default()
        };
        let metadata = message(|m| {
            put_uint(m, 1, 2);
            put_uint(m, 4, 6);
        });
        let series = series(&[1, 2], &[sample(0)], |m| put_bytes(m, 5, &metadata));
        let out = translate(&request(&[series]), features).unwrap();
        let batch = decode(&out.body, Form { with_start: true }).unwrap();
        let mut pairs = Vec::new();
        decode_labels(batch.series[0].key, &mut pairs).unwrap();
        assert_eq!(
            pairs,
            [
                ("__name__", "up"),
                ("__type__", "gauge"),
                ("__unit__", "seconds")
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            let _ = translate(&body, Features { type_and_unit_labels: true, zero_samples: true });
        }
    }
}
