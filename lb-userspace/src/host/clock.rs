//! Whether the kernel's clock is kept in step with others.
#![expect(unsafe_code, reason = "adjtimex is called through libc")]

/// What the kernel says of its clock (adjtimex(2)); `None` where it doesn't.
#[must_use]
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: timex is plain integers, for which zero is a value; with no mode set nothing is changed.
    let mut time: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is that of a live value, which the call writes.
    let state = unsafe { libc::adjtimex(&raw mut time) };
    (state >= 0).then_some(state != libc::TIME_ERROR && time.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_says_it() {
        assert!(super::is_synchronised().is_some());
    }
}
