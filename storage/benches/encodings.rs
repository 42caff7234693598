//! Values of samples in a column of a Parquet file: bytes a sample of each encoding that was thought of, and the time to write and to
//! read it. Prints a table first; the sizes are the same on every machine.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use storage::codec::gorilla::{FloatEncoder, FloatSample};
use storage::model::NO_START_MS;

const SERIES: usize = 5_000;
/// An hour of scrapes every 15 s.
const SAMPLES: usize = 240;
/// Samples of a chunk, as in the head.
const CHUNK: usize = 120;

/// Pages as a cut writes them, and as a merge does: rows, and level of zstd.
const PAGES: [(&str, usize, i32); 2] = [("cut", 8192, 3), ("merged", 16_384, 9)];

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn unit(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 30)
    }
}

fn counter(dice: &mut Dice) -> Vec<f64> {
    let (pace, mut at) = (1 + dice.below(500), dice.below(1_000_000));
    let next = |_| {
        at += dice.below(2 * pace);
        at as f64
    };
    (0..SAMPLES).map(next).collect()
}

/// Two digits behind the point, as seconds and shares are often rounded.
fn gauge(dice: &mut Dice) -> Vec<f64> {
    let mut at = 100.0 * dice.unit();
    let next = |_| {
        at += dice.unit() - 0.5;
        (at * 100.0).round() / 100.0
    };
    (0..SAMPLES).map(next).collect()
}

fn noise(dice: &mut Dice) -> Vec<f64> {
    let around = 1000.0 * dice.unit();
    (0..SAMPLES).map(|_| around + dice.unit()).collect()
}

fn constant(dice: &mut Dice) -> Vec<f64> {
    vec![dice.below(1000) as f64; SAMPLES]
}

type Kind = fn(&mut Dice) -> Vec<f64>;
const KINDS: [(&str, Kind); 4] = [
    ("counters", counter),
    ("rounded gauges", gauge),
    ("noisy floats", noise),
    ("constants", constant),
];

/// Series one after another. The fleet of the load harness is 71 % counters, 20 % gauges of both kinds and 9 % constants.
fn values(kind: Option<Kind>) -> Vec<f64> {
    let mut dice = Dice(7);
    let series = |i: usize| match kind {
        Some(kind) => kind(&mut dice),
        // Series of one metric, and so of one kind, stand together.
        None => match i * 100 / SERIES {
            0..71 => counter(&mut dice),
            71..81 => gauge(&mut dice),
            81..91 => noise(&mut dice),
            _ => constant(&mut dice),
        },
    };
    (0..SERIES).flat_map(series).collect()
}

/// A whole number and the power of ten that it was multiplied with, where these give the value back bit for bit.
fn mantissa(value: f64) -> Option<(i64, i32)> {
    (0..=9).find_map(|scale| {
        let whole = (value * 10_f64.powi(scale)).round();
        let is_exact =
            whole.abs() < 9e15 && (whole / 10_f64.powi(scale)).to_bits() == value.to_bits();
        is_exact.then_some((whole as i64, scale))
    })
}

/// Columns from which a value comes back, and the encoding of the first one.
type Layout = fn(&[f64]) -> (Vec<(&'static str, ArrayRef)>, Encoding);

fn doubles(values: &[f64]) -> (Vec<(&'static str, ArrayRef)>, Encoding) {
    let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    (vec![("value", column)], Encoding::BYTE_STREAM_SPLIT)
}

fn mantissas(values: &[f64]) -> Vec<(&'static str, ArrayRef)> {
    let found: Vec<Option<(i64, i32)>> = values.iter().map(|v| mantissa(*v)).collect();
    let whole = found.iter().map(|f| f.map_or(0, |(whole, _)| whole));
    let scale = found.iter().map(|f| f.map_or(0, |(_, scale)| scale));
    let rest = std::iter::zip(&found, values).map(|(f, v)| f.is_none().then_some(*v));
    vec![
        ("mantissa", Arc::new(whole.collect::<Int64Array>())),
        ("scale", Arc::new(scale.collect::<Int32Array>())),
        ("exception", Arc::new(rest.collect::<Float64Array>())),
    ]
}

fn delta_mantissas(values: &[f64]) -> (Vec<(&'static str, ArrayRef)>, Encoding) {
    (mantissas(values), Encoding::DELTA_BINARY_PACKED)
}

fn split_mantissas(values: &[f64]) -> (Vec<(&'static str, ArrayRef)>, Encoding) {
    (mantissas(values), Encoding::BYTE_STREAM_SPLIT)
}

fn chunks(values: &[f64]) -> (Vec<(&'static str, ArrayRef)>, Encoding) {
    let chunk = |values: &[f64]| {
        let mut encoder = FloatEncoder::default();
        for (t, value) in (0..).zip(values) {
            encoder.push(FloatSample {
                t_ms: 15_000 * t,
                bits: value.to_bits(),
                start_ms: NO_START_MS,
            });
        }
        encoder.to_bytes()
    };
    let chunks: Vec<_> = values.chunks(CHUNK).map(chunk).collect();
    let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(chunks));
    (vec![("chunk", column)], Encoding::PLAIN)
}

const LAYOUTS: [(&str, Layout); 4] = [
    ("doubles, BYTE_STREAM_SPLIT", doubles),
    ("mantissa and scale, DELTA_BINARY_PACKED", delta_mantissas),
    ("mantissa and scale, BYTE_STREAM_SPLIT", split_mantissas),
    ("Gorilla chunks (times included)", chunks),
];

fn write(values: &[f64], layout: Layout, rows: usize, level: i32) -> Vec<u8> {
    let (columns, encoding) = layout(values);
    let level = ZstdLevel::try_new(level).expect("a level of zstd");
    let first = columns.first().map_or("", |(name, _)| *name);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_encoding(first.into(), encoding);
    for name in ["scale", "exception"] {
        properties = properties.set_column_dictionary_enabled(name.into(), name == "scale");
    }
    // A chunk is a row of a hundred samples and more.
    let rows = if first == "chunk" { rows / CHUNK } else { rows };
    let properties = properties
        .set_data_page_row_count_limit(rows)
        .set_write_batch_size(rows.min(1024));
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties.build()))
        .expect("a schema of ours");
    writer.write(&batch).expect("room in memory");
    writer.close().expect("room in memory");
    file
}

fn read(file: &Bytes) -> usize {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).expect("our own file");
    let batches = reader.build().expect("our own file");
    batches
        .map(|batch| batch.expect("our own file").num_rows())
        .sum()
}

fn encodings(c: &mut Criterion) {
    let fleet = [("the fleet's mixture", values(None))];
    let kinds = KINDS.map(|(name, kind)| (name, values(Some(kind))));
    println!("bytes a sample:");
    for (name, values) in fleet.iter().chain(&kinds) {
        for (layout_name, layout) in LAYOUTS {
            let sizes = PAGES.map(|(pages, rows, level)| {
                let size = write(values, layout, rows, level).len() as f64 / values.len() as f64;
                format!("{pages} {size:.3}")
            });
            println!("  {name:<20} {layout_name:<42} {}", sizes.join("  "));
        }
    }
    let values = &fleet[0].1;
    let mut group = c.benchmark_group("encodings");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(values.len() as u64));
    for (name, layout) in LAYOUTS {
        let (_, rows, level) = PAGES[0];
        group.bench_function(format!("write {name}"), |b| {
            b.iter(|| write(black_box(values), layout, rows, level));
        });
        let file = Bytes::from(write(values, layout, rows, level));
        group.bench_function(format!("read {name}"), |b| {
            b.iter(|| read(black_box(&file)))
        });
    }
    group.finish();
}

criterion_group!(benches, encodings);
criterion_main!(benches);
