//! See `trilobite::fuzz::jaeger_grpc`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::jaeger_grpc(data));
