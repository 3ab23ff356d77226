//! Runs `protocols::fuzz::backend_response` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::backend_response(input));
