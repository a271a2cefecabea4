//! Loads, pins and writes the kernel's side.
