//! See `trilobite::fuzz::samples_page`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::samples_page(data));
