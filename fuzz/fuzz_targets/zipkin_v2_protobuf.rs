//! See `trilobite::fuzz::zipkin_v2_protobuf`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::zipkin_v2_protobuf(data));
