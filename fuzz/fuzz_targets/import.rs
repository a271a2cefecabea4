//! keepalived.conf and what ipvsadm prints: `cargo +nightly fuzz run import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_userspace::import::fuzz::exercise(input));
