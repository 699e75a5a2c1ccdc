//! Files by chunks: those with holes, and in a merged image all, for only a map of chunks can name another device.
//!
//! Behind the inode lies one index of eight bytes for each chunk: the device and the first block, or that it is a hole.
//! All chunks of a file but the last are of one size, which is as large as its holes allow: a file that lies in one
//! piece has one index, however large it is (up to 8 TiB).

use super::format::{BLOCK, HOLE, u16_at, u32_at};
use super::tree::{Content, Place, Run};

/// Bytes of an index.
pub(super) const INDEX: usize = 8;
/// The bit of a format that says that there are indexes, not bare block numbers.
const INDEXES: u32 = 0x20;
/// The bits of a format that hold the size of a chunk, in blocks, as a power of two.
const BITS: u32 = 0x1f;
/// More indexes than this, and the chunks of a file with holes are made larger, holes or not.
const INDEXES_MAX: u64 = 1 << 16;

/// Blocks of this many bytes.
pub(super) fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64)
}

/// How many blocks, as a power of two, a chunk of a file of this size has at least: or a file with one byte at its far
/// end would have a map that is larger than a disk.
pub(super) fn least_bits(size: u64) -> u32 {
    let wanted = blocks(size).div_ceil(INDEXES_MAX).max(1);
    wanted.next_power_of_two().trailing_zeros().min(BITS)
}

/// How many blocks, as a power of two, a chunk has.
fn bits(content: &Content) -> u32 {
    let all = blocks(content.size);
    let whole = all.max(1).next_power_of_two().trailing_zeros().min(BITS);
    let Place::Runs(runs) = &content.place else { return whole };
    let borders = runs.iter().flat_map(|run| [run.at, run.at + u64::from(run.blocks)]);
    borders.filter(|border| *border < all && *border > 0).map(u64::trailing_zeros).fold(whole, u32::min)
}

/// How many chunks the file is told by; 0 when it is told by its first block.
pub(super) fn count(content: &Content) -> u64 {
    match content.place {
        Place::From(_) if content.device == 0 || content.size == 0 => 0,
        _ => blocks(content.size).div_ceil(1 << bits(content)),
    }
}

/// What an inode says of its chunks.
pub(super) fn format(content: &Content) -> u32 {
    INDEXES | bits(content)
}

/// Calls `sink` with each index.
pub(super) fn write<E>(content: &Content, mut sink: impl FnMut([u8; INDEX]) -> Result<(), E>) -> Result<(), E> {
    let bits = bits(content);
    let whole;
    let runs = match &content.place {
        Place::Runs(runs) => runs.as_ref(),
        Place::From(from) => {
            whole = [Run { at: 0, blocks: u32::MAX, from: *from }];
            &whole
        }
    };
    let mut runs = runs.iter().peekable();
    for chunk in 0..count(content) {
        let at = chunk << bits;
        while runs.next_if(|run| run.at + u64::from(run.blocks) <= at).is_some() {}
        let block = match runs.peek() {
            Some(run) if run.at <= at => run.from + (at - run.at) as u32,
            _ => HOLE,
        };
        let device = if block == HOLE { 0 } else { content.device };
        let mut index = [0; INDEX];
        index[2..4].copy_from_slice(&device.to_le_bytes());
        index[4..].copy_from_slice(&block.to_le_bytes());
        sink(index)?;
    }
    Ok(())
}

/// Reads the runs of a file in a layer, all blocks of which lie before `end`. `indexes` begins with the file's.
pub(super) fn read(size: u64, format: u32, indexes: &[u8], end: u32) -> Result<Box<[Run]>, &'static str> {
    const WRONG: &str = "a file's map of holes is wrong";
    if format & !BITS != INDEXES {
        return Err(WRONG);
    }
    let bits = format & BITS;
    let (all, length) = (blocks(size), 1 << bits);
    let mut runs: Vec<Run> = Vec::new();
    let count = usize::try_from(all.div_ceil(length)).ok().and_then(|count| count.checked_mul(INDEX)).ok_or(WRONG)?;
    for (index, at) in indexes.get(..count).ok_or(WRONG)?.as_chunks::<INDEX>().0.iter().zip((0..).step_by(1 << bits)) {
        let (device, from) = (u16_at(index, 2).ok_or(WRONG)?, u32_at(index, 4).ok_or(WRONG)?);
        if from == HOLE {
            continue;
        }
        let blocks = u32::try_from(length.min(all - at)).map_err(|_| WRONG)?;
        if device != 0 || from == 0 || from.checked_add(blocks).is_none_or(|after| after > end) {
            return Err(WRONG);
        }
        match runs.last_mut() {
            Some(run) if run.at + u64::from(run.blocks) == at && run.from.checked_add(run.blocks) == Some(from) => {
                run.blocks = run.blocks.checked_add(blocks).ok_or(WRONG)?;
            }
            _ => runs.push(Run { at, blocks, from }),
        }
    }
    Ok(runs.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(size: u64, device: u16, place: Place) -> Content {
        Content { size, device, place }
    }

    #[test]
    fn a_file_in_one_piece_has_one_index() {
        for size in [1, 4096, 4097, 1 << 20, (5 << 30) + 1, 8 << 40] {
            let file = content(size, 3, Place::From(77));
            assert_eq!(count(&file), 1, "{size}");
            write(&file, |index| {
                assert_eq!(index, [0, 0, 3, 0, 77, 0, 0, 0]);
                Ok::<(), ()>(())
            })
            .unwrap();
        }
        assert_eq!(count(&content((8 << 40) + 1, 3, Place::From(77))), 2);
        assert_eq!(count(&content(0, 3, Place::From(0))), 0);
        assert_eq!(count(&content(1 << 40, 0, Place::From(5))), 0);
    }

    #[test]
    fn runs_that_are_written_are_read() {
        let run = |at, blocks, from| Run { at, blocks, from };
        let table: [(u64, Vec<Run>, u64); 6] = [
            (1 << 30, vec![], 1),
            (16 * 4096, vec![run(8, 8, 5)], 2),
            (16 * 4096 - 1, vec![run(0, 4, 5), run(12, 4, 9)], 4),
            (7 * 4096, vec![run(3, 1, 5)], 7),
            (64 * 4096, vec![run(0, 32, 1), run(48, 16, 33)], 4),
            (9 * 4096, vec![run(0, 4, 1), run(4, 4, 6)], 3),
        ];
        for (size, runs, expected) in table {
            let file = content(size, 0, Place::Runs(runs.clone().into()));
            assert_eq!(count(&file), expected, "{runs:?}");
            let mut indexes = Vec::new();
            write(&file, |index| {
                indexes.extend_from_slice(&index);
                Ok::<(), ()>(())
            })
            .unwrap();
            assert_eq!(read(size, format(&file), &indexes, 100).as_deref(), Ok(runs.as_slice()));
            assert!(runs.is_empty() || read(size, format(&file), &indexes, 5).is_err());
            assert!(read(size, format(&file), &indexes[..indexes.len() - 1], 100).is_err());
        }
    }

    #[test]
    fn the_largest_file_has_a_map_of_a_bearable_size() {
        assert_eq!(least_bits(256 << 20), 0);
        assert_eq!(least_bits((256 << 20) + 1), 1);
        let largest = i64::MAX as u64;
        assert!(blocks(largest) >> least_bits(largest) <= 1 << 20);
    }
}
