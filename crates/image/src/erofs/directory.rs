//! Directories on disk: blocks, each a table of entries and then their names.
//!
//! Names ascend over all blocks as strings of bytes, `.` and `..` among them, for the kernel searches by halves. The
//! last name of a block ends at a NUL or at the block's end, the others where the next begins.

use super::format::{BLOCK, u16_at, u64_at};
use super::tree::NAME_MAX;

/// Bytes of one entry of the table.
const ENTRY: usize = 12;

/// How many bytes a directory with names of these lengths takes, in their order; only its last block may be partly
/// empty.
pub(super) fn size(lengths: impl Iterator<Item = usize>) -> u64 {
    let (mut blocks, mut used) = (0, 0);
    for length in lengths {
        if used + ENTRY + length > BLOCK {
            blocks += 1;
            used = 0;
        }
        used += ENTRY + length;
    }
    blocks * BLOCK as u64 + used as u64
}

/// One name of a directory: where its inode is, and of which type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    pub(super) kind: u8,
}

/// Calls `sink` with each block, the last one without what is empty of it. The entries are in order.
pub(super) fn write<E>(entries: &[Entry<'_>], mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut rest = entries;
    let mut block = Vec::with_capacity(BLOCK);
    while !rest.is_empty() {
        let mut used = 0;
        let count = rest.iter().take_while(|entry| {
            used += ENTRY + entry.name.len();
            used <= BLOCK
        });
        let (now, later) = rest.split_at(count.count());
        let mut name_at = now.len() * ENTRY;
        block.clear();
        for entry in now {
            block.extend_from_slice(&entry.inode.to_le_bytes());
            block.extend_from_slice(&(name_at as u16).to_le_bytes());
            block.extend_from_slice(&[entry.kind, 0]);
            name_at += entry.name.len();
        }
        now.iter().for_each(|entry| block.extend_from_slice(entry.name));
        if !later.is_empty() {
            block.resize(BLOCK, 0);
        }
        sink(&block)?;
        rest = later;
    }
    Ok(())
}

/// Reads one block of a directory into `entries`, or says what is wrong with it.
pub(super) fn read<'a>(block: &'a [u8], entries: &mut Vec<Entry<'a>>) -> Result<(), &'static str> {
    const WRONG: &str = "a directory is wrong";
    let names = usize::from(u16_at(block, 8).ok_or(WRONG)?);
    if names < ENTRY || !names.is_multiple_of(ENTRY) || names > block.len() {
        return Err(WRONG);
    }
    for at in (0..names).step_by(ENTRY) {
        let start = usize::from(u16_at(block, at + 8).ok_or(WRONG)?);
        let name = if at + ENTRY < names {
            let end = usize::from(u16_at(block, at + ENTRY + 8).ok_or(WRONG)?);
            block.get(start..end).ok_or(WRONG)?
        } else {
            let rest = block.get(start..).ok_or(WRONG)?;
            rest.split(|byte| *byte == 0).next().unwrap_or(rest)
        };
        let ascends = entries.last().is_none_or(|last: &Entry<'_>| last.name < name);
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) || name.contains(&b'/') || !ascends {
            return Err(WRONG);
        }
        let inode = u64_at(block, at).ok_or(WRONG)?;
        entries.push(Entry { name, inode, kind: *block.get(at + 10).ok_or(WRONG)? });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_of_the_size_told() {
        for (count, width) in [(1, 1), (2, 255), (15, 255), (16, 255), (400, 7), (5000, 30), (2, 3)] {
            let names: Vec<String> = (0..count).map(|number| format!("{number:0width$}")).collect();
            let entries: Vec<Entry<'_>> =
                names.iter().zip(1..).map(|(name, inode)| Entry { name: name.as_bytes(), inode, kind: 2 }).collect();
            let mut all = Vec::new();
            write(&entries, |block| {
                all.extend_from_slice(block);
                Ok::<(), ()>(())
            })
            .unwrap();
            assert_eq!(all.len() as u64, size(names.iter().map(String::len)), "{count} names of {width}");
            let mut back = Vec::new();
            all.chunks(BLOCK).for_each(|block| read(block, &mut back).unwrap());
            assert_eq!(back, entries);
        }
    }

    #[test]
    fn directories_that_are_none() {
        let block = |names: &[&str]| {
            let entries: Vec<_> = names.iter().map(|name| Entry { name: name.as_bytes(), inode: 1, kind: 1 }).collect();
            let mut all = Vec::new();
            write(&entries, |block| {
                all.extend_from_slice(block);
                Ok::<(), ()>(())
            })
            .unwrap();
            all
        };
        let long = "n".repeat(256);
        let mut outside = block(&["a", "b"]);
        outside[8 + ENTRY] = 200;
        let mut odd = block(&["a", "b"]);
        odd[8] = 13;
        let table = [
            ("good", block(&[".", "..", "a"]), true),
            ("descending", block(&["b", "a"]), false),
            ("twice", block(&["a", "a"]), false),
            ("a slash", block(&["a/b"]), false),
            ("too long", block(&[&long]), false),
            ("no name", block(&["", "a"]), false),
            ("a name outside", outside, false),
            ("half an entry", odd, false),
            ("nothing", vec![], false),
            ("zeros", vec![0; BLOCK], false),
        ];
        for (what, block, good) in table {
            assert_eq!(read(&block, &mut Vec::new()).is_ok(), good, "{what}");
        }
    }
}
