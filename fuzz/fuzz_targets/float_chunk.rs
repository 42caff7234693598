//! See `trilobite::fuzz::float_chunk`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::float_chunk(data));
