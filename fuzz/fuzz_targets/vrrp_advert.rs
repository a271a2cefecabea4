//! VRRP adverts off the wire: `cargo +nightly fuzz run vrrp_advert`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_userspace::vrrp::fuzz::exercise(input));
