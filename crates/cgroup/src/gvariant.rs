//! GVariant text, in which the annotations `org.systemd.property.NAME` give a unit's properties: `uint64 5`,
//! `'inactive-or-failed'`, `['a', 'b']`, `true` (GLib documentation, "GVariant Text Format").
//!
//! Types are given by a word before a number or string, by `@TYPE` before anything, or come from the value: a whole
//! number is an int32, one with a dot or exponent a double. Bytestrings and `maybe` have no use in a unit and are refused.

use crate::Error;
use crate::dbus_value::{Value, is_one_type};

const DEEPEST: usize = 16;

/// A property of a unit. As runc and crun have it, one named `...Sec` is given in seconds to `...USec`, which is what the
/// bus knows.
pub(crate) fn property(name: &str, text: &str) -> Result<(String, Value), Error> {
    let wrong = |why: &str| Error::Property { name: name.into(), value: text.into(), why: why.into() };
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(wrong("the name is made of at least three letters"));
    }
    let value = parse(text).ok_or_else(|| wrong("it is no GVariant text, such as uint64 5 or 'word'"))?;
    match name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase())) {
        None => Ok((name.into(), value)),
        Some(stem) => {
            let microseconds =
                microseconds(&value).ok_or_else(|| wrong("seconds are a number that is not negative"))?;
            Ok((format!("{stem}USec"), Value::U64(microseconds)))
        }
    }
}

fn microseconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Byte(n) => u64::from(*n),
        Value::I16(n) => u64::try_from(*n).ok()?,
        Value::U16(n) => u64::from(*n),
        Value::I32(n) => u64::try_from(*n).ok()?,
        Value::U32(n) => u64::from(*n),
        Value::I64(n) => u64::try_from(*n).ok()?,
        Value::U64(n) => *n,
        Value::F64(n) if (0.0..1e13).contains(n) => return Some((n * 1e6) as u64),
        _ => return None,
    };
    seconds.checked_mul(1_000_000)
}

fn parse(text: &str) -> Option<Value> {
    let mut parser = Parser { rest: text };
    let value = parser.value(None, 0)?;
    parser.space();
    parser.rest.is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, word: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// A value, of a type that is known or not.
    fn value(&mut self, of: Option<&str>, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        self.space();
        match self.rest.bytes().next()? {
            b'@' => {
                let end = self.rest.find(' ')?;
                let (signature, rest) = self.rest[1..].split_at(end - 1);
                if !is_one_type(signature) || of.is_some_and(|of| of != signature) {
                    return None;
                }
                self.rest = rest;
                self.value(Some(signature), depth + 1)
            }
            b'\'' | b'"' => self.string().and_then(|text| string(of.unwrap_or("s"), text)),
            b'[' => self.array(of, depth),
            b'{' => self.dictionary(of, depth),
            b'(' => self.tuple(of, depth),
            b'<' => {
                self.eat("<");
                let inner = self.value(None, depth + 1)?;
                (self.eat(">") && of.is_none_or(|of| of == "v")).then(|| Value::Variant(Box::new(inner)))
            }
            _ => {
                let word = self.word();
                match type_of(word) {
                    Some(named) if of.is_none_or(|of| of == named) => self.value(Some(named), depth + 1),
                    Some(_) => None,
                    None => scalar(of, word),
                }
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    // A NUL cannot be sent, and nobody needs the others.
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    _ => return None,
                },
                '\0' => return None,
                c => text.push(c),
            }
        }
        None
    }

    /// Items up to `end`, with commas between them.
    fn items(&mut self, end: &str, mut item: impl FnMut(&mut Self, usize) -> Option<Value>) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        while !self.eat(end) {
            if !items.is_empty() && !self.eat(",") {
                return None;
            }
            // A comma may follow the last one: `(1,)`.
            if !items.is_empty() && self.eat(end) {
                break;
            }
            items.push(item(self, items.len())?);
        }
        Some(items)
    }

    fn array(&mut self, of: Option<&str>, depth: usize) -> Option<Value> {
        self.eat("[");
        let mut element = match of {
            Some(of) => Some(of.strip_prefix('a')?.to_owned()),
            None => None,
        };
        let items = self.items("]", |parser, _| {
            let item = parser.value(element.as_deref(), depth + 1)?;
            // The first gives the type of all.
            element.get_or_insert_with(|| item.signature());
            Some(item)
        })?;
        Some(Value::Array(element?, items))
    }

    fn dictionary(&mut self, of: Option<&str>, depth: usize) -> Option<Value> {
        self.eat("{");
        let mut types = match of {
            Some(of) => {
                let inner = of.strip_prefix("a{")?.strip_suffix('}')?;
                Some((inner.get(..1)?.to_owned(), inner.get(1..)?.to_owned()))
            }
            None => None,
        };
        let items = self.items("}", |parser, _| {
            let key = parser.value(types.as_ref().map(|(key, _)| key.as_str()), depth + 1)?;
            if !parser.eat(":") {
                return None;
            }
            let value = parser.value(types.as_ref().map(|(_, value)| value.as_str()), depth + 1)?;
            types.get_or_insert_with(|| (key.signature(), value.signature()));
            Some(Value::Entry(Box::new(key), Box::new(value)))
        })?;
        let (key, value) = types?;
        let element = format!("{{{key}{value}}}");
        is_one_type(&format!("a{element}")).then_some(Value::Array(element, items))
    }

    fn tuple(&mut self, of: Option<&str>, depth: usize) -> Option<Value> {
        self.eat("(");
        let items = self.items(")", |parser, _| parser.value(None, depth + 1))?;
        let tuple = Value::Struct(items);
        let signature = tuple.signature();
        (is_one_type(&signature) && of.is_none_or(|of| of == signature)).then_some(tuple)
    }
}

fn type_of(word: &str) -> Option<&'static str> {
    Some(match word {
        "boolean" => "b",
        "byte" => "y",
        "int16" => "n",
        "uint16" => "q",
        "int32" => "i",
        "uint32" => "u",
        "int64" => "x",
        "uint64" => "t",
        "double" => "d",
        "string" => "s",
        "objectpath" => "o",
        "signature" => "g",
        _ => return None,
    })
}

fn string(of: &str, text: String) -> Option<Value> {
    match of {
        "s" => Some(Value::Str(text)),
        "o" if text.starts_with('/') => Some(Value::Path(text)),
        "g" if text.len() < 256 => Some(Value::Signature(text)),
        _ => None,
    }
}

fn scalar(of: Option<&str>, word: &str) -> Option<Value> {
    let whole = whole(word);
    let of = of.unwrap_or(match word {
        "true" | "false" => "b",
        _ if whole.is_some() => "i",
        _ => "d",
    });
    Some(match (of, word) {
        ("b", "true") => Value::Bool(true),
        ("b", "false") => Value::Bool(false),
        ("y", _) => Value::Byte(whole?.try_into().ok()?),
        ("n", _) => Value::I16(whole?.try_into().ok()?),
        ("q", _) => Value::U16(whole?.try_into().ok()?),
        ("i", _) => Value::I32(whole?.try_into().ok()?),
        ("u", _) => Value::U32(whole?.try_into().ok()?),
        ("x", _) => Value::I64(whole?.try_into().ok()?),
        ("t", _) => Value::U64(whole?.try_into().ok()?),
        ("d", _) if word.contains(|c: char| c.is_ascii_digit()) => Value::F64(word.parse().ok()?),
        _ => return None,
    })
}

/// `10`, `-3`, `0x1f`, `017`.
fn whole(word: &str) -> Option<i128> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number = if let Some(hex) = digits.strip_prefix("0x") {
        i128::from(u64::from_str_radix(hex, 16).ok()?)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i128::from(u64::from_str_radix(digits, 8).ok()?)
    } else {
        i128::from(digits.parse::<u64>().ok()?)
    };
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_values() {
        let strings = |items: &[&str]| Value::Array("s".into(), items.iter().map(|item| Value::str(item)).collect());
        let cases = [
            ("true", Value::Bool(true)),
            (" 'inactive-or-failed' ", Value::str("inactive-or-failed")),
            ("\"it's\"", Value::str("it's")),
            (r"'a\'b\n'", Value::str("a'b\n")),
            ("7", Value::I32(7)),
            ("-7", Value::I32(-7)),
            ("0x10", Value::I32(16)),
            ("010", Value::I32(8)),
            ("1.5", Value::F64(1.5)),
            ("1e3", Value::F64(1000.0)),
            ("uint64 18446744073709551615", Value::U64(u64::MAX)),
            ("byte 255", Value::Byte(255)),
            ("int64 -1", Value::I64(-1)),
            ("double 2", Value::F64(2.0)),
            ("objectpath '/a'", Value::Path("/a".into())),
            ("@t 5", Value::U64(5)),
            ("['a', 'b']", strings(&["a", "b"])),
            ("@as []", strings(&[])),
            ("[uint32 1, 2]", Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)])),
            ("@ay [1]", Value::Array("y".into(), vec![Value::Byte(1)])),
            ("('a', true)", Value::Struct(vec![Value::str("a"), Value::Bool(true)])),
            ("(1,)", Value::Struct(vec![Value::I32(1)])),
            (
                "[('/dev/x', 'rw')]",
                Value::Array("(ss)".into(), vec![Value::Struct(vec![Value::str("/dev/x"), Value::str("rw")])]),
            ),
            ("<5>", Value::Variant(Box::new(Value::I32(5)))),
            (
                "{'a': <1>}",
                Value::Array(
                    "{sv}".into(),
                    vec![Value::Entry(Box::new(Value::str("a")), Box::new(Value::Variant(Box::new(Value::I32(1)))))],
                ),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "",
            " ",
            "word",
            "'open",
            "[",
            "[]",
            "[1, 'a']",
            "{}",
            "{[1]: 2}",
            "()",
            "<",
            "<1",
            "uint64 -1",
            "byte 256",
            "uint64 'a'",
            "@zz 1",
            "@as [1]",
            "@t",
            "1 2",
            "true false",
            "'a\0'",
            r"'\u0041'",
            "int32 uint32 1",
            "-",
            "0x",
            "inf",
            "nan",
            "3000000000",
            "@a{sv} [1]",
            "b'x'",
            "just 1",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse(&"[".repeat(10_000)), None);
        assert_eq!(parse(&"uint32 ".repeat(10_000)), None);
    }

    #[test]
    fn seconds_become_microseconds() {
        for (name, text, expected) in [
            ("TimeoutStopSec", "5", Some(("TimeoutStopUSec", Value::U64(5_000_000)))),
            ("TimeoutStopSec", "1.5", Some(("TimeoutStopUSec", Value::U64(1_500_000)))),
            ("TimeoutStopUSec", "uint64 7", Some(("TimeoutStopUSec", Value::U64(7)))),
            ("TimeoutStopSec", "-5", None),
            ("TimeoutStopSec", "'5'", None),
            ("TimeoutStopSec", "uint64 18446744073709551615", None),
            ("Ab", "1", None),
            ("A_b", "1", None),
        ] {
            let found = property(name, text).ok();
            assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)), "{name}={text}");
        }
    }
}
