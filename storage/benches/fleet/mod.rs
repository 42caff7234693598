//! A fleet of containers, scraped every 15 s.

use storage::model::{BatchSeries, LabelError, LabelPairs, MetricBatch};

/// Number of series.
pub(crate) const SERIES: usize = 20_000;
/// Series of one request, as a Prometheus server's remote write sends them.
pub(crate) const REQUEST: usize = 2_000;

/// `name\0value\0…`, some 200 bytes, as long as the labels of a container metric.
pub(crate) fn key(i: usize) -> Vec<u8> {
    let (pod, metric) = (i / 40, i % 40);
    format!(
        "__name__\0container_metric_number_{metric}_total\0cluster\0production-eu-west-1\0container\0server\0\
         instance\010.0.{}.{}:8080\0job\0kubernetes-pods\0namespace\0team-{}\0node\0node-{}\0\
         pod\0checkout-7f9c6d5b4-{pod:05x}\0",
        pod / 250,
        pod % 250,
        pod % 20,
        pod % 100,
    )
    .into_bytes()
}

fn decode_labels<'k>(key: &'k [u8], out: &mut LabelPairs<'k>) -> Result<(), LabelError> {
    let text = std::str::from_utf8(key).map_err(|e| LabelError(e.to_string()))?;
    let mut parts = text.split_terminator('\0');
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        out.push((name, value));
    }
    Ok(())
}

/// One scrape of some series: counters that grow unevenly, some constants.
pub(crate) fn scrape(keys: &[Vec<u8>], first: usize, n: i64) -> MetricBatch<'_> {
    let value = |i: usize| match i % 4 {
        0 => 1.0,
        _ => (n as f64 * (1 + i % 97) as f64) + ((n as usize * 7919 + i) % 13) as f64,
    };
    MetricBatch {
        series: (0..keys.len())
            .map(|i| BatchSeries {
                key: &keys[i],
                floats: i..i + 1,
                histograms: 0..0,
                exemplars: 0..0,
            })
            .collect(),
        decode_labels,
        t_ms: vec![1_793_491_200_000 + 15_000 * n + (first % 7) as i64; keys.len()],
        values: (0..keys.len()).map(|i| value(first + i)).collect(),
        start_ms: Vec::new(),
        histograms: Vec::new(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    }
}
