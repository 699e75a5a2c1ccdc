//! The functions of templates: Go's, and Docker's own.

use super::data::Data;
use super::printf;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Every function.
pub(super) const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not", "or", "pad", "print",
    "printf", "println", "slice", "split", "title", "truncate", "upper",
];

/// No padding is wider.
const WIDEST: i128 = 10_000;

type Values<'v, 'a> = &'v [Cow<'a, Data>];

/// What a function makes of its values, or why it does not.
pub(super) fn call(name: &str, values: Values<'_, '_>) -> Result<Data, String> {
    let value = |n: usize| values.get(n).map(Cow::as_ref).ok_or_else(|| format!("it needs {} values", n + 1));
    let text = |n: usize| match value(n)? {
        Data::Text(text) => Ok(text.as_str()),
        other => Err(format!("value {} is {}, not a string", n + 1, other.kind())),
    };
    let number = |n: usize| match value(n)? {
        Data::Int(number) => Ok(*number),
        other => Err(format!("value {} is {}, not a number", n + 1, other.kind())),
    };
    let at_most = |n: usize| match values.len() > n {
        true => Err(format!("it takes {n} value{}", if n == 1 { "" } else { "s" })),
        false => Ok(()),
    };
    match name {
        "json" => at_most(1).and(value(0)).map(|data| data.json().into()),
        "join" => {
            at_most(2)?;
            let Data::List(items) = value(0)? else { return Err(format!("{} is no list", value(0)?.kind())) };
            Ok(items.iter().map(Data::shown).collect::<Vec<_>>().join(text(1)?).into())
        }
        "split" => {
            at_most(2)?;
            Ok(Data::List(pieces(text(0)?, text(1)?)))
        }
        "lower" => at_most(1).and(text(0)).map(|text| text.to_lowercase().into()),
        "upper" => at_most(1).and(text(0)).map(|text| text.to_uppercase().into()),
        "title" => at_most(1).and(text(0)).map(|text| title(text).into()),
        "truncate" => {
            at_most(2)?;
            let (text, length) = (text(0)?, usize::try_from(number(1)?).map_err(|_| "no such length")?);
            Ok(super::up_to(text, length).into())
        }
        "pad" => {
            at_most(3)?;
            let blanks = |n| number(n).map(|n| " ".repeat(n.clamp(0, WIDEST) as usize));
            let text = text(0)?;
            Ok(if text.is_empty() { "".into() } else { format!("{}{text}{}", blanks(1)?, blanks(2)?).into() })
        }
        "print" => Ok(print(values).into()),
        "println" => Ok(line(values).into()),
        "printf" => Ok(printf::printf(text(0)?, &values[1..]).into()),
        "len" => at_most(1).and(value(0)).and_then(length),
        "index" => values.iter().skip(1).try_fold(value(0)?.clone(), |data, key| index(&data, key)),
        "slice" => slice(value(0)?, &values[1..]),
        "not" => at_most(1).and(value(0)).map(|data| (!data.is_true()).into()),
        "eq" => {
            value(1)?;
            let is_same = |other: &Cow<'_, Data>| same(value(0)?, other);
            values[1..].iter().try_fold(false, |found, other| Ok(is_same(other)? || found)).map(Data::Bool)
        }
        "ne" => at_most(2).and(same(value(0)?, value(1)?)).map(|is_same| (!is_same).into()),
        "lt" | "le" | "gt" | "ge" => {
            at_most(2)?;
            let order = compare(value(0)?, value(1)?)?;
            Ok(Data::Bool(match name {
                "lt" => order == Some(Ordering::Less),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                "gt" => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            }))
        }
        // The parser knows the names, and `and` and `or` are done where their values are made.
        _ => Err("there is no such function".into()),
    }
}

/// What a function that shapes a value makes of a heading: the heading.
pub(super) fn heading(name: &str, values: Values<'_, '_>) -> Option<Data> {
    let shapes = matches!(name, "json" | "join" | "split" | "lower" | "upper" | "title" | "truncate" | "pad" | "index");
    values.iter().find(|value| shapes && matches!(value.as_ref(), Data::Text(_))).map(|value| value.as_ref().clone())
}

fn pieces(text: &str, separator: &str) -> Vec<Data> {
    if separator.is_empty() {
        return text.chars().map(|c| c.to_string().into()).collect();
    }
    text.split(separator).map(Data::from).collect()
}

/// Every word's first letter as a capital; what is no letter, digit or underline ends a word.
fn title(text: &str) -> String {
    let mut titled = String::new();
    let mut is_first = true;
    for c in text.chars() {
        if is_first {
            titled.extend(c.to_uppercase());
        } else {
            titled.push(c);
        }
        is_first = if c.is_ascii() { !c.is_ascii_alphanumeric() && c != '_' } else { c.is_whitespace() };
    }
    titled
}

/// `print`: a blank between two values that are both no strings.
fn print(values: Values<'_, '_>) -> String {
    let mut text = String::new();
    let mut was_text = true;
    for value in values {
        let is_text = matches!(value.as_ref(), Data::Text(_));
        if !was_text && !is_text {
            text.push(' ');
        }
        text.push_str(&printf::formatted(value, 'v', false));
        was_text = is_text;
    }
    text
}

/// `println`: a blank between all of them.
fn line(values: Values<'_, '_>) -> String {
    values.iter().map(|value| printf::formatted(value, 'v', false)).collect::<Vec<_>>().join(" ") + "\n"
}

fn length(data: &Data) -> Result<Data, String> {
    let length = match data {
        Data::Text(text) => text.len(),
        Data::List(items) => items.len(),
        Data::Map(map) => map.len(),
        other => return Err(format!("{} has no length", other.kind())),
    };
    Ok(Data::Int(length as i128))
}

fn index(data: &Data, key: &Data) -> Result<Data, String> {
    let place = |length: usize| match key {
        Data::Int(n) => {
            usize::try_from(*n).ok().filter(|n| *n < length).ok_or_else(|| format!("there is no number {n}"))
        }
        other => Err(format!("{} is no number", other.kind())),
    };
    match (data, key) {
        // The map of a Go program has words for values: what it does not have is the empty word.
        (Data::Map(map), Data::Text(key)) => Ok(map.get(key).cloned().unwrap_or_else(|| {
            let has_words = map.values().all(|value| matches!(value, Data::Text(_)));
            if has_words { "".into() } else { Data::Missing }
        })),
        (Data::Lookup(map), Data::Text(key)) => Ok(map.get(key).cloned().unwrap_or_default().into()),
        (Data::List(items), _) => Ok(items[place(items.len())?].clone()),
        (Data::Text(text), _) => Ok(Data::Int(text.as_bytes()[place(text.len())?].into())),
        (Data::Map(_), other) => Err(format!("{} is no key", other.kind())),
        (other, _) => Err(format!("{} has nothing to be found by", other.kind())),
    }
}

fn slice(data: &Data, bounds: Values<'_, '_>) -> Result<Data, String> {
    let bound = |n: usize, default: usize, most: usize| match bounds.get(n).map(Cow::as_ref) {
        None => Ok(default),
        Some(Data::Int(n)) => usize::try_from(*n).ok().filter(|n| *n <= most).ok_or(format!("there is no number {n}")),
        Some(other) => Err(format!("{} is no number", other.kind())),
    };
    let range = |length: usize| {
        let (from, to) = (bound(0, 0, length)?, bound(1, length, length)?);
        if from > to { Err(format!("{from} is behind {to}")) } else { Ok(from..to) }
    };
    match data {
        Data::Text(text) => {
            let part = text.get(range(text.len())?).ok_or("it would cut a character in two")?;
            Ok(part.into())
        }
        Data::List(items) => Ok(Data::List(items[range(items.len())?].to_vec())),
        other => Err(format!("{} has no parts", other.kind())),
    }
}

fn same(one: &Data, other: &Data) -> Result<bool, String> {
    match (one, other) {
        (Data::Null | Data::Missing, Data::Null | Data::Missing) => Ok(true),
        (Data::Null | Data::Missing, _) | (_, Data::Null | Data::Missing) => Ok(false),
        (Data::Bool(one), Data::Bool(other)) => Ok(one == other),
        _ => compare(one, other).map(|order| order == Some(Ordering::Equal)),
    }
}

fn compare(one: &Data, other: &Data) -> Result<Option<Ordering>, String> {
    match (one, other) {
        (Data::Int(one), Data::Int(other)) => Ok(Some(one.cmp(other))),
        (Data::Float(one), Data::Float(other)) => Ok(one.partial_cmp(other)),
        (Data::Text(one), Data::Text(other)) => Ok(Some(one.cmp(other))),
        (one, other) => Err(format!("{} and {} cannot be compared", one.kind(), other.kind())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::go;

    #[test]
    fn a_word_gets_a_capital() {
        for (text, expected) in [("hello wORLD", "Hello WORLD"), ("a-b_c.d", "A-B_c.D"), ("", ""), ("été là", "Été Là")]
        {
            assert_eq!(title(text), expected);
        }
    }

    #[test]
    fn text_in_quotes() {
        assert_eq!(go::quoted("a\"\\\n\u{1b}é"), "\"a\\\"\\\\\\n\\x1bé\"");
    }
}
