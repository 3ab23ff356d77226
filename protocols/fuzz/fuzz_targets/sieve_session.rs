//! Runs `protocols::fuzz::sieve_session` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::sieve_session(input));
