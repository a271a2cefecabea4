//! Arrays of the kernel's that are read and written through a mapping: a change takes effect with the store that makes it.
#![expect(unsafe_code, reason = "entries are reached through a shared mapping, not by a system call for each")]

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lb_common::maps::SlotPair;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Error;

/// A mapping of an array whose values are `T`, a multiple of eight bytes long. The program and this process share it.
pub struct Mapped<T> {
    name: &'static str,
    start: NonNull<u64>,
    entries: u32,
    values: PhantomData<T>,
}

// SAFETY: the mapping lives as long as the value, and every access to it is atomic, word by word.
unsafe impl<T> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Mapped<T> {}

const WORD: usize = size_of::<u64>();
const PROTECTION: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

impl<T: FromBytes + IntoBytes + Immutable + Copy> Mapped<T> {
    const WORDS: usize = size_of::<T>() / WORD;

    /// Maps an array of this name with so many entries.
    ///
    /// # Errors
    /// The kernel refuses: it wasn't made to be mapped, or is shorter.
    pub(super) fn new(name: &'static str, map: impl AsFd, entries: u32) -> Result<Self, Error> {
        const { assert!(size_of::<T>().is_multiple_of(WORD), "the kernel rounds values up to eight bytes") };
        let bytes =
            NonZeroUsize::new(entries as usize * size_of::<T>()).ok_or_else(|| Error::map(name, "no entries"))?;
        // SAFETY: a new mapping at an address of the kernel's choice; the kernel refuses a length beyond the map's.
        let start = unsafe { mmap(None, bytes, PROTECTION, MapFlags::MAP_SHARED, map, 0) }
            .map_err(|error| Error::map(name, error))?;
        Ok(Self { name, start: start.cast(), entries, values: PhantomData })
    }

    /// An array that no program shares: a flow table beside the kernel's.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn apart(name: &'static str, entries: u32) -> Result<Self, Error> {
        let bytes =
            NonZeroUsize::new(entries as usize * size_of::<T>()).ok_or_else(|| Error::map(name, "no entries"))?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(None, bytes, PROTECTION, MapFlags::MAP_PRIVATE) }
            .map_err(|error| Error::map(name, error))?;
        Ok(Self { name, start: start.cast(), entries, values: PhantomData })
    }

    /// How many entries it has.
    pub fn len(&self) -> u32 {
        self.entries
    }

    /// Whether it has none, which can't be.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// An entry. What another writes meanwhile may be seen in part, word by word.
    ///
    /// # Errors
    /// There is none of this index.
    pub fn get(&self, index: u32) -> Result<T, Error> {
        let words = self.entry(index)?;
        let mut value = T::new_zeroed();
        value_words(&mut value)
            .zip(words)
            .for_each(|(place, word)| *place = word.load(Ordering::Relaxed).to_ne_bytes());
        Ok(value)
    }

    /// Writes an entry, word by word; those that are right already aren't touched.
    ///
    /// # Errors
    /// There is none of this index.
    pub fn set(&self, index: u32, mut value: T) -> Result<(), Error> {
        let words = self.entry(index)?;
        for (bytes, word) in value_words(&mut value).zip(words) {
            let next = u64::from_ne_bytes(*bytes);
            if word.load(Ordering::Relaxed) != next {
                word.store(next, Ordering::Release);
            }
        }
        Ok(())
    }

    /// The words of an entry.
    ///
    /// # Errors
    /// There is none of this index.
    pub fn entry(&self, index: u32) -> Result<impl Iterator<Item = &AtomicU64>, Error> {
        if index >= self.entries {
            return Err(Error::map(self.name, format!("no entry {index}: it has {}", self.entries)));
        }
        let first = index as usize * Self::WORDS;
        // SAFETY: the entry lies inside the mapping, which is aligned to a page, and every access to it is atomic.
        Ok((first..first + Self::WORDS).map(|word| unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(word)) }))
    }

    /// All words of all entries.
    pub(super) fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has so many words, is aligned to a page, and every access to it is atomic.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.entries as usize * Self::WORDS) }
    }

    /// An entry as the packet logic has it. Whoever uses it must do so by atomic accesses alone, while this mapping lives.
    ///
    /// # Errors
    /// There is none of this index.
    pub fn pointer(&self, index: u32) -> Result<*mut T, Error> {
        if index >= self.entries {
            return Err(Error::map(self.name, format!("no entry {index}: it has {}", self.entries)));
        }
        // SAFETY: the entry lies inside the mapping.
        Ok(unsafe { self.start.as_ptr().cast::<T>().add(index as usize) })
    }

    /// A word of 32 bits, which changes at once.
    ///
    /// # Errors
    /// It lies behind the mapping.
    pub(super) fn half(&self, index: usize) -> Result<&AtomicU32, Error> {
        if index >= self.entries as usize * Self::WORDS * 2 {
            return Err(Error::map(self.name, format!("no word {index}")));
        }
        // SAFETY: as in `entry`.
        Ok(unsafe { AtomicU32::from_ptr(self.start.as_ptr().cast::<u32>().add(index)) })
    }
}

/// The words of rings and turns.
impl super::Words for Arc<Mapped<SlotPair>> {
    fn word(&self, index: u32) -> u32 {
        self.half(index as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn put(&mut self, index: u32, word: u32) {
        if let Ok(place) = self.half(index as usize) {
            place.store(word, Ordering::Release);
        }
    }
}

fn value_words<T: FromBytes + IntoBytes>(value: &mut T) -> impl Iterator<Item = &mut [u8; WORD]> {
    value.as_mut_bytes().as_chunks_mut::<WORD>().0.iter_mut()
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and nothing borrows from it.
        let _ = unsafe { munmap(self.start.cast(), self.entries as usize * size_of::<T>()) };
    }
}
