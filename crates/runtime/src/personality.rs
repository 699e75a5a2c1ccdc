//! The execution domain: `linux.personality`.
//!
//! LINUX32 makes `uname` say that the machine is a 32-bit one. It is kept over exec and by children; a program that
//! knows of it can set it back, so it is a convenience and no confinement. The flags of personality(2), some of which
//! weaken address space randomisation, are not for containers: the specification allows none. [config-linux.md]

use crate::error::Error;
use oci_spec::runtime::{Linux, LinuxPersonalityDomain};
use step::step;

/// A domain that was checked. [linux/personality.h]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Personality {
    /// PER_LINUX.
    Linux,
    /// PER_LINUX32.
    Linux32,
}

/// Checks the section.
pub(crate) fn plan(linux: &Linux) -> Result<Option<Personality>, Error> {
    let Some(personality) = linux.personality() else { return Ok(None) };
    if let Some(flag) = personality.flags().iter().flatten().next() {
        return Err(Error::Invalid(format!("linux.personality has the flag {flag:?}, and it can have none")));
    }
    Ok(Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => Personality::Linux,
        LinuxPersonalityDomain::PerLinux32 => Personality::Linux32,
    }))
}

/// Sets the calling process's domain. Before the system call filter, which may forbid it.
pub(crate) fn apply(personality: Personality) -> Result<(), Error> {
    let (name, domain) = match personality {
        Personality::Linux => ("LINUX", 0),
        Personality::Linux32 => ("LINUX32", 8),
    };
    let what = || format!("set the execution domain {name}");
    step("set-personality", "asked for by linux.personality", what, || sys::process::set_personality(domain))
        .map_err(|source| Error::Process { what: what(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;

    fn of(json: &str) -> Result<Option<Personality>, Error> {
        let mut linux = Linux::default();
        linux.set_personality(Some(serde_json::from_str(json).unwrap()));
        plan(&linux)
    }

    #[test]
    fn domains_and_flags() {
        assert_eq!(plan(&Linux::default()).unwrap(), None);
        assert_eq!(of(r#"{"domain": "LINUX"}"#).unwrap(), Some(Personality::Linux));
        assert_eq!(of(r#"{"domain": "LINUX32", "flags": []}"#).unwrap(), Some(Personality::Linux32));
        let said = of(r#"{"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}"#).unwrap_err().to_string();
        assert!(said.contains("ADDR_NO_RANDOMIZE"), "{said}");
    }

    #[test]
    fn uname_tells_the_domain() {
        let machine = || rustix::system::uname().machine().to_str().unwrap().to_owned();
        if machine() != "x86_64" {
            return;
        }
        in_child(|| {
            apply(Personality::Linux32).unwrap();
            assert_eq!(machine(), "i686");
            apply(Personality::Linux).unwrap();
            assert_eq!(machine(), "x86_64");
        });
    }
}
