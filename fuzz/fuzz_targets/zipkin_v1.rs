//! See `trilobite::fuzz::zipkin_v1`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::zipkin_v1(data));
