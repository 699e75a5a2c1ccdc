//! Which devices a container may use: the OCI rule list, and what cgroup v1 makes of it.
//!
//! The rules are taken in order, and for each kind of access (read, write, mknod) the last one that matches decides;
//! what no rule matches is denied. On v2 this is exactly the program of [`crate::device_filter`]. The v1 kernel knows
//! only a default and a set of exceptions to it, and forgets parts of a rule without a word, so the list is reduced to
//! that form here, and a list that has no such form is refused.

use crate::Error;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

pub(crate) const MKNOD: u8 = 1;
pub(crate) const READ: u8 = 2;
pub(crate) const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// The kind of device that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Block,
    Char,
}

/// One rule; a missing number stands for all numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    pub(crate) kind: Kind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    /// MKNOD, READ and WRITE.
    pub(crate) access: u8,
}

impl Rule {
    fn read(rule: &LinuxDeviceCgroup) -> Result<Self, Error> {
        let wrong = |why| Error::DeviceRule { rule: rule.to_string(), why };
        let kind = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::A => Kind::Any,
            LinuxDeviceType::B => Kind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => Kind::Char,
            LinuxDeviceType::P => return Err(wrong("a FIFO is not a device")),
        };
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(n) => u32::try_from(n).map(Some).map_err(|_| wrong("the number is out of range")),
        };
        let mut access = 0;
        for letter in rule.access().as_deref().unwrap_or("rwm").chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                _ => return Err(wrong("access is made of r, w and m")),
            };
        }
        if access == 0 {
            return Err(wrong("it names no access"));
        }
        Ok(Self { allow: rule.allow(), kind, major: number(rule.major())?, minor: number(rule.minor())?, access })
    }

    /// True for a rule about every access to every device.
    pub(crate) fn is_total(&self) -> bool {
        self.kind == Kind::Any && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }

    /// Whether both are about the same devices, whatever they say of them.
    pub(crate) fn same_devices(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Every device of `other` is one of this rule.
    fn covers(&self, other: &Self) -> bool {
        let within = |mine: Option<u32>, its: Option<u32>| mine.is_none() || mine == its;
        self.kind == other.kind && within(self.major, other.major) && within(self.minor, other.minor)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

impl std::fmt::Display for Rule {
    /// As `devices.allow` and `devices.deny` take it (kernel documentation, cgroup-v1/devices).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Any => "a",
            Kind::Block => "b",
            Kind::Char => "c",
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        [(READ, "r"), (WRITE, "w"), (MKNOD, "m")]
            .into_iter()
            .filter(|(bit, _)| self.access & bit != 0)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

/// Reads the rules in their order. What stands before the last rule about everything decides nothing and is left out.
pub(crate) fn read<'a>(rules: impl Iterator<Item = &'a LinuxDeviceCgroup>) -> Result<Vec<Rule>, Error> {
    let mut read = Vec::new();
    for rule in rules {
        let rule = Rule::read(rule)?;
        if rule.is_total() {
            read.clear();
        }
        read.push(rule);
    }
    Ok(read)
}

/// True when the rules restrict nothing, or there are none.
pub(crate) fn allow_all(rules: &[Rule]) -> bool {
    rules.first().is_none_or(|first| first.is_total() && first.allow) && rules.iter().all(|rule| rule.allow)
}

/// What v1 can hold: a default, and exceptions to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exceptions {
    pub(crate) allow_by_default: bool,
    pub(crate) except: Vec<Rule>,
}

/// Reduces the rules to a default and its exceptions.
pub(crate) fn exceptions(rules: &[Rule]) -> Result<Exceptions, Error> {
    let mut state = Exceptions { allow_by_default: false, except: Vec::new() };
    for rule in rules {
        if rule.is_total() {
            state = Exceptions { allow_by_default: rule.allow, except: Vec::new() };
        } else if rule.kind == Kind::Any {
            // In v1 a rule of type `a` is about everything, whatever numbers and access it names.
            state.add(Rule { kind: Kind::Block, ..*rule })?;
            state.add(Rule { kind: Kind::Char, ..*rule })?;
        } else {
            state.add(*rule)?;
        }
    }
    Ok(state)
}

/// The allowed devices of a `devices.list` whose default is to deny. None when it is to allow: the kernel then lists one
/// rule about everything, and not the exceptions.
pub(crate) fn kernel_list(text: &str) -> Option<Vec<Rule>> {
    let rules = text.lines().map(kernel_rule).collect::<Option<Vec<Rule>>>()?;
    rules.iter().all(|rule| rule.kind != Kind::Any).then_some(rules)
}

fn kernel_rule(line: &str) -> Option<Rule> {
    let (kind, rest) = line.split_once(' ')?;
    let (numbers, letters) = rest.split_once(' ')?;
    let (major, minor) = numbers.split_once(':')?;
    let kind = match kind {
        "a" => Kind::Any,
        "b" => Kind::Block,
        "c" => Kind::Char,
        _ => return None,
    };
    let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
    let bit = |letter, bit| if letters.contains(letter) { bit } else { 0 };
    let access = bit('r', READ) | bit('w', WRITE) | bit('m', MKNOD);
    Some(Rule { allow: true, kind, major: number(major)?, minor: number(minor)?, access })
}

/// What `these` rules have and `those` do not, by devices as they are written.
pub(crate) fn without(these: &[Rule], those: &[Rule]) -> Vec<Rule> {
    let rest = these.iter().map(|rule| {
        let has: u8 = those.iter().filter(|other| other.same_devices(rule)).fold(0, |all, other| all | other.access);
        Rule { access: rule.access & !has, ..*rule }
    });
    rest.filter(|rule| rule.access != 0).collect()
}

impl Exceptions {
    /// Everything is allowed.
    pub(crate) fn none() -> Self {
        Self { allow_by_default: true, except: Vec::new() }
    }

    fn add(&mut self, rule: Rule) -> Result<(), Error> {
        if rule.allow != self.allow_by_default {
            match self.except.iter_mut().find(|known| known.same_devices(&rule)) {
                Some(known) => known.access |= rule.access,
                None => self.except.push(rule),
            }
            return Ok(());
        }
        for known in self.except.iter_mut().filter(|known| known.overlaps(&rule) && known.access & rule.access != 0) {
            if !rule.covers(known) {
                let why = "it takes a part out of an earlier rule, which cgroup v1 cannot hold; cgroup v2 can";
                return Err(Error::DeviceRule { rule: rule.to_string(), why });
            }
            known.access &= !rule.access;
        }
        self.except.retain(|known| known.access != 0);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `+c 1:3 rwm` allows, `-a *:* rwm` denies.
    pub(crate) fn rules(text: &[&str]) -> Result<Vec<Rule>, Error> {
        let oci: Vec<LinuxDeviceCgroup> = text.iter().map(|line| oci(line)).collect();
        read(oci.iter())
    }

    pub(crate) fn oci(line: &str) -> LinuxDeviceCgroup {
        let words: Vec<&str> = line[1..].split([' ', ':']).collect();
        let number = |word: &str| if word == "*" { "-1".to_owned() } else { word.to_owned() };
        serde_json::from_str(&format!(
            r#"{{"allow":{},"type":"{}","major":{},"minor":{},"access":"{}"}}"#,
            line.starts_with('+'),
            words[0],
            number(words[1]),
            number(words[2]),
            words[3]
        ))
        .unwrap()
    }

    fn reduced(text: &[&str]) -> Result<(bool, String), String> {
        let state = exceptions(&rules(text).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        let except: Vec<String> = state.except.iter().map(ToString::to_string).collect();
        Ok((state.allow_by_default, except.join(", ")))
    }

    #[test]
    fn rules_are_reduced_to_what_v1_can_hold() {
        let cases: &[(&str, &[&str], bool, &str)] = &[
            ("nothing is allowed by default", &[], false, ""),
            ("one device", &["-a *:* rwm", "+c 1:3 rwm"], false, "c 1:3 rwm"),
            ("access adds up", &["+c 1:3 r", "+c 1:3 w"], false, "c 1:3 rw"),
            ("denied again in part", &["+c 1:3 rwm", "-c 1:3 w"], false, "c 1:3 rm"),
            ("denied again by a wider rule", &["+c 1:3 rwm", "+b 8:0 r", "-c *:* rwm"], false, "b 8:0 r"),
            ("everything but one", &["+a *:* rwm", "-b 8:0 w"], true, "b 8:0 w"),
            ("the last total rule wins", &["+c 1:3 rwm", "+a *:* rwm"], true, ""),
            ("any type, one access", &["+a *:* m"], false, "b *:* m, c *:* m"),
            ("any type, one number", &["+a 1:3 r"], false, "b 1:3 r, c 1:3 r"),
        ];
        for (name, text, default, except) in cases {
            assert_eq!(reduced(text), Ok((*default, (*except).to_owned())), "{name}");
        }
    }

    #[test]
    fn a_rule_that_v1_would_forget_is_refused() {
        for text in [["+c 1:* rwm", "-c 1:3 w"], ["+c *:3 r", "-c 1:* r"]] {
            assert!(reduced(&text).unwrap_err().contains("cgroup v1 cannot hold"), "{text:?}");
        }
        assert!(reduced(&["+a *:* rwm", "-b 8:* r", "+b 8:1 r"]).is_err());
    }

    #[test]
    fn the_kernels_list_is_read_and_compared() {
        assert_eq!(kernel_list("a *:* rwm\n"), None);
        assert_eq!(kernel_list("c 1:3\n"), None);
        let old = kernel_list("c 1:3 rwm\nb 8:* r\nc 5:0 rw\n").unwrap();
        let new = exceptions(&rules(&["+c 1:3 rw", "+c 5:0 rwm", "+c *:* m"]).unwrap()).unwrap().except;
        let told = |rules: Vec<Rule>| rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        assert_eq!(told(without(&new, &old)), "c 5:0 m, c *:* m");
        assert_eq!(told(without(&old, &new)), "c 1:3 m, b 8:* r");
    }

    #[test]
    fn malformed_rules_are_refused() {
        for text in ["+p 1:3 r", "+c 1:3 x", "+c 1:3 ", "+c -7:3 r", "+c 1:4294967296 r"] {
            assert!(rules(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_list_without_denials_after_a_total_allowance_allows_all() {
        assert!(allow_all(&[]));
        assert!(allow_all(&rules(&["-a *:* rwm", "+a *:* rwm", "+c 1:3 r"]).unwrap()));
        assert!(!allow_all(&rules(&["+a *:* rwm", "-c 1:3 r"]).unwrap()));
        assert!(!allow_all(&rules(&["+c 1:3 r"]).unwrap()));
        assert!(!allow_all(&rules(&["-a *:* rwm"]).unwrap()));
    }
}
