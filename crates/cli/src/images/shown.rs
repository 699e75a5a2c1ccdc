//! How lists show ids, times and labels; and which images a filter or a pattern means.

use crate::table::Filter;
use engine::ParseError;
use engine::when::Time;

/// An id as in a list: twelve digits, or all of it.
pub(super) fn id(id: &str, in_full: bool) -> String {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    if in_full || hex.len() == id.len() { id.to_owned() } else { hex.chars().take(12).collect() }
}

/// How long ago it was; nothing tells it of some images.
pub(super) fn since(created: &str) -> String {
    Time::parse(created).map_or_else(|| "N/A".into(), |then| crate::table::ago(then, Time::now()))
}

/// When it was, as Docker lists it.
pub(crate) fn at(created: &str) -> String {
    Time::parse(created).map_or_else(|| "N/A".into(), Time::listed)
}

/// A filter of what may be removed.
pub(crate) fn old_or_labelled(text: &str) -> Result<Filter, ParseError> {
    let filter = Filter::parse(text, &["until", "label"])?;
    if filter.key == "until" {
        until(&filter)?;
    }
    Ok(filter)
}

/// The time that `until` gives.
pub(crate) fn until(filter: &Filter) -> Result<Time, ParseError> {
    Time::parse_loosely(&filter.value, Time::now())
        .ok_or_else(|| ParseError::new(&*filter.value, "write how long ago, as 24h, or a time, as 2026-01-31T12:00:00"))
}

/// Whether a text is as a pattern says: `*` and `?` stand for anything but `/`, `[a-z]` for one of these. [Go's path.Match]
pub(super) fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    matches(&pattern, &text)
}

fn matches(mut pattern: &[char], mut text: &[char]) -> bool {
    // Where the last star was, and what it has eaten up to: it may eat more.
    let mut star: Option<(&[char], &[char])> = None;
    loop {
        match (pattern.first(), text.first()) {
            (Some('*'), _) => {
                pattern = &pattern[1..];
                star = Some((pattern, text));
                continue;
            }
            (None, None) => return true,
            (Some(_), Some(&c)) => {
                if let Some(rest) = one(pattern, c) {
                    (pattern, text) = (rest, &text[1..]);
                    continue;
                }
            }
            _ => {}
        }
        match star {
            Some((after, [c, rest @ ..])) if *c != '/' => {
                (pattern, text) = (after, rest);
                star = Some((after, rest));
            }
            _ => return false,
        }
    }
}

/// What of the pattern is left when its first part stands for this character.
fn one(pattern: &[char], c: char) -> Option<&[char]> {
    match pattern {
        ['?', rest @ ..] => (c != '/').then_some(rest),
        ['\\', escaped, rest @ ..] => (c == *escaped).then_some(rest),
        ['[', rest @ ..] => {
            let end = rest.iter().skip(1).position(|c| *c == ']')? + 1;
            let (mut set, after) = (&rest[..end], &rest[end + 1..]);
            let is_not = set.first() == Some(&'^');
            if is_not {
                set = &set[1..];
            }
            let mut found = false;
            while let [low, more @ ..] = set {
                set = match more {
                    ['-', high, more @ ..] => {
                        found |= (*low..=*high).contains(&c);
                        more
                    }
                    more => {
                        found |= *low == c;
                        more
                    }
                };
            }
            (found != is_not && c != '/').then_some(after)
        }
        [first, rest @ ..] => (c == *first).then_some(rest),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_gos() {
        for (pattern, text, expected) in [
            ("alpine", "alpine", true),
            ("alpine", "alpine:3", false),
            ("al*", "alpine:3.20", true),
            ("*:latest", "busybox:latest", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a/*:[0-9]*", "a/b:12", true),
            ("a/*:[^0-9]*", "a/b:12", false),
            ("?b", "ab", true),
            ("?b", "/b", false),
            ("a*b*c", "aXXbYYbZc", true),
            ("a*b*c", "aXXbYYbZ", false),
            ("a\\*", "a*", true),
            ("[", "[", false),
            ("[]", "x", false),
            ("**", "", true),
            ("", "", true),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn ids_are_short_or_whole() {
        let whole = "sha256:0123456789abcdef";
        assert_eq!(id(whole, false), "0123456789ab");
        assert_eq!(id(whole, true), whole);
        assert_eq!(id("<missing>", false), "<missing>");
    }
}
