//! See `trilobite::fuzz::otlp_metrics_json`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::otlp_metrics_json(data));
