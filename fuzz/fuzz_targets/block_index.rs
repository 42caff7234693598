//! See `trilobite::fuzz::block_index`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::block_index(data));
