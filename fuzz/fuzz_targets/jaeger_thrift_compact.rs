//! See `trilobite::fuzz::jaeger_thrift_compact`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::jaeger_thrift_compact(data));
