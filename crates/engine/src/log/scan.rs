//! Bytes looked for eight at a time: what a container prints is looked at byte by byte nowhere else.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;
const LOW: u64 = 0x7f * ONES;

/// The high bit of each byte that is zero, and of no other.
#[inline(always)]
const fn zeros(word: u64) -> u64 {
    !(((word & LOW) + LOW) | word | LOW)
}

/// The high bit of each byte that is `byte` once the bits of `beside` are left out of account.
#[inline(always)]
const fn equal(word: u64, byte: u8, beside: u8) -> u64 {
    zeros((word ^ (byte as u64 * ONES)) & !(beside as u64 * ONES))
}

/// Where the first byte is that `marks` marks.
#[inline(always)]
fn first(bytes: &[u8], marks: impl Fn(u64) -> u64) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let found = marks(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(n * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| marks(u64::from(*byte) * ONES) != 0)?;
    Some(words.len() * 8 + at)
}

/// The first newline.
pub(super) fn newline(bytes: &[u8]) -> Option<usize> {
    first(bytes, newlines)
}

/// The last newline.
pub(super) fn last_newline(bytes: &[u8]) -> Option<usize> {
    let (rest, words) = bytes.as_rchunks::<8>();
    for (n, word) in words.iter().enumerate().rev() {
        let found = newlines(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(rest.len() + n * 8 + 7 - found.leading_zeros() as usize / 8);
        }
    }
    rest.iter().rposition(|byte| *byte == b'\n')
}

/// How many bytes at the beginning stand in a text of JSON as they are, as Docker writes it: ASCII, no control
/// characters, none of `"\<>&`.
pub(super) fn plain(bytes: &[u8]) -> usize {
    first(bytes, specials).unwrap_or(bytes.len())
}

/// Where a text of JSON ends or has an escape: the first `"` or `\`.
pub(super) fn quote_or_escape(bytes: &[u8]) -> Option<usize> {
    first(bytes, quotes_and_escapes)
}

// Functions and no closures, so that they are inlined where the compiler is told to make things small: it is half the time.

#[inline(always)]
const fn newlines(word: u64) -> u64 {
    equal(word, b'\n', 0)
}

#[inline(always)]
const fn specials(word: u64) -> u64 {
    let control = zeros(word & (0xe0 * ONES));
    // `<` and `>` differ in one bit, and so do `"` and `&`.
    (word & HIGH) | control | equal(word, b'\\', 0) | equal(word, b'<', b'<' ^ b'>') | equal(word, b'"', b'"' ^ b'&')
}

#[inline(always)]
const fn quotes_and_escapes(word: u64) -> u64 {
    equal(word, b'"', 0) | equal(word, b'\\', 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of a text around the length of a word.
    fn everywhere(mut check: impl FnMut(&[u8], usize, u8)) {
        for length in 1..=27 {
            for at in 0..length {
                for byte in 0..=255 {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    check(&text, at, byte);
                }
            }
        }
    }

    #[test]
    fn each_byte_is_found_where_it_is_and_no_other() {
        everywhere(|text, at, byte| {
            let found = |is: bool| is.then_some(at);
            assert_eq!(newline(text), found(byte == b'\n'), "{text:?}");
            assert_eq!(last_newline(text), found(byte == b'\n'), "{text:?}");
            assert_eq!(quote_or_escape(text), found(matches!(byte, b'"' | b'\\')), "{text:?}");
            let special = !(32..128).contains(&byte) || b"\"\\<>&".contains(&byte);
            assert_eq!(plain(text), if special { at } else { text.len() }, "{text:?}");
        });
    }

    #[test]
    fn of_several_the_first_or_the_last() {
        for first in 0..20 {
            for last in first..20 {
                let mut text = [b'\x0b'; 20];
                (text[first], text[last]) = (b'\n', b'\n');
                assert_eq!((newline(&text), last_newline(&text)), (Some(first), Some(last)));
            }
        }
        assert_eq!((newline(b""), last_newline(b""), plain(b"")), (None, None, 0));
    }
}
