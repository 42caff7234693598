//! See `trilobite::fuzz::remembered`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::remembered(data));
