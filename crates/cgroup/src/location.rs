//! Where a container's group is: `linux.cgroupsPath` and what stands for it when it is missing.
//!
//! With the cgroupfs driver it is a path below the root of every hierarchy that is mounted, whether it begins with a
//! slash or not; with systemd it is `slice:prefix:name`, which becomes the scope `prefix-name.scope` in that slice. The
//! text comes from outside: nothing of it may lead out of the tree, and a unit's name is escaped as systemd-escape(1)
//! does, since an OCI id may hold a `+`.

use crate::{Error, gvariant};
use serde::{Deserialize, Serialize};

/// What our groups and scopes are named after.
const PREFIX: &str = "mycontainer";
const PROPERTY: &str = "org.systemd.property.";
/// NAME_MAX of linux/limits.h; UNIT_NAME_MAX of systemd is the same.
const LONGEST: usize = 255;

/// Where a container's group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// Below the root of every hierarchy that is mounted: `/docker/ID`, or a relative path (taken below the root too).
    /// Parents are made.
    Path(String),
    /// A transient systemd unit, a scope unless its name ends in `.slice`.
    Systemd {
        /// The slice it is in, such as `system.slice` or `machine-web.slice`.
        slice: String,
        /// The unit's full name.
        scope: String,
        /// Asked for of the user's systemd, not of the system's.
        user: bool,
        /// Of the annotations `org.systemd.property.NAME`: name and value, the value as GVariant text.
        properties: Vec<(String, String)>,
    },
    /// No group of its own: it stays in the group of whoever starts it, with no limits and no device rules.
    None,
}

impl Location {
    /// The group `name` inside the group `parent`: a path below the root of every hierarchy, or the name of a slice,
    /// which is where systemd has that. `/` is the root itself.
    pub fn inside(parent: &str, name: &str) -> Result<Self, Error> {
        let parent = match parent.strip_suffix(".slice") {
            Some(_) if !parent.contains('/') => slice_path(parent)?,
            _ if !parent.is_empty() && parent.chars().all(|c| c == '/') => String::new(),
            _ => normal(parent)?,
        };
        Ok(Self::Path(normal(&format!("{parent}/{name}"))?))
    }

    /// The location that a configuration names. Without a path it is the group `mycontainer-NAME` at the root, with
    /// `systemd` the scope `mycontainer-NAME.scope` in system.slice, or in user.slice of the user's systemd for anyone
    /// but root, also when that one is root in a user namespace.
    pub fn from_oci<'a>(
        cgroups_path: Option<&str>,
        default_name: &str,
        systemd: bool,
        annotations: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let path = cgroups_path.filter(|path| !path.is_empty());
        if !systemd {
            let path = path.map_or_else(|| prefixed(default_name), str::to_owned);
            return Ok(Self::Path(format!("/{}", normal(&path)?)));
        }
        let user = crate::systemd::is_users();
        let (slice, prefix, name) = match path {
            None => ("", PREFIX, default_name),
            Some(path) => match path.split(':').collect::<Vec<_>>()[..] {
                [slice, prefix, name] if !name.is_empty() => (slice, prefix, name),
                _ => return Err(wrong(path, "for systemd it is slice:prefix:name")),
            },
        };
        let slice = match slice {
            "" if user => "user.slice",
            "" => "system.slice",
            named => named,
        };
        slice_path(slice)?;
        let mut properties = Vec::new();
        for (key, value) in annotations {
            let Some(name) = key.strip_prefix(PROPERTY).filter(|name| !name.is_empty()) else { continue };
            gvariant::property(name, value)?;
            properties.push((name.to_owned(), value.to_owned()));
        }
        properties.sort();
        Ok(Self::Systemd { slice: slice.into(), scope: unit(prefix, name)?, user, properties })
    }
}

fn wrong(location: &str, why: &'static str) -> Error {
    Error::Location { location: location.into(), why }
}

fn prefixed(name: &str) -> String {
    if name.starts_with("mycontainer-") { name.to_owned() } else { format!("{PREFIX}-{name}") }
}

/// Whether a path, as the kernel tells it, leads to a group that is seen here: empty for the root.
pub(crate) fn is_below_root(path: &str) -> bool {
    path.is_empty() || normal(path).is_ok_and(|normal| normal == path)
}

/// The path without slashes around it, doubled slashes and dots; refused when it could lead anywhere else.
pub(crate) fn normal(path: &str) -> Result<String, Error> {
    if path.contains(['\0', '\n']) {
        return Err(wrong(path, "a NUL or a line break cannot be in a path"));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    match parts.as_slice() {
        [] => Err(wrong(path, "a container cannot be in the root group itself")),
        parts if parts.contains(&"..") => Err(wrong(path, "`..` could lead out of the tree of groups")),
        parts if parts.iter().any(|part| part.len() > LONGEST) => Err(wrong(path, "a part of it exceeds 255 bytes")),
        parts => Ok(parts.join("/")),
    }
}

fn unit(prefix: &str, name: &str) -> Result<String, Error> {
    let unit = match (prefix, name) {
        (_, name) if name.ends_with(".slice") => {
            slice_path(name)?;
            return Ok(name.into());
        }
        ("", name) => format!("{}.scope", escaped(name)),
        (prefix, name) => format!("{}-{}.scope", escaped(prefix), escaped(name)),
    };
    if unit.len() > LONGEST { Err(wrong(&unit, "a unit's name has at most 255 bytes")) } else { Ok(unit) }
}

/// As systemd.unit(5), "String escaping for inclusion in unit names", but that a dash stays: it is allowed in a scope's
/// name, and whoever looks for `libpod-ID.scope` knows it so.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b':' => out.push(byte.into()),
            b'.' if at > 0 => out.push('.'),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out
}

/// Where a slice is below its manager's group, without a leading slash: `a-b.slice` is in `a.slice`. [systemd.slice(5)]
pub(crate) fn slice_path(slice: &str) -> Result<String, Error> {
    let no_slice = || wrong(slice, "a slice is named like a-b.slice");
    let stem = slice.strip_suffix(".slice").ok_or_else(no_slice)?;
    if stem == "-" {
        return Ok(String::new());
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '\\' | '@');
    if slice.len() > LONGEST || !stem.chars().all(good) || stem.split('-').any(|part| matches!(part, "" | "." | "..")) {
        return Err(no_slice());
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    Ok(ends.map(|end| format!("{}.slice", &stem[..end])).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(cgroups_path: Option<&str>, id: &str) -> Result<String, String> {
        match Location::from_oci(cgroups_path, id, false, std::iter::empty()) {
            Ok(Location::Path(path)) => Ok(path),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn scope(cgroups_path: Option<&str>, id: &str) -> Result<(String, String), String> {
        match Location::from_oci(cgroups_path, id, true, std::iter::empty()) {
            Ok(Location::Systemd { slice, scope, .. }) => Ok((slice, scope)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_path_is_below_the_root_whatever_it_looks_like() {
        for (given, id, expected) in [
            (None, "c1", "/mycontainer-c1"),
            (Some(""), "a+b_c.d", "/mycontainer-a+b_c.d"),
            (None, "mycontainer-0123", "/mycontainer-0123"),
            (Some("/docker/ID"), "x", "/docker/ID"),
            (Some("docker/ID"), "x", "/docker/ID"),
            (Some("//a/./b//c/"), "x", "/a/b/c"),
            (Some("/a:b/..c"), "x", "/a:b/..c"),
            (Some("system.slice:libpod:x"), "x", "/system.slice:libpod:x"),
        ] {
            assert_eq!(path(given, id).as_deref(), Ok(expected), "{given:?}");
        }
        let long = format!("/a/{}", "x".repeat(256));
        for bad in ["/", ".", "/a/../b", "..", "a\0b", "a\nb", &long] {
            assert!(path(Some(bad), "x").unwrap_err().starts_with("the cgroup "), "{bad}");
        }
    }

    #[test]
    fn a_group_is_inside_another() {
        for (parent, expected) in [
            ("web", Some("web/x")),
            ("//web/a/", Some("web/a/x")),
            ("/", Some("x")),
            ("user-1000.slice", Some("user.slice/user-1000.slice/x")),
            ("-.slice", Some("x")),
            ("/a-b.slice", Some("a-b.slice/x")),
            ("a..b", Some("a..b/x")),
            ("../..", None),
            ("/web/../..", None),
            ("..", None),
            ("..slice", None),
            ("a-..-b.slice", None),
            ("web\nx", None),
            ("web\0", None),
            ("", None),
            (".", None),
        ] {
            let inside = Location::inside(parent, "x").ok();
            assert_eq!(inside, expected.map(|path| Location::Path(path.into())), "{parent:?}");
        }
    }

    #[test]
    fn systemd_names_become_units() {
        for (given, id, slice, unit) in [
            (None, "c1", "system.slice", "mycontainer-c1.scope"),
            (None, "a+b", "system.slice", "mycontainer-a\\x2bb.scope"),
            (Some("system.slice:docker:0123"), "x", "system.slice", "docker-0123.scope"),
            (Some(":libpod:x.y"), "x", "system.slice", "libpod-x.y.scope"),
            (Some("user-1000.slice::web"), "x", "user-1000.slice", "web.scope"),
            (Some("-.slice:a:b"), "x", "-.slice", "a-b.scope"),
            (Some("a.slice:p:b-c.slice"), "x", "a.slice", "b-c.slice"),
        ] {
            assert_eq!(scope(given, id), Ok((slice.to_owned(), unit.to_owned())), "{given:?}");
        }
        let long = format!("system.slice:p:{}", "x".repeat(255));
        for bad in [
            "/docker/x",
            "a:b",
            "a:b:c:d",
            "system.slice:p:",
            "a:p:n",
            "a/b.slice:p:n",
            "a--b.slice:p:n",
            ".slice:p:n",
            &long,
        ] {
            assert!(scope(Some(bad), "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn slices_are_inside_each_other_by_their_dashes() {
        for (slice, path) in
            [("-.slice", ""), ("system.slice", "system.slice"), ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice")]
        {
            assert_eq!(slice_path(slice).unwrap(), path);
        }
    }

    #[test]
    fn annotations_become_properties_of_the_unit() {
        let notes = [
            ("org.systemd.property.TimeoutStopUSec", "uint64 123456789"),
            ("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            ("io.other", "x"),
            ("org.systemd.property.", "x"),
        ];
        match Location::from_oci(None, "x", true, notes.into_iter()).unwrap() {
            Location::Systemd { properties, .. } => {
                let names: Vec<_> = properties.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, ["CollectMode", "TimeoutStopUSec"]);
            }
            other => panic!("{other:?}"),
        }
        for bad in
            [("org.systemd.property.A1b", "1"), ("org.systemd.property.Ab", "1"), ("org.systemd.property.Abc", "<")]
        {
            assert!(Location::from_oci(None, "x", true, [bad].into_iter()).is_err(), "{bad:?}");
        }
    }
}
