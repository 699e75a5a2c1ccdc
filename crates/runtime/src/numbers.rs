//! Lists of small numbers as the kernel and the runtime-spec write them: `0-3,7`. CPUs and NUMA nodes come so.

use crate::error::Error;
use std::collections::BTreeSet;

/// The kernel has at most 8192 CPUs and 1024 nodes: a range that ends beyond is a mistake, not worth its memory.
const LARGEST: u32 = 8191;

/// Reads a list; `what` is what the error calls it. An empty one is an error: whoever allows it asks before.
pub(crate) fn parse(list: &str, what: &str) -> Result<BTreeSet<u32>, Error> {
    let wrong = || Error::Invalid(format!("{what} {list:?} is no list of numbers like 0-3,7"));
    // Not `parse` alone, which takes "+1" too.
    let number = |text: &str| match text.trim() {
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<u32>().map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    let mut numbers = BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(Error::Invalid(format!("{what} {list:?} has a range that ends before it begins")));
        }
        if last > LARGEST {
            return Err(Error::Invalid(format!("{what} {list:?} names {last}, and the largest is {LARGEST}")));
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

/// Writes a list in the same way.
pub(crate) fn text(numbers: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers.iter().copied() {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (list, expected) in [
            ("0", Some("0")),
            ("0-3,7", Some("0-3,7")),
            ("7,0,1,2", Some("0-2,7")),
            ("0-1,1-2", Some("0-2")),
            (" 1 , 3 - 4 ", Some("1,3-4")),
            ("5-5", Some("5")),
            ("8191", Some("8191")),
            ("", None),
            (",", None),
            ("1,", None),
            ("-1", None),
            ("1-", None),
            ("+1", None),
            ("0x1", None),
            ("3-1", None),
            ("1-2-3", None),
            ("8192", None),
            ("0-4294967295", None),
            ("99999999999", None),
        ] {
            assert_eq!(parse(list, "the list").ok().map(|n| text(&n)).as_deref(), expected, "{list:?}");
        }
    }
}
