//! What differs in the program that tells its steps (feature `log`): it writes them down, and leaves no other trace in the
//! maps. What it would change there it changes of copies, or not at all.

#[cfg(feature = "log")]
pub use told::{copy_line, copy_load, ifindex, step};
#[cfg(not(feature = "log"))]
pub use untold::{copy_line, copy_load, ifindex, step};

/// Whether what is decided is recorded and counted.
pub const RECORDS: bool = !cfg!(feature = "log");

#[cfg(not(feature = "log"))]
mod untold {
    use lb_common::maps::{FlowLine, Loads};
    use lb_common::trace::Step;

    #[inline(always)]
    pub fn step(_: Step, _: [u64; 4]) {}

    #[inline(always)]
    pub fn copy_line(line: *mut FlowLine) -> Option<*mut FlowLine> {
        Some(line)
    }

    #[inline(always)]
    pub fn copy_load(load: *mut Loads) -> Option<*mut Loads> {
        Some(load)
    }

    #[inline(always)]
    pub fn ifindex(own: u32) -> u32 {
        own
    }
}

#[cfg(feature = "log")]
mod told {
    use lb_common::maps::{FlowLine, Loads};
    use lb_common::trace::{Record, STEPS, Step};

    use crate::maps;

    /// The interface that the frame is said to have come in by. Set by whoever loads the program.
    #[unsafe(no_mangle)]
    static INGRESS: u32 = 0;

    #[inline(always)]
    pub fn step(step: Step, [a, b, c, d]: [u64; 4]) {
        lb_step(step as u64, a, b, c, d);
    }

    /// Writes a step down.
    #[unsafe(no_mangle)]
    #[inline(never)]
    pub extern "C" fn lb_step(code: u64, a: u64, b: u64, c: u64, d: u64) -> u64 {
        let Some(count) = next(0) else { return 0 };
        if count < STEPS
            && let Some(record) = maps::steps.get_ptr_mut(count)
        {
            // SAFETY: one frame is run at a time, by whoever loaded this program.
            unsafe { *record = Record { code, words: [a, b, c, d] } };
        }
        1
    }

    /// Counts on, and tells how many there were.
    #[inline(always)]
    fn next(of: u32) -> Option<u32> {
        let count = maps::told.get_ptr_mut(of)?;
        // SAFETY: as above.
        unsafe {
            let held = *count;
            *count = held.wrapping_add(1);
            Some(held)
        }
    }

    #[inline(always)]
    pub fn copy_line(line: *mut FlowLine) -> Option<*mut FlowLine> {
        let copy = maps::lines.get_ptr_mut(next(1)? & 7)?;
        for word in 0..8 {
            // SAFETY: a line has eight words; those of the live one are read whole.
            unsafe { copy.cast::<u64>().add(word).write_volatile(line.cast::<u64>().add(word).read_volatile()) };
        }
        Some(copy)
    }

    #[inline(always)]
    pub fn copy_load(load: *mut Loads) -> Option<*mut Loads> {
        let copy = maps::load_copy.get_ptr_mut(0)?;
        // SAFETY: as above.
        unsafe { copy.write_volatile(load.read_volatile()) };
        Some(copy)
    }

    #[inline(always)]
    pub fn ifindex(_: u32) -> u32 {
        // SAFETY: a static of this program; read so that the compiler doesn't take it for a constant.
        unsafe { core::ptr::read_volatile(&INGRESS) }
    }
}
