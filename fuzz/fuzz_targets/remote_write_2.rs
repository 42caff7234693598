//! See `trilobite::fuzz::remote_write_2`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::remote_write_2(data));
