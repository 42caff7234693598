//! See `trilobite::fuzz::remote_read`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::remote_read(data));
