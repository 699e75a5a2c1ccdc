//! As much of protobuf's encoding as CRIU's messages need. [protobuf.dev, "Encoding"]
//!
//! A message is fields, one after the other: a number with the kind of value in its lowest three bits, then the value.
//! A field may be missing, be there twice (the last counts) or be one that nobody here knows.
//!
//! What is read comes from a program that has just read images which anybody may have written, so it is taken for
//! hostile: the reader borrows from the bytes it is given and allocates nothing, every length is checked against what
//! is left, and the first thing that makes no sense ends the reading with an error.

/// A message that is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Numbers of any width, booleans and enumerations.
    Number(u64),
    /// Strings, and messages inside messages.
    Bytes(&'a [u8]),
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The fields of a message, in their order. Ends after an error.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

impl Message {
    /// The encoded message.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn number(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    /// Negative ones take ten bytes: they are extended to 64 bits first.
    pub(crate) fn int(&mut self, field: u32, value: i32) {
        self.number(field, i64::from(value) as u64);
    }

    pub(crate) fn bool(&mut self, field: u32, value: bool) {
        self.number(field, u64::from(value));
    }

    pub(crate) fn text(&mut self, field: u32, value: &str) {
        self.put(field, value.as_bytes());
    }

    pub(crate) fn message(&mut self, field: u32, value: &Message) {
        self.put(field, value.bytes());
    }

    fn put(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn key(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl<'a> Fields<'a> {
    /// The fields of an encoded message.
    pub(crate) fn of(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = self.varint()?;
        let field = u32::try_from(key >> 3).ok().filter(|field| *field != 0)?;
        let value = match key & 7 {
            VARINT => Value::Number(self.varint()?),
            FIXED64 => Value::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            FIXED32 => Value::Number(u32::from_le_bytes(self.take(4)?.try_into().ok()?).into()),
            LENGTH => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            // Groups, which went out of use before CRIU was begun, and kinds that do not exist.
            _ => return None,
        };
        Some((field, value))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first, the eighth says that more follow; 64 bits at most.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

impl Value<'_> {
    pub(crate) fn as_bool(self) -> bool {
        matches!(self, Value::Number(number) if number != 0)
    }

    /// A 32-bit number, as protobuf narrows a longer one; none for what is no number.
    pub(crate) fn as_int(self) -> Option<i32> {
        match self {
            Value::Number(number) => Some(number as i32),
            Value::Bytes(_) => None,
        }
    }

    /// Text, with a sign in place of what is no UTF-8.
    pub(crate) fn as_text(self) -> String {
        match self {
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Number(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut inner = Message::default();
        inner.text(1, "key");
        let mut message = Message::default();
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            message.number(7, number);
        }
        message.int(536_870_911, -1);
        message.bool(2, true);
        message.text(3, "");
        message.message(27, &inner);
        let fields = read(message.bytes()).unwrap();
        let numbers: Vec<_> = fields.iter().filter(|(field, _)| *field == 7).map(|(_, value)| *value).collect();
        assert_eq!(numbers, [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX].map(Value::Number));
        assert_eq!(fields[7].0, 536_870_911);
        assert_eq!(fields[7].1.as_int(), Some(-1));
        assert!(fields[8].1.as_bool());
        assert_eq!(fields[9], (3, Value::Bytes(b"")));
        assert_eq!(fields[10], (27, Value::Bytes(inner.bytes())));
        assert_eq!(read(inner.bytes()).unwrap()[0].1.as_text(), "key");
    }

    #[test]
    fn hostile_bytes_are_an_error_and_nothing_else() {
        let cases: &[(&str, &[u8])] = &[
            ("a key without a value", b"\x08"),
            ("a key that does not end", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("a number that does not end", b"\x08\x80\x80"),
            ("a number of 65 bits", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
            ("a number of eleven bytes", b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"),
            ("field 0", b"\x00\x01"),
            ("a field number beyond 32 bits", b"\x80\x80\x80\x80\x80\x80\x01\x01"),
            ("a length beyond the end", b"\x0a\x05abcd"),
            ("a length of 2^64 - 1", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            ("a length of 2^63", b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01abc"),
            ("eight bytes of which seven are there", b"\x09abcdefg"),
            ("four bytes of which three are there", b"\x0dabc"),
            ("the beginning of a group", b"\x0b\x08\x01\x0c"),
            ("the end of a group", b"\x0c"),
            ("a kind that there is not", b"\x0e\x01"),
            ("another kind that there is not", b"\x0f"),
        ];
        for (name, bytes) in cases {
            assert_eq!(read(bytes), Err(Malformed), "{name}");
        }
    }

    #[test]
    fn every_beginning_and_every_changed_byte_of_a_message_ends_the_reading() {
        let mut inner = Message::default();
        inner.text(1, "orphan-pts-master");
        inner.int(2, -7);
        let mut message = Message::default();
        message.number(1, 6);
        message.bool(2, true);
        message.message(5, &inner);
        message.text(9, "why");
        let whole = message.bytes();
        // Every field takes at least two bytes, so there is a bound on how many come out.
        let count = |bytes: &[u8]| assert!(Fields::of(bytes).count() <= bytes.len().div_ceil(2));
        for length in 0..whole.len() {
            count(&whole[..length]);
        }
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.to_vec();
                changed[at] = byte;
                count(&changed);
            }
        }
    }

    #[test]
    fn random_bytes_end_the_reading() {
        // xorshift64, so that a failure comes again.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut bytes = [0u8; 64];
        for _ in 0..20_000 {
            for byte in &mut bytes {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state as u8;
            }
            assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
