//! Points in time as RFC 3339 writes them, with nanoseconds: what image configurations, filters and logs hold, and what
//! `--since` and `--until` take.
//!
//! Days are counted as in Howard Hinnant's `days_from_civil`: in the Gregorian calendar, also before it began.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds.
const SECOND: i128 = 1_000_000_000;
/// How long [`Time::fixed`] is.
pub const FIXED: usize = 30;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Since 1970.
    pub seconds: i64,
    /// Below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Time {
    /// This moment.
    pub fn now() -> Time {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time { seconds: now.as_secs().cast_signed(), nanoseconds: now.subsec_nanos() }
    }

    /// Reads `2006-01-02T15:04:05.999999999Z` or with `+01:00`; date and time may have a blank between them.
    pub fn parse(text: &str) -> Option<Time> {
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

    /// Reads what `--since` and `--until` take: RFC 3339, also without its zone (then it is UTC), its minutes, or its
    /// clock; seconds since 1970, with a fraction or without; or how long ago, as `1h30m`.
    pub fn parse_loosely(text: &str, now: Time) -> Option<Time> {
        if let Some(time) = Time::parse(text) {
            return Some(time);
        }
        let (clock, zone) = split_zone(text);
        let endings = ["", ":00", ":00:00", "T00:00:00"];
        if let Some(time) = endings.iter().find_map(|ending| Time::parse(&format!("{clock}{ending}{zone}"))) {
            return Some(time);
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if are_digits(whole) && are_digits(fraction) {
            let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
            return Some(Time { seconds: whole.parse().ok()?, nanoseconds });
        }
        now.before(span(text)?)
    }

    /// The moment so many nanoseconds before.
    fn before(self, span: i128) -> Option<Time> {
        let total = i128::from(self.seconds) * SECOND + i128::from(self.nanoseconds) - span;
        let seconds = i64::try_from(total.div_euclid(SECOND)).ok()?;
        Some(Time { seconds, nanoseconds: u32::try_from(total.rem_euclid(SECOND)).ok()? })
    }

    /// How long until then; none when it is over.
    pub fn from_now(self) -> Option<Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let then = Duration::new(u64::try_from(self.seconds).ok()?, self.nanoseconds);
        then.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// In UTC, always with nine digits of a fraction and so of one length, which needs no memory of its own:
    /// `2006-01-02T15:04:05.500000000Z`. A year that has not four digits is the nearest one that has.
    pub fn fixed(self) -> [u8; FIXED] {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let mut put = |at: usize, digits: usize, number: i64| {
            let mut left = number;
            for place in text[at..at + digits].iter_mut().rev() {
                *place = b'0' + (left % 10) as u8;
                left /= 10;
            }
        };
        put(0, 4, year.clamp(0, 9999));
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, second / 3600);
        put(14, 2, second / 60 % 60);
        put(17, 2, second % 60);
        put(20, 9, self.nanoseconds.into());
        text
    }

    /// In UTC, with a fraction only where there is one: `2006-01-02T15:04:05.5Z`.
    pub fn rfc3339(self) -> String {
        let (date, clock) = self.civil();
        let fraction = match self.nanoseconds {
            0 => String::new(),
            n => format!(".{}", format!("{n:09}").trim_end_matches('0')),
        };
        format!("{date}T{clock}{fraction}Z")
    }

    /// As Docker's `{{.CreatedAt}}` in UTC: `2006-01-02 15:04:05 +0000 UTC`.
    pub fn listed(self) -> String {
        let (date, clock) = self.civil();
        format!("{date} {clock} +0000 UTC")
    }

    fn civil(self) -> (String, String) {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        (format!("{year:04}-{month:02}-{day:02}"), clock)
    }
}

/// A time in RFC 3339 as [`Time::fixed`] writes it. What is of that form already is only looked at.
pub fn fixed(text: &str) -> Option<[u8; FIXED]> {
    const FORM: &[u8; FIXED] = b"0000-00-00T00:00:00.000000000Z";
    // No month above 12, and so on; that no day is the 31st of February is left to who wrote it.
    const MOST: [(usize, &[u8; 2]); 5] = [(5, b"12"), (8, b"31"), (11, b"23"), (14, b"59"), (17, b"60")];
    if let Ok(bytes) = <[u8; FIXED]>::try_from(text.as_bytes()) {
        let is_like = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
        let is_in_range = |(at, most): &(usize, &[u8; 2])| bytes[*at..*at + 2] <= most[..];
        if bytes.iter().zip(FORM).all(is_like) && MOST.iter().all(is_in_range) {
            return Some(bytes);
        }
    }
    Time::parse(text).map(Time::fixed)
}

/// Year, month and day of days since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// A time and its zone; without one it is UTC.
fn split_zone(text: &str) -> (&str, &str) {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return (clock, "Z");
    }
    match text.len().checked_sub("+01:00".len()).and_then(|at| text.split_at_checked(at)) {
        // What is shorter than a date has none: that of 2006-01-02 is no zone.
        Some((clock, zone)) if zone.starts_with(['+', '-']) && clock.len() >= "2006-01-02".len() => (clock, zone),
        _ => (text, "Z"),
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

/// A length of time as Go writes it: `1h30m`, `1.5s`, `500ms`, `0`.
pub fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    span(text).and_then(|nanoseconds| u64::try_from(nanoseconds).ok()).map(Duration::from_nanos)
}

/// `1h30m`, in nanoseconds, as Go writes it.
fn span(text: &str) -> Option<i128> {
    let mut rest = text;
    let mut nanoseconds = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let count: f64 = rest[..end].parse().ok()?;
        let unit = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(&rest[end..], |n| &rest[end..end + n]);
        nanoseconds += count
            * match unit {
                "h" => 3600e9,
                "m" => 60e9,
                "s" => 1e9,
                "ms" => 1e6,
                "us" | "µs" | "μs" => 1e3,
                "ns" => 1.0,
                _ => return None,
            };
        rest = &rest[end + unit.len()..];
    }
    (!text.is_empty() && nanoseconds < 1e24).then_some(nanoseconds as i128)
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
    fn since_and_until_are_read_loosely() {
        let now = Time { seconds: 1_000_000, nanoseconds: 5 };
        for (text, expected) in [
            ("1h30m", Some((1_000_000 - 5400, 5))),
            ("1.5h", Some((1_000_000 - 5400, 5))),
            ("500ms", Some((999_999, 500_000_005))),
            ("1s5ns", Some((999_999, 0))),
            ("0s", Some((1_000_000, 5))),
            ("277h47m", Some((-20, 5))),
            ("1136214245", Some((1_136_214_245, 0))),
            ("1136214245.5", Some((1_136_214_245, 500_000_000))),
            ("1136214245.000000001", Some((1_136_214_245, 1))),
            ("2006-01-02", Some((1_136_160_000, 0))),
            ("2006-01-02T15", Some((1_136_214_000, 0))),
            ("2006-01-02T15:04", Some((1_136_214_240, 0))),
            ("2006-01-02T15:04:05", Some((1_136_214_245, 0))),
            ("2006-01-02T15:04:05.25", Some((1_136_214_245, 250_000_000))),
            ("2006-01-02T15:04:05.25+01:00", Some((1_136_210_645, 250_000_000))),
            ("2006-01-02T15:04+01:00", Some((1_136_210_640, 0))),
            ("2006-01-02T15-01:00", Some((1_136_217_600, 0))),
            ("2006-01-02+01:00", Some((1_136_156_400, 0))),
            ("2006-01-02Z", Some((1_136_160_000, 0))),
            ("+01:00", None),
            ("Z", None),
            ("", None),
            ("1d", None),
            ("h", None),
            ("1e999h", None),
            ("..h", None),
            ("99999999999999999999999h", None),
            ("2006-01", None),
            ("2006-01-02T", None),
            ("yesterday", None),
        ] {
            let time = Time::parse_loosely(text, now).map(|time| (time.seconds, time.nanoseconds));
            assert_eq!(time, expected, "{text}");
        }
    }

    #[test]
    fn the_fixed_form_of_a_text() {
        for (text, expected) in [
            ("2006-01-02T15:04:05.123456789Z", Some("2006-01-02T15:04:05.123456789Z")),
            ("2006-01-02T15:04:05.1234567+01:00", Some("2006-01-02T14:04:05.123456700Z")),
            ("2006-01-02T15:04:05.12Z", Some("2006-01-02T15:04:05.120000000Z")),
            ("2006-01-02t15:04:05.123456789z", Some("2006-01-02T15:04:05.123456789Z")),
            ("2006-13-02T15:04:05.123456789Z", None),
            ("2006-01-02T25:04:05.123456789Z", None),
            ("2006-01-02T15:04:99.123456789Z", None),
            ("2006-01-02T15:04:05.12345678xZ", None),
            ("2006-01-02", None),
        ] {
            let fixed = fixed(text).map(|fixed| String::from_utf8(fixed.to_vec()).unwrap());
            assert_eq!(fixed.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_fixed_form_is_the_other_with_all_digits() {
        for seconds in [-62_135_596_800, -1, 0, 951_782_399, 951_782_400, 1_136_214_245, 253_402_300_799] {
            let time = Time { seconds, nanoseconds: 120_000_000 };
            let text = String::from_utf8(time.fixed().to_vec()).unwrap();
            assert_eq!(text, time.rfc3339().replace(".12Z", ".120000000Z"));
            assert_eq!(Time::parse(&text), Some(time));
        }
        for seconds in [i64::MIN, i64::MAX] {
            assert_eq!(Time { seconds, nanoseconds: 0 }.fixed()[29], b'Z');
        }
    }
}
