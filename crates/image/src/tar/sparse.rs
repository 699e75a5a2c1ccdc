//! Files with holes, in the four ways that GNU tar has told them: type `S`, and PAX versions 0.0, 0.1 and 1.0.
//!
//! However it was told, a map ends as a list of extents that ascend, do not overlap, lie within the file's size, and
//! add up to just the data that the archive holds. [GNU tar manual, "Storing Sparse Files"]

use super::header::{BLOCK, Header, unsigned};
use super::pax::{decimal, file_size};

/// The most extents that one file may have: 16 MiB of memory.
pub(super) const EXTENTS_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Where a file's data lies, and how long the file is.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) size: u64,
    pub(super) extents: Vec<Extent>,
}

impl Map {
    /// The start of a map in the header of an `S` entry, and whether blocks with more of it follow.
    pub(super) fn of_header(header: &Header<'_>) -> Result<(Map, bool), &'static str> {
        let block = header.bytes();
        let size = unsigned(&block[483..495]).ok_or("its size is no number")?;
        let mut map = Map { size, extents: Vec::new() };
        map.fields(&block[386..482])?;
        Ok((map, block[482] != 0))
    }

    /// Takes one more block of an `S` entry's map; whether yet another follows.
    pub(super) fn extend(&mut self, block: &[u8; BLOCK]) -> Result<bool, &'static str> {
        self.fields(&block[..504])?;
        Ok(block[504] != 0)
    }

    /// Pairs of number fields, an empty one ending them.
    fn fields(&mut self, fields: &[u8]) -> Result<(), &'static str> {
        for pair in fields.chunks_exact(24) {
            if pair[0] == 0 {
                break;
            }
            let offset = unsigned(&pair[..12]).ok_or("an offset is no number")?;
            let length = unsigned(&pair[12..]).ok_or("a length is no number")?;
            push(&mut self.extents, Extent { offset, length })?;
        }
        Ok(())
    }

    /// That the extents ascend within the file and take up exactly `stored` bytes.
    pub(super) fn check(&self, stored: u64) -> Result<(), &'static str> {
        let mut end = 0;
        let mut sum = 0u64;
        for extent in &self.extents {
            if extent.offset < end {
                return Err("its extents overlap or go backwards");
            }
            end = extent.offset.checked_add(extent.length).ok_or("an extent is too long")?;
            sum = sum.checked_add(extent.length).ok_or("its extents are too long")?;
        }
        if end > self.size {
            return Err("an extent lies past the end of the file");
        }
        if sum != stored {
            return Err("its extents do not add up to its data");
        }
        Ok(())
    }
}

fn push(extents: &mut Vec<Extent>, extent: Extent) -> Result<(), &'static str> {
    if extents.len() >= EXTENTS_MAX {
        return Err("it has more than a million extents");
    }
    extents.push(extent);
    Ok(())
}

/// What the `GNU.sparse.*` records of a PAX header say.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    version: (Option<u64>, Option<u64>),
    size: Option<u64>,
    numbers: Vec<u64>,
    any: bool,
}

impl Pax {
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        const NO_NUMBER: &str = "a GNU.sparse record that is no number";
        let number = || file_size(value).ok_or(NO_NUMBER);
        match key {
            b"major" => self.version.0 = Some(number()?),
            b"minor" => self.version.1 = Some(number()?),
            b"size" | b"realsize" => self.size = Some(number()?),
            // Version 0.0: one record for each number, in turn; whether the turns are kept is seen in the map.
            b"offset" if self.numbers.len().is_multiple_of(2) => self.numbers.push(number()?),
            b"numbytes" if !self.numbers.len().is_multiple_of(2) => self.numbers.push(number()?),
            b"offset" | b"numbytes" => return Err("GNU.sparse.offset and numbytes do not take turns"),
            b"map" => {
                self.numbers.clear();
                for text in value.split(|byte| *byte == b',') {
                    self.numbers.push(file_size(text).ok_or(NO_NUMBER)?);
                }
            }
            b"numblocks" => drop(number()?),
            _ => return Ok(()),
        }
        self.any = true;
        Ok(())
    }

    /// True when there was no such record.
    pub(super) fn is_none(&self) -> bool {
        !self.any
    }

    /// True when the map is at the start of the data.
    pub(super) fn is_version_1(&self) -> bool {
        self.version == (Some(1), Some(0))
    }

    /// The map that the records themselves hold, or `None` when the file has no holes.
    pub(super) fn version_0_map(self) -> Result<Option<Map>, &'static str> {
        if !self.any {
            return Ok(None);
        }
        if !matches!(self.version, (None, None) | (Some(0), Some(0 | 1))) {
            return Err("its GNU.sparse version is not known");
        }
        let size = self.size.ok_or("GNU.sparse.size is missing")?;
        Ok(Some(Map { size, extents: pairs(&self.numbers)? }))
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Extent>, &'static str> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("its map ends with half a pair");
    }
    let mut extents = Vec::with_capacity(pairs.len());
    for [offset, length] in pairs {
        push(&mut extents, Extent { offset: *offset, length: *length })?;
    }
    Ok(extents)
}

/// The map of a version 1.0 entry as it is read: a count of pairs, then each number on its line.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    expected: Option<usize>,
    numbers: Vec<u64>,
}

impl Lines {
    /// Takes one block of the map; true when it was the last.
    pub(super) fn take(&mut self, block: &[u8; BLOCK]) -> Result<bool, &'static str> {
        for byte in block {
            if self.expected == Some(self.numbers.len()) {
                return Ok(true);
            }
            match byte {
                b'\n' => {
                    let number = decimal(&self.partial).ok_or("its map has a line that is no number")?;
                    self.partial.clear();
                    match self.expected {
                        Some(_) => self.numbers.push(number),
                        None if number > EXTENTS_MAX as u64 => return Err("it has more than a million extents"),
                        None => self.expected = Some(number as usize * 2),
                    }
                }
                _ if self.partial.len() > 20 => return Err("its map has a line that is no number"),
                byte => self.partial.push(*byte),
            }
        }
        Ok(self.expected == Some(self.numbers.len()))
    }

    /// The whole map.
    pub(super) fn map(&self, records: &Pax) -> Result<Map, &'static str> {
        let size = records.size.ok_or("GNU.sparse.realsize is missing")?;
        Ok(Map { size, extents: pairs(&self.numbers)? })
    }
}
