//! 64-bit words that CPUs share.
//!
//! The compiler's BPF target claims to have no compare-and-exchange, so `core::sync::atomic` leaves its
//! methods out; the instructions exist since Linux 5.12 and the intrinsics behind those methods emit them.
#![expect(unsafe_code, reason = "shared words are reached by pointer")]

/// A 64-bit word in a map.
#[derive(Clone, Copy)]
pub struct Word(*mut u64);

impl Word {
    /// # Safety
    /// The pointer must be valid and aligned for as long as the value is used, and every access to the word by
    /// anyone must be atomic.
    #[inline(always)]
    pub unsafe fn new(pointer: *mut u64) -> Self {
        Self(pointer)
    }
}

/// The same value, of which neither the compiler nor the verifier knows any more how it came about; `unknown` is any value
/// that the verifier doesn't know. Paths that differ in nothing but such a value are one path to the verifier, which else
/// walks everything behind a search once for each place that was found.
#[inline(always)]
pub(crate) fn forget(value: u64, unknown: u64) -> u64 {
    opaque(value ^ unknown) ^ unknown
}

/// The same reference, of which the compiler doesn't know what it read behind it before: else it keeps that on a stack of 512
/// bytes, which functions that call one another share.
#[inline(always)]
pub(crate) fn reread<T>(value: &T) -> &T {
    let pointer: *const T = value;
    let hidden = pointer.with_addr(opaque(pointer.addr() as u64) as usize);
    // SAFETY: it is the same pointer.
    unsafe { &*hidden }
}

/// The same value, which the compiler knows nothing of: it makes no branches of what is computed from it.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub(crate) fn opaque(value: u64) -> u64 {
    value
}

/// The same value, which the compiler knows nothing of: it makes no branches of what is computed from it.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn opaque(mut value: u64) -> u64 {
    // SAFETY: a register is copied to itself. (Without any instruction there would be two lines of the source at one place of
    // the program, which the kernel refuses.)
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
    value
}

/// Stands in a branch that few packets take: what is computed there, the compiler then doesn't compute before the branch, for all
/// packets.
#[inline(always)]
pub(crate) fn aside() {
    // SAFETY: no instruction.
    #[cfg(target_arch = "bpf")]
    unsafe {
        core::arch::asm!("", options(nomem, nostack));
    }
}

#[cfg(not(target_arch = "bpf"))]
mod imp {
    use core::sync::atomic::{AtomicU64, Ordering};

    impl super::Word {
        fn atomic(&self) -> &AtomicU64 {
            // SAFETY: promised to `new`.
            unsafe { AtomicU64::from_ptr(self.0) }
        }

        /// Reads the word.
        #[inline(always)]
        pub fn load(self) -> u64 {
            self.atomic().load(Ordering::Relaxed)
        }

        /// Reads the word; what is read before it is, and what is read behind it is not, read earlier.
        #[inline(always)]
        pub fn load_ordered(self) -> u64 {
            self.atomic().fetch_or(0, Ordering::SeqCst)
        }

        /// Writes the word; what was written before is seen before it.
        #[inline(always)]
        pub fn publish(self, value: u64) {
            self.atomic().swap(value, Ordering::SeqCst);
        }

        /// Writes the word if it is still `old`; tells whether it was.
        #[inline(always)]
        pub fn replace(self, old: u64, new: u64) -> bool {
            self.atomic().compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        }

        /// Adds 1 and gives the value before.
        #[inline(always)]
        pub fn increment(self) -> u64 {
            self.atomic().fetch_add(1, Ordering::SeqCst)
        }

        /// Adds to the word, wrapping.
        #[inline(always)]
        pub fn add(self, value: u64) {
            self.atomic().fetch_add(value, Ordering::SeqCst);
        }
    }
}

#[cfg(target_arch = "bpf")]
mod imp {
    use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd, atomic_xchg};

    const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;

    impl super::Word {
        /// Reads the word.
        #[inline(always)]
        pub fn load(self) -> u64 {
            // SAFETY: promised to `new`. A volatile load of an aligned word is one load instruction.
            unsafe { self.0.read_volatile() }
        }

        /// Reads the word; what is read before it is, and what is read behind it is not, read earlier (an atomic
        /// instruction that gives the old value is a full barrier; loads with an order of their own are too young).
        #[inline(always)]
        pub fn load_ordered(self) -> u64 {
            // SAFETY: promised to `new`.
            unsafe { atomic_or::<u64, u64, ORDER>(self.0, 0) }
        }

        /// Writes the word; what was written before is seen before it (an exchange is a full barrier).
        #[inline(always)]
        pub fn publish(self, value: u64) {
            // SAFETY: promised to `new`.
            unsafe { atomic_xchg::<u64, ORDER>(self.0, value) };
        }

        /// Writes the word if it is still `old`; tells whether it was.
        #[inline(always)]
        pub fn replace(self, old: u64, new: u64) -> bool {
            // SAFETY: promised to `new`.
            unsafe { atomic_cxchg::<u64, ORDER, ORDER>(self.0, old, new) }.1
        }

        /// Adds 1 and gives the value before.
        #[inline(always)]
        pub fn increment(self) -> u64 {
            // SAFETY: promised to `new`.
            unsafe { atomic_xadd::<u64, u64, ORDER>(self.0, 1) }
        }

        /// Adds to the word, wrapping.
        #[inline(always)]
        pub fn add(self, value: u64) {
            // SAFETY: promised to `new`.
            unsafe { atomic_xadd::<u64, u64, ORDER>(self.0, value) };
        }
    }
}
