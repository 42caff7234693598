//! See `trilobite::fuzz::logql`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::logql(data));
