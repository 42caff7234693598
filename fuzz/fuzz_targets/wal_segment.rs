//! See `trilobite::fuzz::wal_segment`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilobite::fuzz::wal_segment(data));
