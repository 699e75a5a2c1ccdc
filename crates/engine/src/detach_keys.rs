//! `--detach-keys`: what is typed to leave a program running and get the terminal back.

use crate::parse::ParseError;

/// The keys that end an attachment and leave the container running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    fn default() -> DetachKeys {
        // ctrl-p,ctrl-q
        DetachKeys(vec![16, 17])
    }
}

impl DetachKeys {
    /// No keys: nothing that is typed ends it.
    pub(crate) fn none() -> DetachKeys {
        DetachKeys(Vec::new())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys with commas between them: a character, or `ctrl-` and a letter or one of `@[\]^_`. Nothing is no keys.
    pub fn parse(text: &str) -> Result<DetachKeys, ParseError> {
        let key = |word: &str| match (word.strip_prefix("ctrl-"), word.as_bytes()) {
            (Some(key), _) => match key.as_bytes() {
                [letter @ (b'a'..=b'z' | b'A'..=b'Z')] => Some(letter.to_ascii_uppercase() - b'@'),
                [sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'@'),
                _ => None,
            },
            (None, [character]) if character.is_ascii() => Some(*character),
            _ => None,
        };
        let keys = if text.is_empty() { Some(Vec::new()) } else { text.split(',').map(key).collect() };
        keys.map(DetachKeys).ok_or_else(|| {
            ParseError::new(text, "write keys as ctrl-p,ctrl-q: a character, or ctrl- and one of a-z@[\\]^_")
        })
    }
}

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub(crate) struct Watcher {
    keys: Vec<u8>,
    /// How many of them have been typed in a row, and are held back.
    matched: usize,
}

impl Watcher {
    pub(crate) fn new(keys: &DetachKeys) -> Watcher {
        Watcher { keys: keys.0.clone(), matched: 0 }
    }

    /// What is to be passed on of it; true when all keys have come.
    pub(crate) fn pass(&mut self, typed: &[u8], on: &mut Vec<u8>) -> bool {
        for byte in typed {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return true;
                }
                continue;
            }
            // What was held back was meant for the program after all.
            on.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte) && !self.keys.is_empty());
            if self.matched == 0 {
                on.push(*byte);
            } else if self.keys.len() == 1 {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_by_their_names() {
        for (text, expected) in [
            ("ctrl-p,ctrl-q", Some(vec![16, 17])),
            ("ctrl-@,ctrl-[,ctrl-_", Some(vec![0, 27, 31])),
            ("a,b", Some(vec![b'a', b'b'])),
            ("", Some(Vec::new())),
            ("ctrl-", None),
            ("ctrl-1", None),
            ("ab", None),
            ("a,,b", None),
        ] {
            assert_eq!(DetachKeys::parse(text).ok().map(|keys| keys.0), expected, "{text}");
        }
    }

    #[test]
    fn only_all_keys_in_a_row_detach() {
        for (keys, typed, expected, leaves) in [
            ("ctrl-p,ctrl-q", &[b"ls\n".as_slice()][..], &b"ls\n"[..], false),
            ("ctrl-p,ctrl-q", &[b"a\x10\x11b"], b"a", true),
            ("ctrl-p,ctrl-q", &[b"a\x10", b"\x11"], b"a", true),
            ("ctrl-p,ctrl-q", &[b"a\x10", b"b"], b"a\x10b", false),
            ("ctrl-p,ctrl-q", &[b"\x10\x10\x11"], b"\x10", true),
            ("x", &[b"abxc"], b"ab", true),
            ("", &[b"abc"], b"abc", false),
        ] {
            let mut watcher = Watcher::new(&DetachKeys::parse(keys).unwrap());
            let mut on = Vec::new();
            let left = typed.iter().any(|typed| watcher.pass(typed, &mut on));
            assert_eq!((on.as_slice(), left), (expected, leaves), "{keys} {typed:?}");
        }
    }
}
