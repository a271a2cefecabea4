//! Configuration files: `cargo +nightly fuzz run configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_userspace::config::fuzz::exercise(input));
