//! Lines out of what a pipe gives, however it was cut.
//!
//! A line of more than [`LONGEST`] bytes becomes several pieces, cut where a character of UTF-8 ends. Where they are cut
//! depends on the line alone, not on how it came through the pipe.

use super::scan;

/// The longest piece, as Docker's: what a line without end can take of our memory.
pub(super) const LONGEST: usize = 16 * 1024;

/// What of one stream waits for its newline.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<u8>);

impl Held {
    /// Takes bytes, and gives each piece away, with whether its newline followed.
    pub(super) fn take(&mut self, bytes: &[u8], mut give: impl FnMut(&[u8], bool)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match scan::newline(rest) {
                Some(at) => {
                    self.text(&rest[..at], true, &mut give);
                    rest = &rest[at + 1..];
                }
                None => return self.text(rest, false, &mut give),
            }
        }
    }

    /// Gives away what never got a newline.
    pub(super) fn finish(&mut self, mut give: impl FnMut(&[u8], bool)) {
        if !self.0.is_empty() {
            give(&self.0, false);
            self.0.clear();
        }
    }

    /// A part of one line.
    fn text(&mut self, mut text: &[u8], ends: bool, give: &mut impl FnMut(&[u8], bool)) {
        while !self.0.is_empty() {
            // One byte more than a piece can have: that one shows where to cut.
            let more = text.len().min(LONGEST + 1 - self.0.len());
            self.0.extend_from_slice(&text[..more]);
            text = &text[more..];
            if self.0.len() <= LONGEST {
                if ends {
                    give(&self.0, true);
                    self.0.clear();
                }
                return;
            }
            let cut = cut(&self.0);
            give(&self.0[..cut], false);
            self.0.drain(..cut);
        }
        while text.len() > LONGEST {
            let (piece, rest) = text.split_at(cut(text));
            give(piece, false);
            text = rest;
        }
        if ends {
            give(text, true);
        } else {
            self.0.extend_from_slice(text);
        }
    }
}

/// Where to cut a text that is too long: before the character that does not fit whole.
fn cut(text: &[u8]) -> usize {
    let starts = |at: &usize| text[*at] & 0xc0 != 0x80;
    // No character is longer than four bytes; where none begins it is no UTF-8.
    (LONGEST - 3..=LONGEST).rev().find(starts).unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of `text` when the pipe gives it in pieces of `step` bytes.
    fn pieces(text: &[u8], step: usize) -> Vec<(Vec<u8>, bool)> {
        let (mut held, mut pieces) = (Held::default(), Vec::new());
        for bytes in text.chunks(step) {
            held.take(bytes, |piece, ends| pieces.push((piece.to_vec(), ends)));
            assert!(held.0.len() <= LONGEST);
        }
        held.finish(|piece, ends| pieces.push((piece.to_vec(), ends)));
        pieces
    }

    #[test]
    fn lines_and_pieces() {
        let long = |n| "x".repeat(n);
        let euro = |before: usize| format!("{}{}", long(before), "€".repeat(2));
        for (text, expected) in [
            ("", vec![]),
            ("a", vec![("a".to_owned(), false)]),
            ("a\n", vec![("a".to_owned(), true)]),
            ("\n", vec![(String::new(), true)]),
            ("a\n\nb\r\nc", vec![("a".into(), true), ("".into(), true), ("b\r".into(), true), ("c".into(), false)]),
            (&format!("{}\nb\n", long(LONGEST)), vec![(long(LONGEST), true), ("b".into(), true)]),
            (&long(LONGEST), vec![(long(LONGEST), false)]),
            (&format!("{}\n", long(LONGEST + 1)), vec![(long(LONGEST), false), (long(1), true)]),
            (
                &format!("{}\n", long(3 * LONGEST)),
                vec![(long(LONGEST), false), (long(LONGEST), false), (long(LONGEST), true)],
            ),
            // A character that ends with the piece, and those that do not.
            (&euro(LONGEST - 3), vec![(format!("{}€", long(LONGEST - 3)), false), ("€".into(), false)]),
            (&euro(LONGEST - 2), vec![(long(LONGEST - 2), false), ("€€".into(), false)]),
            (&euro(LONGEST - 1), vec![(long(LONGEST - 1), false), ("€€".into(), false)]),
            (&euro(LONGEST), vec![(long(LONGEST), false), ("€€".into(), false)]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(text, ends)| (text.into_bytes(), ends)).collect();
            for step in [1, 7, 4096, 65_536] {
                assert!(pieces(text.as_bytes(), step) == expected, "{} bytes by {step}", text.len());
            }
        }
    }

    #[test]
    fn what_is_no_utf8_is_cut_at_the_length() {
        let text = vec![0x80u8; LONGEST + 1];
        for step in [1, 65_536] {
            assert!(pieces(&text, step) == [(text[1..].to_vec(), false), (vec![0x80], false)], "{step}");
        }
    }
}
