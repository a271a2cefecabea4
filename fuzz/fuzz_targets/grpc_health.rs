//! What a gRPC server answers to a check: `cargo +nightly fuzz run grpc_health`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_userspace::health::probe::grpc::message::exercise(input));
