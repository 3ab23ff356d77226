//! Runs `protocols::fuzz::postmap` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::postmap(input));
