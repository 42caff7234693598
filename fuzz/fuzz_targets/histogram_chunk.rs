//! See `trilobite::fuzz::histogram_chunk`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::histogram_chunk(data));
