//! What a process that waits for long need not have in memory. [madvise(2)]

use rustix::io::Errno;
use rustix::mm::{Advice, madvise};
use std::ffi::c_void;

// From the linker, of every executable: where it begins in memory, and where its code ends. Between the two are its code and
// constants, mapped from the file and never written to.
unsafe extern "C" {
    static __executable_start: u8;
    static etext: u8;
}

/// Takes this program's code out of this process's memory: what is run again comes back from the page cache, a few
/// microseconds a place. So a process that waits counts for no more than the pages that it has for itself.
pub fn let_go_of_code() -> std::io::Result<()> {
    let page = rustix::param::page_size();
    let start = (&raw const __executable_start).addr().next_multiple_of(page);
    let end = (&raw const etext).addr() / page * page;
    let Some(length) = end.checked_sub(start).filter(|length| *length > 0) else { return Ok(()) };
    let from = (&raw const __executable_start).with_addr(start).cast_mut().cast::<c_void>();
    // SAFETY: no page between the two symbols is writable or was ever written to: the linker puts what is relocated when
    // the program is loaded behind its code. So each is as it is in the file, and is read from there again.
    match unsafe { madvise(from, length, Advice::LinuxDontNeed) } {
        // There may be a gap between the pages; the others are gone then as well.
        Ok(()) | Err(Errno::NOMEM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
