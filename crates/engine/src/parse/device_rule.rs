//! `--device-cgroup-rule`: which devices a container may use, beside those that it is given.

use super::ParseError;
use serde::{Deserialize, Serialize};

/// One rule, which lets it use what it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// `a`, `b` or `c`: all, disks, others.
    pub kind: char,
    /// None is every one, here and below.
    pub major: Option<i64>,
    /// The second number.
    pub minor: Option<i64>,
    /// Of `rwm`.
    pub access: String,
}

impl DeviceRule {
    /// `TYPE MAJOR:MINOR ACCESS`, as the kernel has it. [cgroup-v1/devices.rst]
    pub(crate) fn parse(text: &str) -> Result<DeviceRule, ParseError> {
        let wrong = || ParseError::new(text, "write TYPE MAJOR:MINOR ACCESS, as 'c 189:* rwm'");
        let words: Vec<&str> = text.split_whitespace().collect();
        let [kind @ ("a" | "b" | "c"), numbers, access] = words.as_slice() else { return Err(wrong()) };
        let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str| match text {
            "*" => Ok(None),
            digits => digits.parse::<u32>().map(|number| Some(number.into())).map_err(|_| wrong()),
        };
        let is_access = !access.is_empty() && access.chars().all(|c| "rwm".contains(c));
        let kind = kind.chars().next().filter(|_| is_access).ok_or_else(wrong)?;
        Ok(DeviceRule { kind, major: number(major)?, minor: number(minor)?, access: (*access).to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_the_kernels() {
        let rule = |kind, major, minor, access: &str| Some(DeviceRule { kind, major, minor, access: access.into() });
        for (text, expected) in [
            ("c 189:* rwm", rule('c', Some(189), None, "rwm")),
            ("b 8:0 r", rule('b', Some(8), Some(0), "r")),
            ("a *:* rwm", rule('a', None, None, "rwm")),
            ("d 1:1 r", None),
            ("c 1 r", None),
            ("c 1:1", None),
            ("c 1:1 x", None),
            ("c -1:1 r", None),
            ("c 1:1 r w", None),
            ("", None),
        ] {
            assert_eq!(DeviceRule::parse(text).ok(), expected, "{text}");
        }
    }
}
