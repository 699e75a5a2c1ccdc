//! Tables, sizes, ages and filters as Docker writes and reads them.

use engine::ParseError;

/// Blanks between two columns.
const GAP: usize = 3;
/// A column that another follows is no narrower, with its gap.
const NARROWEST: usize = 10;

/// Lines of cells with tabs between them, with the columns one below the other.
pub(crate) fn aligned(lines: &str) -> String {
    aligned_by(lines, NARROWEST)
}

/// As [`aligned`], with no column narrower than this, but for the last.
pub(crate) fn aligned_by(lines: &str, narrowest: usize) -> String {
    let rows: Vec<Vec<&str>> = lines.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (n, cell) in row[..row.len() - 1].iter().enumerate() {
            if n == widths.len() {
                widths.push(narrowest);
            }
            widths[n] = widths[n].max(cell.chars().count() + GAP);
        }
    }
    let mut text = String::new();
    for row in rows {
        for (n, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if n + 1 < row.len() {
                pad(&mut text, widths[n] - cell.chars().count());
            }
        }
        text.push('\n');
    }
    text
}

fn pad(text: &mut String, mut width: usize) {
    const BLANKS: &str = "                ";
    while width > 0 {
        let some = width.min(BLANKS.len());
        text.push_str(&BLANKS[..some]);
        width -= some;
    }
}

/// Text of which nothing controls the terminal: it may come from an image that nobody trusts. Tabs and newlines stay.
pub(crate) fn harmless(text: &str) -> String {
    if !text.contains(|c: char| c.is_control() && !matches!(c, '\t' | '\n')) {
        return text.to_owned();
    }
    let shown = |c: char| match c {
        '\t' | '\n' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// A size in units of 1000 with up to four digits: `7.834MB`, as Docker shows what it transfers.
pub(crate) fn size(bytes: u64) -> String {
    size_with(bytes, 4)
}

/// A size with up to three digits: `7.83MB`, as Docker lists images.
pub(crate) fn short_size(bytes: u64) -> String {
    size_with(bytes, 3)
}

/// A size in units of 1024 with up to four digits: `7.834MiB`, as Docker shows memory.
pub(crate) fn binary_size(bytes: u64) -> String {
    in_units(bytes, 1024.0, 4, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

fn size_with(bytes: u64, digits: i32) -> String {
    in_units(bytes, 1000.0, digits, ["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

fn in_units(bytes: u64, step: f64, digits: i32, units: [&str; 7]) -> String {
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= step && unit + 1 < units.len() {
        size /= step;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// As C's `%.4g` of a number from 0 to below 1024.
fn significant(number: f64, digits: i32) -> String {
    let scientific = format!("{number:.*e}", (digits - 1) as usize);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if exponent >= digits {
        let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        return format!("{}e+{exponent:02}", without_zeros(mantissa));
    }
    without_zeros(&format!("{number:.*}", (digits - 1 - exponent).max(0) as usize)).to_owned()
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// How long something took or is ago, roughly: `About a minute`, `3 weeks`.
pub(crate) fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// How long ago: `2 weeks ago`.
pub(crate) fn ago(then: engine::when::Time, now: engine::when::Time) -> String {
    format!("{} ago", duration(now.seconds - then.seconds))
}

/// What `--filter` asks for: `key=value`, or `key!=value` where Docker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Whether those are wanted that do not match.
    pub(crate) is_not: bool,
}

impl Filter {
    /// Reads a filter; `known` are the keys that the verb acts on.
    pub(crate) fn parse(text: &str, known: &[&str]) -> Result<Filter, ParseError> {
        let (key, value) = text.split_once('=').ok_or_else(|| ParseError::new(text, "write KEY=VALUE"))?;
        let (key, is_not) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
        let key = key.trim().to_lowercase();
        if !known.contains(&key.as_str()) {
            return Err(ParseError::new(text, format!("the keys are {}", known.join(", "))));
        }
        Ok(Filter { key, value: value.trim().to_owned(), is_not })
    }

    /// A value that says yes or no.
    pub(crate) fn truth(&self) -> Result<bool, ParseError> {
        match self.value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(!self.is_not),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(self.is_not),
            other => Err(ParseError::new(other, format!("{} is true or false", self.key))),
        }
    }

    /// Whether labels are as `name` or `name=value` says.
    pub(crate) fn label<'a>(&self, find: impl Fn(&str) -> Option<&'a str>) -> bool {
        let has = match self.value.split_once('=') {
            Some((name, value)) => find(name) == Some(value),
            None => find(&self.value).is_some(),
        };
        has != self.is_not
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_docker() {
        for (bytes, long, short) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1000, "1kB", "1kB"),
            (1024, "1.024kB", "1.02kB"),
            (7_834_567, "7.835MB", "7.83MB"),
            (7_800_000, "7.8MB", "7.8MB"),
            (77_819_042, "77.82MB", "77.8MB"),
            (999_949, "999.9kB", "1e+03kB"),
            (999_999, "1000kB", "1e+03kB"),
            (1_234_567_890, "1.235GB", "1.23GB"),
            (u64::MAX, "18.45EB", "18.4EB"),
        ] {
            assert_eq!((size(bytes).as_str(), short_size(bytes).as_str()), (long, short), "{bytes}");
        }
    }

    #[test]
    fn memory_is_in_units_of_1024() {
        for (bytes, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (7 << 20, "7MiB"),
            (8_323_000_000, "7.751GiB"),
        ] {
            assert_eq!(binary_size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn ages_are_those_of_docker() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        for (seconds, expected) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR * 3 / 2 - 1, "About an hour"),
            (HOUR * 3 / 2, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
            (20_000 * DAY, "54 years"),
        ] {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn columns_stand_below_each_other() {
        let text = "REPOSITORY\tTAG\tSIZE\nalpine\tlatest\t7MB\nä-much-longer-name\t1\t\n";
        let expected = "REPOSITORY           TAG       SIZE\n\
                        alpine               latest    7MB\n\
                        ä-much-longer-name   1         \n";
        assert_eq!(aligned(text), expected);
        assert_eq!(aligned(""), "");
        assert_eq!(aligned("one\n\ntwo\tx\n"), "one\n\ntwo       x\n");
    }

    #[test]
    fn filters() {
        let parse = |text| Filter::parse(text, &["label", "dangling"]);
        let filter = parse("label=a=b").unwrap();
        assert_eq!((filter.key.as_str(), filter.value.as_str(), filter.is_not), ("label", "a=b", false));
        assert!(filter.label(|name| (name == "a").then_some("b")) && !filter.label(|_| Some("c")));
        assert!(parse("label!=a").unwrap().label(|_| None));
        assert!(parse("Dangling = true").unwrap().truth().unwrap());
        assert!(!parse("dangling!=1").unwrap().truth().unwrap());
        for wrong in ["dangling", "", "=x", "color=red"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("dangling=perhaps").unwrap().truth().is_err());
    }
}
