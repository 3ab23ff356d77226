//! A connection of the master under any bytes; the body is `mupdate::master::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mupdate::master::fuzz(bytes));
