//! Runs `protocols::fuzz::pop3_session` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::pop3_session(input));
