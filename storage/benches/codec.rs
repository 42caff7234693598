//! Chunks: time and bytes a sample of each kind, and of the times alone with `tsz-compress` beside.

// The derives of `tsz-compress` name it.
extern crate alloc;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::codec::gorilla::{FloatDecoder, FloatEncoder, FloatSample};
use storage::codec::histogram::{HistogramDecoder, HistogramEncoder, HistogramSample};
use storage::model::{BucketSpan, Counts, Histogram, NO_START_MS};

const SAMPLES: usize = 240;

/// Times of a scrape every 15 s that is up to 5 ms late.
fn times() -> Vec<i64> {
    let jitter = |i: i64| i.wrapping_mul(6_364_136_223_846_793_005) >> 61;
    (0..SAMPLES as i64)
        .map(|i| 1_793_491_200_000 + 15_000 * i + jitter(i))
        .collect()
}

fn floats(value: fn(usize) -> f64) -> Vec<FloatSample> {
    let sample = |(i, t_ms)| FloatSample {
        t_ms,
        bits: value(i).to_bits(),
        start_ms: NO_START_MS,
    };
    times().into_iter().enumerate().map(sample).collect()
}

fn encode(samples: &[FloatSample]) -> Arc<[u8]> {
    let mut encoder = FloatEncoder::default();
    for &sample in samples {
        encoder.push(sample);
    }
    encoder.to_bytes()
}

fn decode(chunk: &[u8]) -> u64 {
    let mut decoder = FloatDecoder::new(chunk).expect("our own chunk");
    let mut sum = 0_u64;
    while let Some(sample) = decoder.next_sample().expect("our own chunk") {
        sum = sum.wrapping_add(sample.bits ^ sample.t_ms as u64);
    }
    sum
}

fn float_chunks(c: &mut Criterion) {
    type Value = fn(usize) -> f64;
    let kinds: [(&str, Value); 3] = [
        ("constant", |_| 1.0),
        ("counter", |i| (i * 37 + i * i % 11) as f64),
        ("noise", |i| 20.0 + ((i * 7919) % 1000) as f64 / 997.0),
    ];
    let mut group = c.benchmark_group("float_chunk");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    for (name, value) in kinds {
        let samples = floats(value);
        let chunk = encode(&samples);
        println!(
            "{name}: {:.2} bytes a sample",
            chunk.len() as f64 / SAMPLES as f64
        );
        group.bench_function(format!("encode_{name}"), |b| {
            b.iter(|| encode(black_box(&samples)));
        });
        group.bench_function(format!("decode_{name}"), |b| {
            b.iter(|| decode(black_box(&chunk)));
        });
    }
    group.finish();
}

fn histogram_chunks(c: &mut Criterion) {
    let samples: Vec<HistogramSample> = times()
        .into_iter()
        .take(120)
        .enumerate()
        .map(|(i, t_ms)| HistogramSample {
            t_ms,
            start_ms: NO_START_MS,
            histogram: Arc::new(Histogram {
                schema: 3,
                zero_threshold: 1e-128,
                sum: i as f64 * 1.7,
                positive_spans: vec![BucketSpan {
                    offset: -4,
                    length: 20,
                }],
                counts: Counts::Integer {
                    count: 100 * i as u64,
                    zero_count: 0,
                    positive: (0..20).map(|b| (i * b % 7) as i64 - 3).collect(),
                    negative: Vec::new(),
                },
                ..Histogram::default()
            }),
        })
        .collect();
    let encode = || {
        let mut encoder = HistogramEncoder::default();
        for sample in &samples {
            encoder.push(sample.clone());
        }
        encoder.to_bytes()
    };
    let chunk = encode();
    println!(
        "histogram: {:.1} bytes a sample",
        chunk.len() as f64 / 120.0
    );
    let mut group = c.benchmark_group("histogram_chunk");
    group.throughput(Throughput::Elements(120));
    group.bench_function("encode", |b| b.iter(encode));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let mut decoder = HistogramDecoder::new(black_box(&chunk)).expect("our own chunk");
            while let Some(sample) = decoder.next_sample().expect("our own chunk") {
                black_box(sample);
            }
        });
    });
    group.finish();
}

/// A row of `tsz-compress`, whose derives make public items.
#[expect(unreachable_pub, reason = "a bench exports nothing")]
mod row {
    use tsz_compress::prelude::*;

    #[derive(Copy, Clone, CompressV2, DecompressV2)]
    pub struct Time {
        pub t: i64,
    }

    pub use compress::TimeCompressorImpl;
    pub use decompress::TimeDecompressorImpl;
}

fn only_times(c: &mut Criterion) {
    use tsz_compress::prelude::{TszCompressV2, TszDecompressV2};
    let samples = floats(|_| 1.0);
    let rows: Vec<row::Time> = times().into_iter().map(|t| row::Time { t }).collect();
    let encode_tsz = || {
        let mut compressor = row::TimeCompressorImpl::new(SAMPLES);
        for &row in &rows {
            compressor.compress(row);
        }
        compressor.finish()
    };
    let (ours, tsz) = (encode(&samples), encode_tsz());
    println!(
        "240 times: {} bytes in a chunk, {} by tsz-compress",
        ours.len(),
        tsz.len()
    );
    let mut group = c.benchmark_group("times");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    group.bench_function("encode_chunk", |b| b.iter(|| encode(black_box(&samples))));
    group.bench_function("encode_tsz", |b| b.iter(encode_tsz));
    group.bench_function("decode_chunk", |b| b.iter(|| decode(black_box(&ours))));
    group.bench_function("decode_tsz", |b| {
        b.iter(|| {
            let mut decompressor = row::TimeDecompressorImpl::new();
            decompressor
                .decompress(black_box(&tsz))
                .expect("its own bytes");
            decompressor.rows().len()
        });
    });
    group.finish();
}

criterion_group!(benches, float_chunks, histogram_chunks, only_times);
criterion_main!(benches);
