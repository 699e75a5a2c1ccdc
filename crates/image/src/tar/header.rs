//! The 512 byte header of an entry: fields at fixed places, numbers as octal digits or base 256.
//!
//! Field places and sizes: POSIX pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".

use super::Time;

pub(super) const BLOCK: usize = 512;

/// The header in a block; nothing of it is believed before [`Header::checksum_matches`].
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Header<'a> {
        Header(block)
    }

    pub(super) fn bytes(&self) -> &[u8; BLOCK] {
        self.0
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// The sum of all bytes, those of the checksum itself taken as spaces. Some old writers summed signed bytes.
    pub(super) fn checksum_matches(&self) -> bool {
        let Some(told) = number(&self.0[148..156]) else { return false };
        let (mut unsigned, mut signed) = (8 * u32::from(b' '), 8 * i32::from(b' '));
        for byte in self.0[..148].iter().chain(&self.0[156..]) {
            unsigned += u32::from(*byte);
            signed += i32::from(*byte as i8);
        }
        told == i128::from(unsigned) || told == i128::from(signed)
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.0[156]
    }

    /// Prefix and name. GNU headers have other things where ustar has the prefix; star's end it after 131 bytes.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        if &self.0[257..263] != b"ustar\0" {
            return name.to_vec();
        }
        let prefix = match &self.0[508..] {
            b"tar\0" => until_nul(&self.0[345..476]),
            _ => until_nul(&self.0[345..500]),
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(&self.0[157..257]).to_vec()
    }

    /// Permission bits with setuid, setgid and sticky; some writers put the file type beside them.
    pub(super) fn mode(&self) -> Option<u64> {
        unsigned(&self.0[100..108]).map(|mode| mode & 0o7777)
    }

    pub(super) fn uid(&self) -> Option<u64> {
        unsigned(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<u64> {
        unsigned(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Option<u64> {
        unsigned(&self.0[124..136])
    }

    pub(super) fn mtime(&self) -> Option<Time> {
        let seconds = i64::try_from(number(&self.0[136..148])?).ok()?;
        Some(Time { seconds, nanoseconds: 0 })
    }

    pub(super) fn device(&self) -> Option<(u64, u64)> {
        Some((unsigned(&self.0[329..337])?, unsigned(&self.0[337..345])?))
    }
}

/// A number that must not be negative and, being a size or an offset in a file, fits 63 bits.
pub(super) fn unsigned(field: &[u8]) -> Option<u64> {
    number(field).and_then(|number| i64::try_from(number).ok()).and_then(|number| u64::try_from(number).ok())
}

/// A number field: octal digits between spaces, ended by a space or NUL, nothing at all being 0; or, with the first
/// bit set, two's complement in base 256 (GNU).
fn number(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // The second bit is the sign; at most 12 bytes, so 95 bits are enough.
        let start = i128::from(*first & 0x7f) - if first & 0x40 != 0 { 0x80 } else { 0 };
        return Some(rest.iter().fold(start, |sum, byte| sum * 256 + i128::from(*byte)));
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0, |sum: i128, digit| match digit {
        b'0'..=b'7' => Some(sum * 8 + i128::from(digit - b'0')),
        _ => None,
    })
}

/// The bytes before the first NUL, or all.
pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_notation() {
        let table: [(&[u8], Option<i128>); 11] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(1 << 33)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
        ];
        for (field, expected) in table {
            assert_eq!(number(field), expected, "{}", field.escape_ascii());
        }
        assert_eq!(unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(unsigned(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"), None, "64 bits are too many");
    }
}
