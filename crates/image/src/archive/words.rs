//! Words as a Dockerfile has them: split at spaces that no quotes hold together, then freed of their quotes, with
//! variables put in. [buildkit, frontend/dockerfile/shell/lex.go; Dockerfile reference, "Environment replacement"]

use super::BadChange;
use std::iter::Peekable;
use std::str::Chars;

/// Splits at white space outside of quotes; quotes and backslashes stay.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A word without its quotes and with its variables, which `env` knows.
pub(super) fn expand(word: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, BadChange> {
    let mut chars = word.chars().peekable();
    let mut out = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\'' => loop {
                match chars.next() {
                    None => return Err(unterminated(word, "quoted string")),
                    Some('\'') => break,
                    Some(c) => out.push(c),
                }
            },
            '"' => loop {
                match chars.next() {
                    None => return Err(unterminated(word, "quoted string")),
                    Some('"') => break,
                    Some('$') => out.push_str(&variable(&mut chars, word, env)?),
                    // Within quotes it is a backslash unless it hides something.
                    Some('\\') => match chars.next() {
                        Some(c @ ('"' | '$' | '\\')) => out.push(c),
                        Some(c) => out.extend(['\\', c]),
                        None => return Err(unterminated(word, "quoted string")),
                    },
                    Some(c) => out.push(c),
                }
            },
            '\\' => out.extend(chars.next()),
            '$' => out.push_str(&variable(&mut chars, word, env)?),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// What comes after a `$`: a name, or one in braces with a word for when it is set, or not.
fn variable(
    chars: &mut Peekable<Chars<'_>>,
    word: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, BadChange> {
    if chars.next_if_eq(&'{').is_none() {
        let name = name(chars);
        return Ok(if name.is_empty() { "$".into() } else { env(&name).unwrap_or_default() });
    }
    let name = name(chars);
    if name.is_empty() {
        return Err(BadChange::new(format!("bad substitution in {word:?}")));
    }
    let or_empty = chars.next_if_eq(&':').is_some();
    let operator = chars.next();
    if operator == Some('}') && !or_empty {
        return Ok(env(&name).unwrap_or_default());
    }
    let other = expand(&until_brace(chars, word)?, env)?;
    let value = env(&name).filter(|value| !(or_empty && value.is_empty()));
    match (operator, value) {
        (Some('-'), value) => Ok(value.unwrap_or(other)),
        (Some('+'), value) => Ok(value.map(|_| other).unwrap_or_default()),
        (Some('?'), Some(value)) => Ok(value),
        (Some('?'), None) => Err(BadChange::new(format!("{name}: {other}"))),
        _ => Err(BadChange::new(format!("unsupported modifier in substitution in {word:?}"))),
    }
}

fn name(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    name
}

/// What stands before the brace that closes, braces within being counted.
fn until_brace(chars: &mut Peekable<Chars<'_>>, word: &str) -> Result<String, BadChange> {
    let (mut inside, mut depth) = (String::new(), 0);
    loop {
        match chars.next().ok_or_else(|| unterminated(word, "substitution"))? {
            '}' if depth == 0 => return Ok(inside),
            c => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                inside.push(c);
                if c == '\\' {
                    inside.extend(chars.next());
                }
            }
        }
    }
}

fn unterminated(word: &str, what: &str) -> BadChange {
    BadChange::new(format!("unterminated {what} in {word:?}"))
}

/// A duration as Go writes it, in nanoseconds: `1m30s`, `500ms`, `1.5h`.
pub(super) fn duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == &rest[..unit])?;
        sum += number * factor;
        rest = &rest[unit..];
    }
    // Far more than a lifetime, and exact in an f64 only as far as anybody would care.
    (!text.is_empty() && sum < 9e18).then_some(sum as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_outside_of_quotes() {
        for (text, expected) in [
            ("a b\tc ", vec!["a", "b", "c"]),
            (r#"A="x y" B='p q'"#, vec![r#"A="x y""#, "B='p q'"]),
            (r"A=x\ y B", vec![r"A=x\ y", "B"]),
            (r#"A="x\" y" B"#, vec![r#"A="x\" y""#, "B"]),
            ("", vec![]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn quotes_go_and_variables_come() {
        let env = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (word, expected) in [
            ("plain", Some("plain")),
            (r#""x y"z"#, Some("x yz")),
            ("'$A'", Some("$A")),
            (r#""$A""#, Some("one")),
            ("$A/$B.", Some("one/.")),
            ("${A}b", Some("oneb")),
            (r"\$A", Some("$A")),
            (r#""a\nb""#, Some(r"a\nb")),
            (r"a\ b", Some("a b")),
            ("${B:-x$A}", Some("xone")),
            ("${EMPTY:-x}", Some("x")),
            ("${EMPTY-x}", Some("")),
            ("${A:+set}", Some("set")),
            ("${B:+set}", Some("")),
            ("${B:-{x}}", Some("{x}")),
            ("${B:?why}", None),
            ("${A", None),
            ("${}", None),
            ("${A:=x}", None),
            ("\"open", None),
            ("'open", None),
            ("5$", Some("5$")),
        ] {
            assert_eq!(expand(word, &env).ok().as_deref(), expected, "{word}");
        }
    }

    #[test]
    fn durations_as_go_has_them() {
        for (text, expected) in [
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("0", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("1d", None),
            ("-1s", None),
            ("99999999999h", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
