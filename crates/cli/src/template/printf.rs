//! Go's `printf`: verbs, flags, width and precision, and its way of telling that a verb does not fit.

use super::data::Data;
use super::go;
use std::borrow::Cow;

/// Wider is a mistake: Go says so, too, if later.
const WIDEST: usize = 10_000;

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// The text of a format and its values.
pub(super) fn printf(format: &str, values: &[Cow<'_, Data>]) -> String {
    let mut text = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-+0 #".contains(*c)) {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                ' ' => spec.space = true,
                _ => spec.sharp = true,
            }
        }
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| -> usize {
            if chars.next_if_eq(&'*').is_some() {
                return match values.next().map(AsRef::as_ref) {
                    Some(Data::Int(n)) => usize::try_from(*n).unwrap_or(0).min(WIDEST),
                    _ => 0,
                };
            }
            let mut number = 0usize;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                number = (number * 10 + digit as usize).min(WIDEST);
                chars.next();
            }
            number
        };
        spec.width = number(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut chars));
        }
        match chars.next() {
            None => text.push_str("%!(NOVERB)"),
            Some('%') => text.push('%'),
            Some(verb) => match values.next() {
                None => text.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => text.push_str(&spec.write(value, verb)),
            },
        }
    }
    let extra: Vec<String> = values.map(|value| typed(value)).collect();
    if !extra.is_empty() {
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text
}

/// One value by a verb; `plus` names the fields of structs.
pub(super) fn formatted(value: &Data, verb: char, plus: bool) -> String {
    Spec { plus, ..Spec::default() }.write(value, verb)
}

impl Spec {
    fn write(&self, value: &Data, verb: char) -> String {
        let each = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(" ");
        match (value, verb) {
            (_, 'T') => self.pad(value.kind().into(), false),
            (Data::List(items), _) => format!("[{}]", each(&mut items.iter().map(|item| self.write(item, verb)))),
            (Data::Map(map), _) => {
                let mut members = map.iter().map(|(k, v)| self.member(k, v, verb));
                format!("map[{}]", each(&mut members))
            }
            (Data::Struct(fields), _) => {
                let mut shown = fields.iter().map(|(name, value)| match self.plus {
                    true => format!("{name}:{}", self.write(value, verb)),
                    false => self.write(value, verb),
                });
                format!("{{{}}}", each(&mut shown))
            }
            _ => self.leaf(value, verb),
        }
    }

    fn member(&self, key: &str, value: &Data, verb: char) -> String {
        // A key has the verb, too: %q of a map quotes both. A number's verb shows the key plainly.
        let key = if "vsqxX".contains(verb) { self.leaf(&key.into(), verb) } else { key.to_owned() };
        format!("{key}:{}", self.write(value, verb))
    }

    fn leaf(&self, value: &Data, verb: char) -> String {
        let cut = |text: &str| match self.precision {
            Some(length) => text.chars().take(length).collect(),
            None => text.to_owned(),
        };
        match (value, verb) {
            (Data::Null | Data::Missing | Data::Lookup(_), 'v') => self.pad("<nil>".into(), false),
            (Data::Bool(b), 'v' | 't') => self.pad(b.to_string(), false),
            (Data::Text(text), 'v' | 's') => self.pad(cut(text), false),
            (Data::Text(text), 'q') => self.pad(go::quoted(&cut(text)), false),
            (Data::Text(text), 'x') => self.pad(text.bytes().map(|b| format!("{b:02x}")).collect(), false),
            (Data::Text(text), 'X') => self.pad(text.bytes().map(|b| format!("{b:02X}")).collect(), false),
            (Data::Int(n), 'v' | 'd' | 'b' | 'o' | 'x' | 'X') => {
                let digits = n.unsigned_abs();
                let digits = match verb {
                    'b' => format!("{digits:b}"),
                    'o' => format!("{digits:o}"),
                    'x' => format!("{}{digits:x}", if self.sharp { "0x" } else { "" }),
                    'X' => format!("{}{digits:X}", if self.sharp { "0X" } else { "" }),
                    _ => digits.to_string(),
                };
                self.pad(self.signed(*n < 0, digits), true)
            }
            (Data::Int(n), 'c') => self.pad(character(*n).to_string(), false),
            (Data::Int(n), 'q') => self.pad(format!("{:?}", character(*n)), false),
            (Data::Float(f), 'v' | 'g') => self.pad(self.signed(f.is_sign_negative(), go::float(f.abs())), true),
            (Data::Float(f), 'f' | 'F') => {
                let digits = format!("{:.*}", self.precision.unwrap_or(6), f.abs());
                self.pad(self.signed(f.is_sign_negative(), digits), true)
            }
            (Data::Float(f), 'e') => {
                let digits = format!("{:.*e}", self.precision.unwrap_or(6), f.abs());
                let (digits, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
                let digits = format!("{digits}{}", go::exponent(exponent.parse().unwrap_or(0)));
                self.pad(self.signed(f.is_sign_negative(), digits), true)
            }
            _ => format!("%!{verb}({})", typed(value)),
        }
    }

    fn signed(&self, is_negative: bool, digits: String) -> String {
        let sign = if is_negative {
            "-"
        } else if self.plus {
            "+"
        } else if self.space {
            " "
        } else {
            ""
        };
        format!("{sign}{digits}")
    }

    fn pad(&self, text: String, is_number: bool) -> String {
        let lack = self.width.saturating_sub(text.chars().count());
        if self.minus {
            return text + &" ".repeat(lack);
        }
        if self.zero && is_number {
            let sign = text.len() - text.trim_start_matches(['-', '+', ' ']).len();
            return format!("{}{}{}", &text[..sign], "0".repeat(lack), &text[sign..]);
        }
        " ".repeat(lack) + &text
    }
}

fn character(n: i128) -> char {
    u32::try_from(n).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// A value with its type, as Go puts it where a verb does not fit.
fn typed(value: &Data) -> String {
    match value {
        Data::Null | Data::Missing => "<nil>".into(),
        other => format!("{}={}", other.kind(), other.shown()),
    }
}
