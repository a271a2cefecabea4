//! What a peer with the key may say: `cargo +nightly fuzz run peer_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_userspace::peers::fuzz::exercise(input));
