//! See `trilobite::fuzz::promql`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::promql(data));
