//! See `trilobite::fuzz::otlp_metrics_protobuf`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::otlp_metrics_protobuf(data));
