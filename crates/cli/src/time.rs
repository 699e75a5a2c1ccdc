//! Points in time as RFC 3339 writes them, with nanoseconds: what image configurations and filters hold.
//!
//! Days are counted as in Howard Hinnant's `days_from_civil`: in the Gregorian calendar, also before it began.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    /// Since 1970.
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Time {
    /// This moment.
    pub(crate) fn now() -> Time {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time { seconds: now.as_secs().cast_signed(), nanoseconds: now.subsec_nanos() }
    }

    /// Reads `2006-01-02T15:04:05.999999999Z` or with `+01:00`; date and time may have a blank between them.
    pub(crate) fn parse(text: &str) -> Option<Time> {
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let (clock, rest) = rest.split_at_checked(8)?;
        let days = days(date)?;
        let seconds = clock_seconds(clock)?;
        let (fraction, zone) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
            None => ("0", rest),
        };
        if fraction.is_empty() {
            return None;
        }
        // Nine digits; what is finer is dropped.
        let nanoseconds =
            fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |n, b| n * 10 + u32::from(b - b'0'));
        Some(Time { seconds: days * 86_400 + seconds - offset(zone)?, nanoseconds })
    }

    /// Reads what `--filter until=` takes: RFC 3339, a date, seconds since 1970, or how long ago, as `1h30m`.
    pub(crate) fn parse_loosely(text: &str, now: Time) -> Option<Time> {
        if let Some(time) = Time::parse(text) {
            return Some(time);
        }
        if let Some(time) = Time::parse(&format!("{text}T00:00:00Z")).or_else(|| Time::parse(&format!("{text}Z"))) {
            return Some(time);
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if are_digits(whole) && are_digits(fraction) {
            let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
            return Some(Time { seconds: whole.parse().ok()?, nanoseconds });
        }
        Some(Time { seconds: now.seconds.checked_sub(span(text)?)?, nanoseconds: now.nanoseconds })
    }

    /// In UTC, with a fraction only where there is one: `2006-01-02T15:04:05.5Z`.
    pub(crate) fn rfc3339(self) -> String {
        let (date, clock) = self.civil();
        let fraction = match self.nanoseconds {
            0 => String::new(),
            n => format!(".{}", format!("{n:09}").trim_end_matches('0')),
        };
        format!("{date}T{clock}{fraction}Z")
    }

    /// As Docker's `{{.CreatedAt}}` in UTC: `2006-01-02 15:04:05 +0000 UTC`.
    pub(crate) fn listed(self) -> String {
        let (date, clock) = self.civil();
        format!("{date} {clock} +0000 UTC")
    }

    fn civil(self) -> (String, String) {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        (format!("{year:04}-{month:02}-{day:02}"), clock)
    }
}

/// `2006-01-02` as days since 1970.
fn days(date: &str) -> Option<i64> {
    let (year, month, day) = (number(date.get(..4)?)?, number(date.get(5..7)?)?, number(date.get(8..)?)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if date.as_bytes()[4] != b'-' || date.as_bytes()[7] != b'-' || !(1..=length).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// `15:04:05` as seconds of the day. A leap second is the next one.
fn clock_seconds(clock: &str) -> Option<i64> {
    let (hour, minute, second) = (number(clock.get(..2)?)?, number(clock.get(3..5)?)?, number(clock.get(6..)?)?);
    let is_right =
        clock.as_bytes()[2] == b':' && clock.as_bytes()[5] == b':' && hour < 24 && minute < 60 && second < 61;
    is_right.then_some(hour * 3600 + minute * 60 + second)
}

/// `Z`, `+01:00` or `-0100` in seconds.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let zone = zone.strip_prefix(['+', '-'])?.replace(':', "");
    let (hours, minutes) = (number(zone.get(..2)?)?, number(zone.get(2..)?)?);
    (zone.len() == 4 && hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// `1h30m`, in seconds.
fn span(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut seconds = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let count: f64 = rest[..end].parse().ok()?;
        let unit = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(&rest[end..], |n| &rest[end..end + n]);
        seconds += count
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end + unit.len()..];
    }
    (!text.is_empty() && seconds < 1e15).then_some(seconds as i64)
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds, nanoseconds, written) in [
            ("1970-01-01T00:00:00Z", 0, 0, "1970-01-01T00:00:00Z"),
            ("2006-01-02T15:04:05.999999999Z", 1_136_214_245, 999_999_999, "2006-01-02T15:04:05.999999999Z"),
            ("2024-02-29T23:59:59.5+01:00", 1_709_247_599, 500_000_000, "2024-02-29T22:59:59.5Z"),
            ("2024-02-29t23:59:59-0130", 1_709_256_599, 0, "2024-03-01T01:29:59Z"),
            ("2000-12-31 12:00:00.1234567891234z", 978_264_000, 123_456_789, "2000-12-31T12:00:00.123456789Z"),
            ("1969-12-31T23:59:59Z", -1, 0, "1969-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00Z", -62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:60Z", 253_402_300_800, 0, "10000-01-01T00:00:00Z"),
        ] {
            let time = Time::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((time.seconds, time.nanoseconds, time.rfc3339().as_str()), (seconds, nanoseconds, written));
        }
        assert_eq!(Time { seconds: 1_136_214_245, nanoseconds: 1 }.listed(), "2006-01-02 15:04:05 +0000 UTC");
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "2006",
            "2006-01-02",
            "2006-13-02T15:04:05Z",
            "2006-02-29T15:04:05Z",
            "2006-01-02T24:00:00Z",
            "2006-01-02T15:04:05",
            "2006-01-02T15:04:05.Z",
            "2006-01-02T15:04:05+1:00",
            "2006-01-02T15:04:05ZZ",
            "2006-01-02T15:04:05+é1:00",
            "+006-01-02T15:04:05Z",
            "20é6-01-02T15:04:05Z",
            "2006/01/02T15:04:05Z",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn days_are_counted_without_gaps() {
        for day in (-800_000..800_000).step_by(13) {
            let time = Time { seconds: day * 86_400, nanoseconds: 0 };
            let text = time.rfc3339();
            if text.len() == 20 && !text.starts_with('-') {
                assert_eq!(Time::parse(&text), Some(time));
            }
        }
    }

    #[test]
    fn until_is_read_loosely() {
        let now = Time { seconds: 1_000_000, nanoseconds: 5 };
        for (text, seconds) in [
            ("1h30m", Some(1_000_000 - 5400)),
            ("1.5h", Some(1_000_000 - 5400)),
            ("500ms", Some(1_000_000)),
            ("1136214245", Some(1_136_214_245)),
            ("1136214245.5", Some(1_136_214_245)),
            ("2006-01-02", Some(1_136_160_000)),
            ("2006-01-02T15:04:05", Some(1_136_214_245)),
            ("", None),
            ("1d", None),
            ("h", None),
            ("1e999h", None),
            ("..h", None),
        ] {
            assert_eq!(Time::parse_loosely(text, now).map(|time| time.seconds), seconds, "{text}");
        }
    }
}
