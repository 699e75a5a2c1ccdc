//! Copying memory in the static binary.
//!
//! musl's `memcpy` for x86-64 is `rep movsq` and then byte by byte, whatever the length. To begin a `rep` takes a processor
//! some thirty cycles, and of the four thousand copies of a start most are of fewer bytes than that. Here up to 128 bytes are
//! all loaded and then all stored, which is right for places that overlap, too; what is longer is left to `rep movsb`.
//!
//! The linker takes these in place of the library's. No loop is in them: the compiler would make a call of `memcpy` of it.

use core::arch::asm;
use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

/// The longest that goes through registers.
const SHORT: usize = 128;

/// C's `memcpy`.
///
/// # Safety
/// As C has it: `length` bytes can be read at `from` and written at `to`.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: our caller's word.
    unsafe { if length <= SHORT { short(to, from, length) } else { forward(to, from, length) } }
    to
}

/// C's `memmove`: the places may overlap.
///
/// # Safety
/// As that of [`memcpy`].
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: our caller's word; what lies behind `from` within the length is copied from its end.
    unsafe {
        if length <= SHORT {
            short(to, from, length);
        } else if to.addr().wrapping_sub(from.addr()) >= length {
            forward(to, from, length);
        } else {
            backward(to, from, length);
        }
    }
    to
}

/// From both ends, which meet or overlap in the middle.
#[inline(always)]
unsafe fn short(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: `length` bytes are there, and each branch is for lengths of at least what it loads from one end.
    unsafe {
        let load = |at: usize| _mm_loadu_si128(from.add(at).cast::<__m128i>());
        let store = |at: usize, value: __m128i| _mm_storeu_si128(to.add(at).cast::<__m128i>(), value);
        if length > 64 {
            let (a, b, c, d) = (load(0), load(16), load(32), load(48));
            let (e, f, g, h) = (load(length - 64), load(length - 48), load(length - 32), load(length - 16));
            store(0, a);
            store(16, b);
            store(32, c);
            store(48, d);
            store(length - 64, e);
            store(length - 48, f);
            store(length - 32, g);
            store(length - 16, h);
        } else if length > 32 {
            let (a, b, c, d) = (load(0), load(16), load(length - 32), load(length - 16));
            store(0, a);
            store(16, b);
            store(length - 32, c);
            store(length - 16, d);
        } else if length >= 16 {
            let (a, b) = (load(0), load(length - 16));
            store(0, a);
            store(length - 16, b);
        } else if length >= 8 {
            ends::<u64>(to, from, length);
        } else if length >= 4 {
            ends::<u32>(to, from, length);
        } else if length >= 2 {
            ends::<u16>(to, from, length);
        } else if length == 1 {
            to.write(from.read());
        }
    }
}

/// The first and the last value of a type.
#[inline(always)]
unsafe fn ends<T: Copy>(to: *mut u8, from: *const u8, length: usize) {
    let last = length - size_of::<T>();
    // SAFETY: a `T` fits into `length` bytes.
    unsafe {
        let (a, b) = (from.cast::<T>().read_unaligned(), from.add(last).cast::<T>().read_unaligned());
        to.cast::<T>().write_unaligned(a);
        to.add(last).cast::<T>().write_unaligned(b);
    }
}

#[inline(always)]
unsafe fn forward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: `length` bytes are there; the direction flag is clear, as the ABI has it.
    unsafe {
        asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") length => _,
             options(nostack, preserves_flags));
    }
}

/// By eight from the end, and the rest at the start.
#[inline(always)]
unsafe fn backward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: `length` bytes, more than eight, are there; the flag is cleared again. The first eight are loaded before
    // anything is stored and stored after all, whether or not the others reached into them.
    unsafe {
        let first = from.cast::<u64>().read_unaligned();
        asm!("std", "rep movsq", "cld", inout("rdi") to.add(length - 8) => _, inout("rsi") from.add(length - 8) => _,
             inout("rcx") length / 8 => _, options(nostack));
        to.cast::<u64>().write_unaligned(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_at_every_distance() {
        let before: Vec<u8> = (0..4096u32).map(|n| (n * 7 + n / 256) as u8).collect();
        for length in (0..=260).chain([500, 511, 512, 777]) {
            for distance in [-800i64, -129, -64, -17, -9, -8, -7, -1, 0, 1, 3, 7, 8, 9, 16, 17, 63, 128, 129, 800] {
                let (from, to) = (900usize, (900 + distance) as usize);
                // Byte by byte, for `copy_within` is what is tested.
                let mut expected = before.clone();
                (0..length).for_each(|n| expected[to + n] = before[from + n]);
                let mut moved = before.clone();
                let start = moved.as_mut_ptr();
                // SAFETY: both places lie within the 4096 bytes.
                unsafe { memmove(start.add(to), start.add(from), length) };
                assert_eq!(moved, expected, "{length} bytes by {distance}");
                let mut copied = vec![0; length + 2];
                // SAFETY: two vectors, each long enough.
                unsafe { memcpy(copied.as_mut_ptr().add(1), before.as_ptr().add(from), length) };
                assert!(copied[1..=length] == before[from..from + length] && copied[0] == 0 && copied[length + 1] == 0);
            }
        }
    }
}
