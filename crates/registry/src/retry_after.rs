//! `Retry-After`: after how many seconds, or at which date, a server wants to be asked again. [RFC 9110, 10.2.3, 5.6.7]
//!
//! A date is written in one of three ways, of which two are obsolete and still to be understood. It is held against the
//! answer's own `Date`, so that it does not matter how wrong this machine's clock is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86400;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How long to wait. A date that is past means not at all.
pub(crate) fn wait(retry_after: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let text = retry_after.trim();
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        // More digits than a number has are as good as for ever.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let here = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let then = seconds(text, here)?;
    let now = date.and_then(|date| seconds(date.trim(), here)).unwrap_or(here);
    Some(Duration::from_secs(then.saturating_sub(now)))
}

/// A date of HTTP, in seconds since 1970. `now` tells which century two digits are of.
fn seconds(text: &str, now: u64) -> Option<u64> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (day, month, year, time) = match words[..] {
        // Sun, 06 Nov 1994 08:49:37 GMT
        [name, day, month, year, time, "GMT"] if name.ends_with(',') => (day, month, number(year, 4)?, time),
        // Sunday, 06-Nov-94 08:49:37 GMT
        [name, date, time, "GMT"] if name.ends_with(',') => {
            let (day, rest) = date.split_once('-')?;
            let (month, year) = rest.split_once('-')?;
            (day, month, full_year(number(year, 2)?, now), time)
        }
        // Sun Nov  6 08:49:37 1994
        [_, month, day, time, year] => (day, month, number(year, 4)?, time),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let day = day.parse::<u64>().ok().filter(|day| (1..=31).contains(day))?;
    let (hour, rest) = time.split_once(':')?;
    let (minute, second) = rest.split_once(':')?;
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
    // 60 is a leap second.
    if year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    if text.len() == digits && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// What looks more than 50 years ahead is of the century before. [RFC 9110, 5.6.7]
fn full_year(two: u64, now: u64) -> u64 {
    let this = 1970 + now / (365 * DAY + DAY / 4);
    let year = this / 100 * 100 + two;
    if year > this + 50 { year - 100 } else { year }
}

/// Days from 1970 to a date of the Gregorian calendar: years begin in March, so that the leap day is their last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_the_three_ways_to_write_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 09:49:37 1994", Some(3600)),
            ("Tue Nov 15 08:49:37 1994", Some(9 * DAY)),
            ("Wed, 29 Feb 2096 00:00:00 GMT", Some(3_981_312_000 - 784_111_777)),
            ("Sun, 06 Nov 1994 08:49:60 GMT", Some(23)),
            // Past, and so at once.
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
            // More than 50 years ahead it would be.
            ("Sunday, 06-Nov-94 08:49:36 GMT", Some(0)),
            ("Thursday, 01-Jan-70 00:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 32 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nop 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 06 Nov +994 08:00:00 GMT", None),
            ("Sun, 06 Nov 0001 08:00:00 GMT", None),
        ] {
            assert_eq!(wait(text, None, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn two_digits_are_of_this_century_or_the_last() {
        let now = 1_796_000_000; // 2026
        assert_eq!((full_year(26, now), full_year(76, now), full_year(77, now)), (2026, 2076, 1977));
    }

    #[test]
    fn the_servers_clock_counts() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let text = "Sun, 06 Nov 1994 08:49:40 GMT";
        assert_eq!(wait(text, date, SystemTime::now()), Some(Duration::from_secs(3)));
        assert_eq!(wait(text, Some("nonsense"), SystemTime::now()), Some(Duration::ZERO));
    }
}
