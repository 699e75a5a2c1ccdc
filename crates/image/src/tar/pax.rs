//! PAX extended headers: records `LENGTH KEY=VALUE\n`, the length counting all of itself.
//!
//! Only the keys that change what is unpacked are kept; an empty value takes a key back to what the header says, as the
//! standard has it. Of a key that comes twice the last counts. [POSIX pax(1), "pax Extended Header"]

use super::{Time, sparse};

/// What the records of one header, or of several laid over each other, say.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse_name: Option<Vec<u8>>,
    pub(super) sparse: sparse::Pax,
    /// Keys that this header empties, which hides what an earlier header said of them.
    emptied: Vec<Vec<u8>>,
}

impl Records {
    pub(super) fn parse(mut content: &[u8]) -> Result<Records, &'static str> {
        let mut records = Records::default();
        while !content.is_empty() {
            // Some writers fill the header up with NULs and count them.
            if content.iter().all(|byte| *byte == 0) {
                break;
            }
            let space = content.iter().position(|byte| *byte == b' ').ok_or("a record without a length")?;
            let length = decimal(&content[..space]).ok_or("a record whose length is no number")?;
            let length = usize::try_from(length).map_err(|_| "a record longer than the header")?;
            let record = content.get(space + 1..length).ok_or("a record longer than the header or than it says")?;
            let record = record.strip_suffix(b"\n").ok_or("a record that does not end with a newline")?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or("a record without `=`")?;
            records.set(&record[..equals], &record[equals + 1..])?;
            content = &content[length..];
        }
        Ok(records)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if value.is_empty() && !key.starts_with(XATTR) {
            self.empty(key);
            self.emptied.push(key.to_vec());
            return Ok(());
        }
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.linkpath = Some(value.to_vec()),
            b"size" => self.size = Some(file_size(value).ok_or("a size that is no number or too large")?),
            b"uid" => self.uid = Some(decimal(value).ok_or("a uid that is no number")?),
            b"gid" => self.gid = Some(decimal(value).ok_or("a gid that is no number")?),
            b"mtime" => self.mtime = Some(time(value).ok_or("an mtime that is no number")?),
            b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
            key => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    if self.xattrs.len() >= XATTRS_MAX {
                        return Err("more extended attributes than a file can have");
                    }
                    self.xattrs.retain(|(earlier, _)| earlier != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn empty(&mut self, key: &[u8]) {
        match key {
            b"path" => self.path = None,
            b"linkpath" => self.linkpath = None,
            b"size" => self.size = None,
            b"uid" => self.uid = None,
            b"gid" => self.gid = None,
            b"mtime" => self.mtime = None,
            b"GNU.sparse.name" => self.sparse_name = None,
            _ => {}
        }
    }

    /// True when something is said that can be true of one entry only.
    pub(super) fn names_one_entry(&self) -> bool {
        self.path.is_some()
            || self.linkpath.is_some()
            || self.size.is_some()
            || self.sparse_name.is_some()
            || !self.sparse.is_none()
            || !self.xattrs.is_empty()
    }

    /// These (global) records with `local` ones laid over them.
    pub(super) fn overridden_by(mut self, local: Records) -> Records {
        for key in &local.emptied {
            self.empty(key);
        }
        Records {
            path: local.path.or(self.path),
            linkpath: local.linkpath.or(self.linkpath),
            size: local.size.or(self.size),
            uid: local.uid.or(self.uid),
            gid: local.gid.or(self.gid),
            mtime: local.mtime.or(self.mtime),
            xattrs: local.xattrs,
            sparse_name: local.sparse_name.or(self.sparse_name),
            sparse: local.sparse,
            emptied: Vec::new(),
        }
    }
}

const XATTR: &[u8] = b"SCHILY.xattr.";

/// The most extended attributes of one entry: no file system of Linux holds as many.
const XATTRS_MAX: usize = 1024;

/// Decimal digits and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// A size or an offset in a file: at most 63 bits.
pub(super) fn file_size(text: &[u8]) -> Option<u64> {
    decimal(text).filter(|size| i64::try_from(*size).is_ok())
}

/// Seconds with an optional sign and fraction; digits past nanoseconds are cut off, toward the past.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanoseconds = 0;
    let mut cut_off = false;
    let mut unit = 100_000_000;
    for digit in parts.next().unwrap_or_default() {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = u32::from(digit - b'0');
        nanoseconds += digit * unit;
        cut_off |= unit == 0 && digit != 0;
        unit /= 10;
    }
    if !negative {
        return Some(Time { seconds, nanoseconds });
    }
    nanoseconds += u32::from(cut_off);
    match nanoseconds {
        0 => Some(Time { seconds: -seconds, nanoseconds: 0 }),
        // -1.25 is two seconds before, and 0.75 on.
        some => Some(Time { seconds: (-seconds).checked_sub(1)?, nanoseconds: 1_000_000_000 - some }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let table: [(&str, Option<(i64, u32)>); 11] = [
            ("0", Some((0, 0))),
            ("1700000000.123456789", Some((1_700_000_000, 123_456_789))),
            ("1.5", Some((1, 500_000_000))),
            ("1.", Some((1, 0))),
            ("1.0000000019", Some((1, 1))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-1", Some((-1, 0))),
            ("-0.0000000001", Some((-1, 999_999_999))),
            ("99999999999999999999", None),
            ("1.5x", None),
            (".5", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(seconds, nanoseconds)| Time { seconds, nanoseconds });
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn records_that_are_none() {
        let table: [&[u8]; 9] = [
            b"5",
            b"x a=b\n",
            b"99 a=b\n",
            b"6 a=b ",
            b"6 aab\n",
            b"0 a=b\n",
            b"1 a=b\n",
            b"99999999999999999999 a=b\n",
            b"11 size=-1\n",
        ];
        for content in table {
            assert!(Records::parse(content).is_err(), "{}", content.escape_ascii());
        }
    }

    #[test]
    fn the_last_of_a_key_counts_and_an_empty_one_takes_it_back() {
        let records = Records::parse(b"10 path=a\n10 path=b\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"b"[..]));
        let global = Records::parse(b"9 uid=77\n9 gid=88\n").unwrap();
        let both = global.overridden_by(Records::parse(b"7 uid=\n").unwrap());
        assert_eq!((both.uid, both.gid), (None, Some(88)));
    }

    #[test]
    fn attribute_values_may_hold_anything() {
        let records = Records::parse(b"28 SCHILY.xattr.user.a=\0\n=\xff\n").unwrap();
        assert_eq!(records.xattrs, [(b"user.a".to_vec(), b"\0\n=\xff".to_vec())]);
    }
}
