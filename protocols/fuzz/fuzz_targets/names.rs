//! Runs `protocols::fuzz::names` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::names(input));
