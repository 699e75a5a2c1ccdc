//! Values of D-Bus, and their bytes on the wire (D-Bus specification, "Type System" and "Wire Format").
//!
//! What is read comes from another process: every length is held against what is there, nesting is bounded, and a
//! signature is read before anything is trusted to follow it. What is written is ours, and little-endian.

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Byte(u8),
    Bool(bool),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F64(f64),
    Str(String),
    Path(String),
    Signature(String),
    /// The type of its elements, which an empty one has too.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Entry(Box<Value>, Box<Value>),
    Variant(Box<Value>),
}

/// The specification's: 32 arrays and 32 structs; variants count too.
const DEEPEST: usize = 64;
/// The specification's limit of an array is 64 MiB; nothing that we read is near this.
const LONGEST: usize = 4 << 20;

impl Value {
    pub(crate) fn str(text: &str) -> Self {
        Self::Str(text.to_owned())
    }

    /// The type, as it stands in signatures.
    pub(crate) fn signature(&self) -> String {
        match self {
            Self::Byte(_) => "y".into(),
            Self::Bool(_) => "b".into(),
            Self::I16(_) => "n".into(),
            Self::U16(_) => "q".into(),
            Self::I32(_) => "i".into(),
            Self::U32(_) => "u".into(),
            Self::I64(_) => "x".into(),
            Self::U64(_) => "t".into(),
            Self::F64(_) => "d".into(),
            Self::Str(_) => "s".into(),
            Self::Path(_) => "o".into(),
            Self::Signature(_) => "g".into(),
            Self::Array(of, _) => format!("a{of}"),
            Self::Struct(parts) => format!("({})", parts.iter().map(Value::signature).collect::<String>()),
            Self::Entry(key, value) => format!("{{{}{}}}", key.signature(), value.signature()),
            Self::Variant(_) => "v".into(),
        }
    }
}

/// How a type is aligned, by the first letter of its signature.
fn alignment(of: u8) -> usize {
    match of {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4,
    }
}

/// Appends values to a message or body, whose first byte is aligned.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn text(&mut self, text: &str) {
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(crate) fn put(&mut self, value: &Value) {
        self.align(alignment(value.signature().as_bytes()[0]));
        match value {
            Value::Byte(n) => self.0.push(*n),
            Value::Bool(b) => self.0.extend(u32::from(*b).to_le_bytes()),
            Value::I16(n) => self.0.extend(n.to_le_bytes()),
            Value::U16(n) => self.0.extend(n.to_le_bytes()),
            Value::I32(n) => self.0.extend(n.to_le_bytes()),
            Value::U32(n) => self.0.extend(n.to_le_bytes()),
            Value::I64(n) => self.0.extend(n.to_le_bytes()),
            Value::U64(n) => self.0.extend(n.to_le_bytes()),
            Value::F64(n) => self.0.extend(n.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => self.text(text),
            Value::Signature(text) => {
                self.0.push(text.len() as u8);
                self.0.extend(text.as_bytes());
                self.0.push(0);
            }
            Value::Array(of, items) => {
                let length = self.0.len();
                self.0.extend([0; 4]);
                // The padding before the first element does not count.
                self.align(alignment(of.as_bytes().first().copied().unwrap_or(b'y')));
                let first = self.0.len();
                items.iter().for_each(|item| self.put(item));
                let bytes = (self.0.len() - first) as u32;
                self.0[length..length + 4].copy_from_slice(&bytes.to_le_bytes());
            }
            Value::Struct(parts) => parts.iter().for_each(|part| self.put(part)),
            Value::Entry(key, value) => {
                self.put(key);
                self.put(value);
            }
            Value::Variant(inner) => {
                self.put(&Value::Signature(inner.signature()));
                self.put(inner);
            }
        }
    }
}

/// The length of the one complete type that a signature begins with. None when there is none.
fn complete_type(signature: &[u8], depth: usize) -> Option<usize> {
    if depth > DEEPEST {
        return None;
    }
    match *signature.first()? {
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => Some(1),
        b'a' if signature.get(1) == Some(&b'{') => {
            let key = complete_type(&signature[2..], depth + 1).filter(|&length| length == 1)?;
            let value = complete_type(signature.get(2 + key..)?, depth + 1)?;
            let end = 2 + key + value;
            (signature.get(end) == Some(&b'}')).then_some(end + 1)
        }
        b'a' => Some(1 + complete_type(&signature[1..], depth + 1)?),
        b'(' => {
            let mut at = 1;
            while *signature.get(at)? != b')' {
                at += complete_type(&signature[at..], depth + 1)?;
            }
            // An empty struct would take no bytes, and an array of them no end.
            (at > 1).then_some(at + 1)
        }
        _ => None,
    }
}

/// True for what can stand in a variant.
pub(crate) fn is_one_type(signature: &str) -> bool {
    complete_type(signature.as_bytes(), 0) == Some(signature.len())
}

/// Reads values from bytes of which the first is aligned. None at anything that the specification does not allow.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], big_endian: bool) -> Self {
        Self { bytes, at: 0, big_endian }
    }

    /// All values of a signature.
    pub(crate) fn all(&mut self, signature: &str) -> Option<Vec<Value>> {
        let mut rest = signature.as_bytes();
        let mut values = Vec::new();
        while !rest.is_empty() {
            let length = complete_type(rest, 0)?;
            values.push(self.one(&rest[..length], 0)?);
            rest = &rest[length..];
        }
        Some(values)
    }

    pub(crate) fn align(&mut self, to: usize) -> Option<()> {
        let at = self.at.checked_next_multiple_of(to).filter(|&at| at <= self.bytes.len())?;
        self.at = at;
        Some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N)?;
        let mut bytes: [u8; N] = self.take(N)?.try_into().ok()?;
        if self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let text = self.take(length)?;
        (self.take(1)? == [0] && !text.contains(&0)).then_some(())?;
        String::from_utf8(text.to_vec()).ok()
    }

    /// One value of one complete type.
    fn one(&mut self, signature: &[u8], depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        Some(match *signature.first()? {
            b'y' => Value::Byte(self.take(1)?[0]),
            b'b' => match self.u32()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return None,
            },
            b'n' => Value::I16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::U16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::I32(i32::from_le_bytes(self.number()?)),
            // `h` is an index of a descriptor, of which we take none.
            b'u' | b'h' => Value::U32(self.u32()?),
            b'x' => Value::I64(i64::from_le_bytes(self.number()?)),
            b't' => Value::U64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::F64(f64::from_le_bytes(self.number()?)),
            b's' => {
                let length = self.u32()? as usize;
                Value::Str(self.text(length)?)
            }
            b'o' => {
                let length = self.u32()? as usize;
                Value::Path(self.text(length)?)
            }
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let inner = self.signature().filter(|inner| is_one_type(inner))?;
                Value::Variant(Box::new(self.one(inner.as_bytes(), depth + 1)?))
            }
            b'a' => self.array(&signature[1..], depth)?,
            b'(' => {
                self.align(8)?;
                Value::Struct(self.several(signature.get(1..signature.len() - 1)?, depth)?)
            }
            b'{' => {
                self.align(8)?;
                let mut pair = self.several(signature.get(1..signature.len() - 1)?, depth)?.into_iter();
                Value::Entry(Box::new(pair.next()?), Box::new(pair.next()?))
            }
            _ => return None,
        })
    }

    fn several(&mut self, mut signature: &[u8], depth: usize) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let length = complete_type(signature, depth)?;
            values.push(self.one(&signature[..length], depth + 1)?);
            signature = &signature[length..];
        }
        Some(values)
    }

    fn array(&mut self, of: &[u8], depth: usize) -> Option<Value> {
        let length = self.u32()? as usize;
        if length > LONGEST {
            return None;
        }
        self.align(alignment(*of.first()?))?;
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len())?;
        let mut items = Vec::new();
        while self.at < end {
            items.push(self.one(of, depth + 1)?);
        }
        (self.at == end).then(|| Value::Array(String::from_utf8_lossy(of).into_owned(), items))
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.take(1)?[0].into();
        self.text(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<Value> {
        let entry = |key: &str, value: Value| {
            Value::Entry(Box::new(Value::str(key)), Box::new(Value::Variant(Box::new(value))))
        };
        vec![
            Value::Byte(7),
            Value::Bool(true),
            Value::I16(-2),
            Value::U16(65535),
            Value::I32(-3),
            Value::U32(4),
            Value::I64(-5),
            Value::U64(u64::MAX),
            Value::F64(1.5),
            Value::str("grüß"),
            Value::Path("/a/b".into()),
            Value::Signature("a{sv}".into()),
            Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)]),
            Value::Array("(ss)".into(), vec![]),
            Value::Array("t".into(), vec![Value::U64(1)]),
            Value::Struct(vec![Value::Byte(1), Value::Struct(vec![Value::str("x"), Value::U64(2)])]),
            Value::Array(
                "{sv}".into(),
                vec![entry("k", Value::Bool(false)), entry("l", Value::Array("y".into(), vec![Value::Byte(9)]))],
            ),
            Value::Variant(Box::new(Value::Variant(Box::new(Value::I32(1))))),
        ]
    }

    #[test]
    fn values_come_back_as_they_were() {
        let values = examples();
        let signature: String = values.iter().map(Value::signature).collect();
        let mut writer = Writer::default();
        values.iter().for_each(|value| writer.put(value));
        assert_eq!(Reader::new(&writer.0, false).all(&signature), Some(values));
    }

    /// The bytes of the specification's own examples.
    #[test]
    fn bytes_are_those_of_the_specification() {
        let cases: &[(Vec<Value>, &[u8])] = &[
            (
                vec![Value::str("foo"), Value::str("+"), Value::str("bar")],
                b"\x03\0\0\0foo\0\x01\0\0\0+\0\0\0\x03\0\0\0bar\0",
            ),
            (vec![Value::Array("x".into(), vec![Value::I64(5)])], b"\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0"),
            (vec![Value::Variant(Box::new(Value::U32(1)))], b"\x01u\0\0\x01\0\0\0"),
        ];
        for (values, bytes) in cases {
            let mut writer = Writer::default();
            values.iter().for_each(|value| writer.put(value));
            assert_eq!(writer.0, *bytes, "{values:?}");
        }
        assert_eq!(Reader::new(b"\0\0\0\x03foo\0", true).all("s"), Some(vec![Value::str("foo")]));
    }

    #[test]
    fn what_is_not_allowed_is_no_value() {
        let cases: &[(&str, &str, &[u8])] = &[
            ("nothing", "u", b""),
            ("cut short", "u", b"\0\0\0"),
            ("a string longer than all", "s", b"\xff\xff\xff\xffx\0"),
            ("a string without its end", "s", b"\x01\0\0\0xy"),
            ("a NUL in a string", "s", b"\x03\0\0\0a\0b\0"),
            ("no UTF-8", "s", b"\x01\0\0\0\xff\0"),
            ("a boolean of 2", "b", b"\x02\0\0\0"),
            ("an array longer than all", "au", b"\xff\xff\0\0"),
            ("an array that ends inside an element", "au", b"\x06\0\0\0\0\0\0\0\0\0\0\0"),
            ("a variant of two types", "v", b"\x02yy\0\x01\x01"),
            ("a variant of none", "v", b"\0\0"),
            ("an unknown type", "z", b"\0\0\0\0"),
            ("an empty struct", "a()", b"\x01\0\0\0\0\0\0\0\0"),
            ("an entry outside of an array", "{sv}", b"\0\0\0\0\0\0\0\0"),
            ("an open struct", "(u", b"\0\0\0\0"),
            ("an array of nothing", "a", b"\0\0\0\0"),
        ];
        for (name, signature, bytes) in cases {
            assert_eq!(Reader::new(bytes, false).all(signature), None, "{name}");
        }
        let deep = "a".repeat(100) + "y";
        assert_eq!(Reader::new(&[0; 1000], false).all(&deep), None);
        // Variants in variants: each is two bytes and a type of its own.
        let nested = [1, b'v', 0].repeat(1000);
        assert_eq!(Reader::new(&nested, false).all("v"), None);
    }

    /// Neither random bytes nor a good message with a few bytes changed may do more than be refused.
    #[test]
    fn hostile_bytes_are_only_refused() {
        let mut seed = 7u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        let values = examples();
        let good: String = values.iter().map(Value::signature).collect();
        let mut writer = Writer::default();
        values.iter().for_each(|value| writer.put(value));
        let letters = b"ybnqiuxtdsogvh(){}aaavz";
        for _ in 0..30_000 {
            let mut bytes = writer.0.clone();
            for _ in 0..next(6) {
                let at = next(bytes.len());
                bytes[at] = next(256) as u8;
            }
            bytes.truncate(next(bytes.len() + 1));
            let signature: String = (0..next(12)).map(|_| char::from(letters[next(letters.len())])).collect();
            for signature in [&good, &signature] {
                let _ = Reader::new(&bytes, next(2) == 0).all(signature);
            }
        }
    }
}
