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

#[cfg(test)]
mod tests {
    /// Bytes of the mappings of this program's code that are in memory.
    fn in_memory() -> usize {
        let code = format!("{:x}-", page_of_code());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let of_code = maps.lines().skip_while(|line| !line.starts_with(&code));
        let rss = of_code.skip(1).find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Where the mapping begins that this function is in.
    fn page_of_code() -> usize {
        let here = page_of_code as *const () as usize;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let ranges = maps.lines().filter_map(|line| line.split_once(' ')?.0.split_once('-'));
        let mut ranges = ranges.map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16).unwrap()));
        ranges.find(|[from, to]| (*from..*to).contains(&here)).unwrap()[0]
    }

    #[test]
    fn code_goes_and_comes_back() {
        let before = in_memory();
        super::let_go_of_code().unwrap();
        let after = in_memory();
        assert!(after < before, "{after} KB of {before}");
        super::let_go_of_code().unwrap();
    }
}
