//! The programs of lb. What becomes of a frame is decided in `lb-common`; here its maps are the kernel's.
#![no_std]
#![no_main]

mod clock;
mod drops;
mod kernel;
mod log;
mod maps;
mod recall;
mod stray;
mod tc;
mod xdp;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
