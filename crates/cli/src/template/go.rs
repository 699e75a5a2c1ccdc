//! How Go writes values, tells whether they are empty, and quotes text.

use super::data::Data;

impl Data {
    /// As `%v` writes it.
    pub(super) fn shown(&self) -> String {
        match self {
            Data::Missing => "<no value>".into(),
            other => super::printf::formatted(other, 'v', false),
        }
    }

    /// Go's truth: whatever is not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Data::Missing | Data::Null => false,
            Data::Bool(b) => *b,
            Data::Int(n) => *n != 0,
            Data::Float(f) => *f != 0.0,
            Data::Text(s) => !s.is_empty(),
            Data::List(items) => !items.is_empty(),
            Data::Map(map) => !map.is_empty(),
            Data::Struct(_) | Data::Lookup(_) => true,
        }
    }

    /// The name of its type, near enough to Go's.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Data::Missing | Data::Null => "<nil>",
            Data::Bool(_) => "bool",
            Data::Int(_) => "int",
            Data::Float(_) => "float64",
            Data::Text(_) => "string",
            Data::List(_) => "list",
            Data::Map(_) => "map",
            Data::Struct(_) => "struct",
            Data::Lookup(_) => "func",
        }
    }
}

/// The shortest text that reads back as the same number, as `%v` has it.
pub(super) fn float(f: f64) -> String {
    if f.is_nan() {
        return "NaN".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    shortest(f, -4..6, exponent)
}

/// The same in JSON, where more is written without an exponent.
pub(super) fn json_float(f: f64) -> String {
    shortest(f, -6..21, |exponent| format!("e{}{}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs()))
}

fn shortest(f: f64, plain: std::ops::Range<i32>, exponent: impl Fn(i32) -> String) -> String {
    let scientific = format!("{f:e}");
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match power.parse().unwrap_or(0) {
        power if plain.contains(&power) => f.to_string(),
        power => format!("{digits}{}", exponent(power)),
    }
}

/// An exponent of two digits or more, with its sign.
pub(super) fn exponent(exponent: i32) -> String {
    format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

/// Text in quotes, as Go's `%q` writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if u32::from(c) < 0x80 && c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
