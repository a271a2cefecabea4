//! The frame as the kernel gives it: a pointer to its first byte and one behind its last.
//!
//! This file holds the unsafe code of the packet path. The BPF verifier accepts an access only after it
//! saw `pointer + size` compared with the end pointer, so the checks here compare pointers, never lengths.
#![expect(unsafe_code, reason = "frame bytes are reached through the kernel's two pointers")]

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::verdict::Verdict;

/// A frame, from its Ethernet header to its last linear byte.
#[derive(Debug)]
pub struct Packet<'a> {
    start: usize,
    end: usize,
    frame: PhantomData<&'a mut [u8]>,
}

impl<'a> Packet<'a> {
    /// A frame that the kernel handed to an XDP program: the `data` and `data_end` of its context.
    ///
    /// # Safety
    /// The bytes from `start` up to `end` must be valid and this program's alone for `'a`.
    #[inline(always)]
    pub unsafe fn from_pointers(start: usize, end: usize) -> Self {
        Self { start, end, frame: PhantomData }
    }

    /// A frame in ordinary memory.
    #[cfg(any(test, feature = "host"))]
    pub fn from_slice(frame: &'a mut [u8]) -> Self {
        let range = frame.as_mut_ptr_range();
        Self { start: range.start.expose_provenance(), end: range.end.addr(), frame: PhantomData }
    }

    /// The header that starts `offset` bytes into the frame.
    ///
    /// # Errors
    /// [`Verdict::Truncated`] when it would end behind the frame.
    #[inline(always)]
    pub fn at<T: FromBytes + KnownLayout + Immutable + Unaligned>(&self, offset: usize) -> Result<&T, Verdict> {
        // SAFETY: `address` checked that the whole of T lies inside the frame, which is borrowed through
        // self; T is valid for any bytes (FromBytes) and at any address (Unaligned).
        Ok(unsafe { &*core::ptr::with_exposed_provenance::<T>(self.address::<T>(offset)?) })
    }

    /// The same, to be written to.
    ///
    /// # Errors
    /// [`Verdict::Truncated`] when it would end behind the frame.
    #[inline(always)]
    pub fn at_mut<T: FromBytes + IntoBytes + KnownLayout + Unaligned>(
        &mut self,
        offset: usize,
    ) -> Result<&mut T, Verdict> {
        // SAFETY: as in `at`, and the frame is mutably borrowed through self.
        Ok(unsafe { &mut *core::ptr::with_exposed_provenance_mut::<T>(self.address::<T>(offset)?) })
    }

    #[inline(always)]
    fn address<T>(&self, offset: usize) -> Result<usize, Verdict> {
        let address = self.start + offset;
        if address + size_of::<T>() > self.end { Err(Verdict::Truncated.aside()) } else { Ok(address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_must_lie_inside_the_frame() {
        let mut bytes = [1u8, 2, 3, 4, 5];
        let mut packet = Packet::from_slice(&mut bytes);
        assert_eq!(packet.at::<[u8; 5]>(0), Ok(&[1, 2, 3, 4, 5]));
        assert_eq!(packet.at::<[u8; 2]>(3), Ok(&[4, 5]));
        assert_eq!(packet.at::<[u8; 2]>(4), Err(Verdict::Truncated));
        assert_eq!(packet.at::<[u8; 1]>(5), Err(Verdict::Truncated));
        packet.at_mut::<[u8; 2]>(1).unwrap()[0] = 9;
        assert_eq!(bytes, [1, 9, 3, 4, 5]);
    }
}
