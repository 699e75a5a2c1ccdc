//! An allocator for short lives.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are given out before anybody else is asked.
const USUAL: usize = 256 << 10;
/// As many as [`widen`] makes of them. Those that nobody has asked for have no memory.
const SIZE: usize = 16 << 20;

#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; SIZE]>);

// SAFETY: each byte is handed out once, by `TAKEN`; who has it answers for it as for any piece of memory.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; SIZE]));
/// How much is given out.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// How much may be.
static LIMIT: AtomicUsize = AtomicUsize::new(USUAL);

/// Gives the first 256 KiB out one piece behind the other, and takes only the last one back. A verb that starts a container
/// needs no more in all its life, and keeps no books; musl's allocator asks the kernel for a page for nearly each piece of
/// another size, and gives it back at once. What comes after that is the system's, in a process that lives longer.
#[derive(Debug)]
pub struct Arena;

/// Has 16 MiB given out in place of 256 KiB: for a verb that lists a thousand things and is gone.
pub fn widen() {
    LIMIT.store(SIZE, Ordering::Relaxed);
}

/// Leaves the rest of the arena alone: a process that lives long would use it up, and the system's allocator gives out again
/// what has come back.
pub fn close() {
    TAKEN.store(SIZE, Ordering::Relaxed);
}

impl Arena {
    fn start() -> usize {
        MEMORY.0.get() as usize
    }

    /// Where a piece begins, counted from the start, if it is one of ours.
    fn place(piece: *mut u8) -> Option<usize> {
        (piece as usize).checked_sub(Arena::start()).filter(|place| *place < SIZE)
    }
}

// SAFETY: a piece of the arena is aligned as asked, lies in it, and overlaps no other that is given out, for `TAKEN` only
// grows but by the length of the last piece when that is given back. All others are the system allocator's, and go back to it.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut taken = TAKEN.load(Ordering::Relaxed);
        loop {
            // The arena begins at a page, and nothing is aligned to more.
            let place = taken.next_multiple_of(layout.align());
            let end = place.saturating_add(layout.size());
            if end > LIMIT.load(Ordering::Relaxed) || layout.align() > 4096 {
                // SAFETY: the caller keeps the contract of `alloc`.
                return unsafe { System.alloc(layout) };
            }
            match TAKEN.compare_exchange_weak(taken, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return (Arena::start() + place) as *mut u8,
                Err(now) => taken = now,
            }
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match Arena::place(piece) {
            Some(place) => {
                let end = place + layout.size();
                let _ = TAKEN.compare_exchange(end, place, Ordering::Relaxed, Ordering::Relaxed);
            }
            // SAFETY: it is no piece of the arena, so the system gave it.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(place) = Arena::place(piece) else {
            // SAFETY: it is no piece of the arena, so the system gave it; the caller keeps the rest of the contract.
            return unsafe { System.realloc(piece, layout, size) };
        };
        let (end, new) = (place + layout.size(), place.saturating_add(size));
        let is_last = new <= LIMIT.load(Ordering::Relaxed)
            && TAKEN.compare_exchange(end, new, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_last || size <= layout.size() {
            return piece;
        }
        // SAFETY: the new piece has the old one's alignment and is larger; they do not overlap, and the old one goes back.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(piece, moved, layout.size());
                self.dealloc(piece, layout);
            }
            moved
        }
    }
}
