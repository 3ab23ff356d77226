//! Runs `protocols::fuzz::lmtp_message` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::lmtp_message(input));
