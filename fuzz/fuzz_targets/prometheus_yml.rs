//! See `trilobite::fuzz::prometheus_yml`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::prometheus_yml(data));
