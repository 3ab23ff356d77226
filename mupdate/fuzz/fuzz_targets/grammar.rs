//! Commands and responses of MUPDATE from any bytes; the body is `mupdate::grammar::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mupdate::grammar::fuzz(bytes));
