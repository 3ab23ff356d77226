//! Runs `protocols::fuzz::imap_grammar` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::imap_grammar(input));
