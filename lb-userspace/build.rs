//! Embeds the BPF objects that `cargo xtask build` leaves in target/bpf. Without them the host crates still
//! build; such an `lb` says at start what it lacks.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["lb-ebpf.o", "lb-log.o"] {
        let object = root.join("target/bpf").join(name);
        println!("cargo::rerun-if-changed={}", object.display());
        let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join(name);
        let bytes = if object.exists() { fs::read(&object)? } else { Vec::new() };
        fs::write(out, bytes)?;
    }
    Ok(())
}
