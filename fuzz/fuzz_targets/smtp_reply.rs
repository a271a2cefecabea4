//! What a mail server answers to a check: `cargo +nightly fuzz run smtp_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_userspace::health::probe::smtp::reply::exercise(input));
