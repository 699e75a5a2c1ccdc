//! Limits as properties of a systemd unit (systemd.resource-control(5)).
//!
//! They are read off the list of writes for the group's files, so that file and property cannot differ, whether the limit
//! came from a field of the specification or from `unified`. What systemd has no property for is left out here: the
//! files get it.

use crate::dbus_value::Value;
use crate::devices::{self, Kind, MKNOD, READ, Rule, WRITE};
use crate::resources::{self, Write};
use crate::systemd::Property;

/// The kernel's default, in microseconds.
const PERIOD: u64 = 100_000;

/// Of either version of cgroups. `period` is the CPU period that the group has now.
pub(crate) fn limits(writes: &[Write], period: Option<u64>) -> Vec<Property> {
    let mut properties = Vec::new();
    for write in writes {
        properties.extend(limit(write, period));
    }
    // On v1 quota and period are two files.
    let v1 = |file: &str| writes.iter().find(|write| write.file == file).map(|write| write.value.as_str());
    let (quota, new_period) = (v1("cpu.cfs_quota_us"), v1("cpu.cfs_period_us").and_then(|text| text.parse().ok()));
    if quota.is_some() || new_period.is_some() {
        properties.extend(cpu(quota, new_period, period));
    }
    properties
}

fn limit(write: &Write, period: Option<u64>) -> Vec<Property> {
    let value = write.value.trim();
    // `max` and v1's -1 are 2^64-1, which is "infinity" for systemd.
    let number = match value {
        "max" | "-1" => Some(u64::MAX),
        digits => digits.parse().ok(),
    };
    let name = match write.file.as_str() {
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.high" => "MemoryHigh",
        "memory.limit_in_bytes" => "MemoryLimit",
        "cpu.weight" => "CPUWeight",
        "cpu.shares" => "CPUShares",
        "pids.max" => "TasksMax",
        "blkio.weight" => "BlockIOWeight",
        "cpu.max" => {
            let mut words = value.split_whitespace();
            return cpu(words.next(), words.next().and_then(|text| text.parse().ok()), period);
        }
        "cpuset.cpus" => return set("AllowedCPUs", value),
        // systemd has neither of them on v1, and ignores them there.
        "cpuset.mems" => return set("AllowedMemoryNodes", value),
        _ => return Vec::new(),
    };
    number.map(|number| (name.to_owned(), Value::U64(number))).into_iter().collect()
}

/// systemd's quota is in microseconds a second, and becomes a whole percentage, so it is rounded up to one: a group must
/// not have more than the one above it.
fn cpu(quota: Option<&str>, new_period: Option<u64>, period: Option<u64>) -> Vec<Property> {
    let mut properties = Vec::new();
    if let Some(period) = new_period {
        properties.push(("CPUQuotaPeriodUSec".to_owned(), Value::U64(period)));
    }
    let period = new_period.or(period).unwrap_or(PERIOD).max(1);
    let per_second = match quota {
        None => return properties,
        Some(text) => match text.parse::<u64>() {
            Ok(quota) => quota.saturating_mul(1_000_000).div_ceil(period).next_multiple_of(10_000),
            Err(_) => u64::MAX,
        },
    };
    properties.push(("CPUQuotaPerSecUSec".to_owned(), Value::U64(per_second)));
    properties
}

/// A list of numbers as a bit mask, the lowest byte first.
fn set(name: &str, list: &str) -> Vec<Property> {
    let Some(numbers) = resources::numbers(list) else { return Vec::new() };
    let mut bytes = vec![0u8; numbers.last().map_or(0, |&last| usize::from(last) / 8 + 1)];
    for number in numbers {
        bytes[usize::from(number) / 8] |= 1 << (number % 8);
    }
    vec![(name.to_owned(), Value::Array("y".into(), bytes.into_iter().map(Value::Byte).collect()))]
}

/// The device rules, so that systemd's own filter does not take what ours gives. `known` is /proc/devices. What systemd
/// cannot express is left to our filter, with systemd's open.
pub(crate) fn device_policy(rules: &[Rule], known: &str) -> Vec<Property> {
    let closed = match devices::exceptions(rules) {
        Ok(state) if !state.allow_by_default && !devices::allow_all(rules) => {
            state.except.iter().map(|rule| entry(rule, known)).collect::<Option<Vec<Value>>>()
        }
        _ => None,
    };
    let policy = if closed.is_some() { "strict" } else { "auto" };
    let list = |entries| ("DeviceAllow".to_owned(), Value::Array("(ss)".into(), entries));
    // An empty list forgets those before.
    let mut properties = vec![("DevicePolicy".to_owned(), Value::str(policy)), list(Vec::new())];
    properties.extend(closed.filter(|entries| !entries.is_empty()).map(list));
    properties
}

/// One device, all of one driver, or all: `/dev/char/1:3`, `char-pts`, `char-*`.
fn entry(rule: &Rule, known: &str) -> Option<Value> {
    let kind = match rule.kind {
        Kind::Char => "char",
        Kind::Block => "block",
        Kind::Any => return None,
    };
    let node = match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{}", driver(kind, major, known)?),
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
    };
    let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
    let access: String = letters.iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, letter)| letter).collect();
    Some(Value::Struct(vec![Value::Str(node), Value::Str(access)]))
}

/// The name that /proc/devices has for a major number.
fn driver(kind: &str, major: u32, known: &str) -> Option<String> {
    let heading = if kind == "char" { "Character devices:" } else { "Block devices:" };
    let section = known.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty());
    let number = major.to_string();
    section
        .filter_map(|line| line.trim_start().split_once(' '))
        .find(|(n, _)| *n == number)
        .map(|(_, name)| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(properties: Vec<Property>) -> Vec<String> {
        let text = |value: &Value| match value {
            Value::U64(n) => n.to_string(),
            Value::Str(text) => text.clone(),
            Value::Array(_, items) => format!("{items:?}"),
            other => format!("{other:?}"),
        };
        properties.iter().map(|(name, value)| format!("{name}={}", text(value))).collect()
    }

    #[test]
    fn files_become_properties() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("memory.max", "1048576", &["MemoryMax=1048576"]),
            ("memory.swap.max", "max", &["MemorySwapMax=18446744073709551615"]),
            ("memory.limit_in_bytes", "-1", &["MemoryLimit=18446744073709551615"]),
            ("memory.high", " 5 ", &["MemoryHigh=5"]),
            ("memory.high", "5M", &[]),
            ("memory.oom.group", "1", &[]),
            ("cpu.max", "50000", &["CPUQuotaPerSecUSec=500000"]),
            ("cpu.max", "50000 200000", &["CPUQuotaPeriodUSec=200000", "CPUQuotaPerSecUSec=250000"]),
            ("cpu.max", "12345 100000", &["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=130000"]),
            ("cpu.max", "max 50000", &["CPUQuotaPeriodUSec=50000", "CPUQuotaPerSecUSec=18446744073709551615"]),
            ("cpu.cfs_quota_us", "-1", &["CPUQuotaPerSecUSec=18446744073709551615"]),
            ("cpu.cfs_quota_us", "200000", &["CPUQuotaPerSecUSec=2000000"]),
            ("cpu.cfs_period_us", "5000", &["CPUQuotaPeriodUSec=5000"]),
            ("cpuset.cpus", "0-1,9", &["AllowedCPUs=[Byte(3), Byte(2)]"]),
            ("cpuset.mems", "0", &["AllowedMemoryNodes=[Byte(1)]"]),
            ("pids.max", "max", &["TasksMax=18446744073709551615"]),
            ("cpu.shares", "1024", &["CPUShares=1024"]),
            ("hugetlb.2MB.max", "4096", &[]),
        ];
        for (file, value, expected) in cases {
            assert_eq!(told(limits(&[Write::new("x", file, value)], None)), *expected, "{file}={value}");
        }
        let there = limits(&[Write::new("x", "cpu.max", "5000")], Some(10_000));
        assert_eq!(told(there), ["CPUQuotaPerSecUSec=500000"]);
    }

    #[test]
    fn devices_become_a_policy() {
        let known = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  7 loop\n";
        let policy = |rules: &[&str]| told(device_policy(&devices::tests::rules(rules).unwrap(), known)).join(" ");
        let strict = policy(&["-a *:* rwm", "+c 1:3 rwm", "+c 136:* rw", "+b *:* m", "+b 7:* r"]);
        for expected in [
            "DevicePolicy=strict DeviceAllow=[] DeviceAllow=",
            r#"[Str("/dev/char/1:3"), Str("rwm")]"#,
            r#"[Str("char-pts"), Str("rw")]"#,
            r#"[Str("block-*"), Str("m")]"#,
            r#"[Str("block-loop"), Str("r")]"#,
        ] {
            assert!(strict.contains(expected), "{strict}");
        }
        assert_eq!(policy(&["-a *:* rwm"]), "DevicePolicy=strict DeviceAllow=[]");
        let open: &[&[&str]] = &[
            &["+a *:* rwm"],
            &["+a *:* rwm", "-c 1:3 r"],
            &["-a *:* rwm", "+c *:3 r"],
            // Not in /proc/devices: systemd would refuse what the rule allows.
            &["-a *:* rwm", "+c 99:* r"],
            &["-a *:* rwm", "+c 1:* rwm", "-c 1:3 w"],
        ];
        for rules in open {
            assert_eq!(policy(rules), "DevicePolicy=auto DeviceAllow=[]", "{rules:?}");
        }
    }
}
