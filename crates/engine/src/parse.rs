//! The values of flags, as Docker writes them.

pub(crate) mod device_rule;
mod mount;
pub(crate) mod network;
pub(crate) mod publish;

pub(crate) use mount::mount;
pub(crate) use network::network_name;

use crate::options::{DeviceMap, Relabel, Tmpfs, Ulimit, Volume};
use oci_spec::runtime::{Capability, PosixRlimitType};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A value that cannot be read: what was typed, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?}: {reason}")]
pub struct ParseError {
    value: String,
    reason: String,
}

impl ParseError {
    /// An error about `value`.
    pub fn new(value: impl Into<String>, reason: impl Into<String>) -> ParseError {
        ParseError { value: value.into(), reason: reason.into() }
    }
}

pub(crate) enum Mount {
    /// Of a path of the host, or a named volume.
    Bind(Volume),
    Tmpfs(Tmpfs),
    /// A volume without a name, by its place in the container.
    Anonymous(PathBuf),
}

/// A size in bytes: a number, perhaps with a fraction, and a unit of b, k, m, g, t, p (1024 each), `kb` and `kib` alike.
pub(crate) fn size(text: &str) -> Result<u64, ParseError> {
    let wrong = || ParseError::new(text, "it is no size: write bytes, or a number with k, m, g or t");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let unit = unit.trim().trim_end_matches('b').trim_end_matches('i');
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    let scale = 1u64 << (10 * power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(wrong);
    }
    let value: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = value * scale as f64;
    if bytes.is_finite() && (0.0..i64::MAX as f64).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Processors, in billionths.
pub(crate) fn cpus(text: &str) -> Result<u64, ParseError> {
    let value: f64 = text.parse().map_err(|_| ParseError::new(text, "it is no number of processors"))?;
    if !(0.01..=1_000_000.0).contains(&value) {
        return Err(ParseError::new(text, "a container can have 0.01 processors or more"));
    }
    Ok((value * 1e9).round() as u64)
}

pub(crate) fn boolean(text: &str) -> Result<bool, ParseError> {
    match text {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        _ => Err(ParseError::new(text, "write true or false")),
    }
}

/// Docker's rule for names.
pub(crate) fn name(text: &str) -> Result<String, ParseError> {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = chars.clone().count() >= 1 && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if first && rest && text.len() <= 200 {
        return Ok(text.to_owned());
    }
    Err(ParseError::new(text, "a name is two or more of a-z A-Z 0-9 _ . - and starts with a letter or digit"))
}

pub(crate) fn capability(text: &str) -> Result<Option<Capability>, ParseError> {
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok(None);
    }
    runtime::capabilities::ALL
        .iter()
        .find(|known| known.to_string() == bare)
        .copied()
        .map(Some)
        .ok_or_else(|| ParseError::new(text, "there is no such capability, see capabilities(7)"))
}

/// `NAME=VALUE` as it is; `NAME` from the tool's own environment, nothing when it has none.
pub(crate) fn env(text: &str) -> Result<Option<String>, ParseError> {
    let name = text.split('=').next().unwrap_or_default();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(ParseError::new(text, "a variable needs a name without blanks"));
    }
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    Ok(std::env::var(text).ok().map(|value| format!("{text}={value}")))
}

/// A file that a flag names. An ordinary user's words are read twice, the second time as root of a user namespace
/// (`rootless`), and what can be read once only, such as a shell's `<(...)`, is left for then.
fn text_of(path: &str) -> Result<String, ParseError> {
    let is_stream = || std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    if !rustix::process::geteuid().is_root() && is_stream() {
        return Ok(String::new());
    }
    std::fs::read_to_string(path).map_err(|e| ParseError::new(path, format!("cannot read it: {e}")))
}

/// The variables of a file, one a line.
pub(crate) fn env_file(path: &str) -> Result<Vec<String>, ParseError> {
    let text = text_of(path)?;
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| env(line).transpose()).collect()
}

/// The labels of a file, one a line.
pub(crate) fn label_file(path: &str) -> Result<Vec<(String, String)>, ParseError> {
    let text = text_of(path)?;
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines
        .map(|line| line.split_once('=').unwrap_or((line, "")))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect())
}

pub(crate) fn volume(text: &str) -> Result<Mount, ParseError> {
    let wrong = |reason: &str| ParseError::new(text, reason);
    let in_container =
        |path| container_path(path).ok_or_else(|| wrong("the container's side must be an absolute path"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, words) = match parts[..] {
        [source, target] => (source, target, ""),
        [source, target, words] => (source, target, words),
        [target] => return in_container(target).map(Mount::Anonymous),
        _ => return Err(wrong("write VOLUME-OR-PATH:CONTAINER-PATH[:OPTIONS]")),
    };
    let mut volume = Volume { target: in_container(target)?, ..Volume::default() };
    match host_path(source) {
        Some(path) => volume.source = path,
        None => volume.name = Some(volume_name(text, source)?),
    }
    for word in words.split(',').filter(|w| !w.is_empty()) {
        volume_word(&mut volume, word).map_err(|reason| wrong(&reason))?;
    }
    Ok(Mount::Bind(volume))
}

fn volume_name(text: &str, source: &str) -> Result<String, ParseError> {
    let reason =
        "the first part is a path, as /data or ./data, or the name of a volume: two or more of a-z A-Z 0-9 _ . -";
    name(source).map_err(|_| ParseError::new(text, reason))
}

fn volume_word(volume: &mut Volume, word: &str) -> Result<(), String> {
    match word {
        "ro" | "readonly" => volume.read_only = true,
        "rw" => volume.read_only = false,
        "nocopy" if volume.name.is_some() => volume.no_copy = true,
        "rbind" => volume.non_recursive = false,
        "bind" => volume.non_recursive = true,
        "z" => volume.relabel = Some(Relabel::Shared),
        "Z" => volume.relabel = Some(Relabel::Private),
        "U" => volume.chown = true,
        "idmap" => volume.idmap = true,
        "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => {
            volume.propagation = Some(word.to_owned());
        }
        other => {
            return Err(format!(
                "the option {other:?} is not known (ro, rw, U, idmap, z, Z, rshared, rslave, rprivate, bind)"
            ));
        }
    }
    Ok(())
}

/// A path of the host: absolute, or plainly relative. A bare word would be a volume's name.
fn host_path(text: &str) -> Option<PathBuf> {
    if text.starts_with('/') {
        return Some(text.into());
    }
    let relative = text == "." || text == ".." || text.starts_with("./") || text.starts_with("../");
    relative.then(|| std::env::current_dir().ok()).flatten().map(|dir| dir.join(text))
}

fn container_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let clean: PathBuf = path.components().collect();
    (path.is_absolute() && clean != Path::new("/")).then_some(clean)
}

pub(crate) fn tmpfs(text: &str) -> Result<Tmpfs, ParseError> {
    let (target, words) = text.split_once(':').unwrap_or((text, ""));
    let target = container_path(target).ok_or_else(|| ParseError::new(text, "write an absolute path"))?;
    let options = words.split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect();
    Ok(Tmpfs { target, options })
}

/// `--volumes-from CONTAINER[:ro|rw]`: the container's name, and whether its volumes can only be read.
pub(crate) fn volumes_from(text: &str) -> Result<(String, bool), ParseError> {
    let (words, mode) = text.split_once(':').unwrap_or((text, "rw"));
    match mode {
        "ro" | "rw" if !words.is_empty() => Ok((words.to_owned(), mode == "ro")),
        _ => Err(ParseError::new(text, "write CONTAINER, CONTAINER:ro or CONTAINER:rw")),
    }
}

pub(crate) fn device(text: &str) -> Result<DeviceMap, ParseError> {
    let wrong = |reason: &str| ParseError::new(text, reason);
    let is_access = |s: &str| !s.is_empty() && s.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, access) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, access] if is_access(access) => (source, source, access),
        [source, target] => (source, target, "rwm"),
        [source, target, access] if is_access(access) => (source, target, access),
        _ => return Err(wrong("write HOST-DEVICE[:CONTAINER-PATH][:rwm]")),
    };
    Ok(DeviceMap {
        source: host_path(source).ok_or_else(|| wrong("the host's side must be a path"))?,
        target: container_path(target).ok_or_else(|| wrong("the container's side must be an absolute path"))?,
        access: access.to_owned(),
    })
}

pub(crate) fn ulimit(text: &str) -> Result<Ulimit, ParseError> {
    use PosixRlimitType as T;
    let wrong = |reason: &str| ParseError::new(text, reason);
    let (name, values) = text.split_once('=').ok_or_else(|| wrong("write NAME=SOFT[:HARD]"))?;
    let kind = match name {
        "as" => T::RlimitAs,
        "core" => T::RlimitCore,
        "cpu" => T::RlimitCpu,
        "data" => T::RlimitData,
        "fsize" => T::RlimitFsize,
        "locks" => T::RlimitLocks,
        "memlock" => T::RlimitMemlock,
        "msgqueue" => T::RlimitMsgqueue,
        "nice" => T::RlimitNice,
        "nofile" => T::RlimitNofile,
        "nproc" => T::RlimitNproc,
        "rss" => T::RlimitRss,
        "rtprio" => T::RlimitRtprio,
        "rttime" => T::RlimitRttime,
        "sigpending" => T::RlimitSigpending,
        "stack" => T::RlimitStack,
        _ => return Err(wrong("there is no such limit, see getrlimit(2)")),
    };
    let value = |s: &str| match s {
        "-1" | "unlimited" => Ok(u64::MAX),
        s => s.parse().map_err(|_| wrong("the values are numbers, or -1 for no limit")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(soft)?, value(hard)?);
    if soft > hard {
        return Err(wrong("the soft value is above the hard value"));
    }
    Ok(Ulimit { kind, soft, hard })
}

pub(crate) fn host(text: &str) -> Result<(String, Option<IpAddr>), ParseError> {
    let wrong = |reason: &str| ParseError::new(text, reason);
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) = split.ok_or_else(|| wrong("write NAME:ADDRESS"))?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(wrong("the name is empty or has blanks"));
    }
    if address == "host-gateway" {
        return Ok((name.to_owned(), None));
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| wrong("the address is no IP address and not host-gateway"))?;
    Ok((name.to_owned(), Some(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases: &[(&str, Option<u64>)] = &[
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("1k", Some(1024)),
            ("1K", Some(1024)),
            ("1kb", Some(1024)),
            ("1KiB", Some(1024)),
            ("64m", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2 g", Some(2 << 30)),
            ("7b", Some(7)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("1e9", None),
            ("99999999999p", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text).ok(), *expected, "{text:?}");
        }
    }

    #[test]
    fn volumes() {
        let bind = |text: &str| match volume(text) {
            Ok(Mount::Bind(volume)) => Ok(volume),
            other => Err(format!("{:?}", other.map(|_| "no bind"))),
        };
        let read = |text: &str| bind(text).map(|v| (v.source, v.target, v.read_only, v.propagation));
        let plain = |ro| (PathBuf::from("/a"), PathBuf::from("/b"), ro, None);
        assert_eq!(read("/a:/b"), Ok(plain(false)));
        assert_eq!(read("/a:/b:ro"), Ok(plain(true)));
        assert_eq!(read("/a:/b/:rw"), Ok(plain(false)));
        assert_eq!(read("/a:/b:ro,rslave"), Ok(("/a".into(), "/b".into(), true, Some("rslave".into()))));
        assert_eq!(bind("./x:/b").unwrap().source, std::env::current_dir().unwrap().join("./x"));
        assert!(matches!(volume("/a"), Ok(Mount::Anonymous(target)) if target == Path::new("/a")));
        let named = bind("name:/b:ro,nocopy").unwrap();
        assert_eq!((named.name.as_deref(), named.read_only, named.no_copy), (Some("name"), true, true));
        let own = bind("/a:/b:U,z").unwrap();
        assert_eq!((own.chown, own.relabel), (true, Some(Relabel::Shared)));
        assert_eq!(bind("/a:/b:Z").unwrap().relabel, Some(Relabel::Private));
        for bad in [
            "a",
            "/",
            "n:/b",
            "../:/b:nocopy",
            ".name:/b",
            "a/b:/c",
            "/a:b",
            "/a:/",
            "/a:/b:wat",
            "/a:/b:ro:x",
            ":/b",
            "/a:",
        ] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_of_others() {
        for (text, expected) in [
            ("a", Some(("a", false))),
            ("a:rw", Some(("a", false))),
            ("a:ro", Some(("a", true))),
            ("a:wat", None),
            (":ro", None),
            ("", None),
        ] {
            assert_eq!(volumes_from(text).ok(), expected.map(|(name, ro)| (name.to_owned(), ro)), "{text}");
        }
    }

    #[test]
    fn names_capabilities_limits_and_hosts() {
        for (text, good) in [("web", true), ("a.b-c_1", true), ("x", false), ("-a", false), ("a/b", false), ("", false)]
        {
            assert_eq!(name(text).is_ok(), good, "{text}");
        }
        for text in ["NET_ADMIN", "cap_net_admin", "CAP_NET_ADMIN"] {
            assert_eq!(capability(text), Ok(Some(Capability::NetAdmin)), "{text}");
        }
        assert_eq!(capability("all"), Ok(None));
        assert!(capability("NET_WHAT").is_err());
        assert_eq!(ulimit("nofile=10:20").map(|u| (u.soft, u.hard)), Ok((10, 20)));
        assert_eq!(ulimit("core=-1").map(|u| (u.soft, u.hard)), Ok((u64::MAX, u64::MAX)));
        for bad in ["nofile", "nofile=", "wat=1", "nofile=20:10", "nofile=-2"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
        assert_eq!(host("db:10.0.0.1"), Ok(("db".into(), Some("10.0.0.1".parse().unwrap()))));
        assert_eq!(host("db:::1"), Ok(("db".into(), Some("::1".parse().unwrap()))));
        assert_eq!(host("db:host-gateway"), Ok(("db".into(), None)));
        assert!(host("db").is_err() && host("db:x").is_err());
        assert_eq!(cpus("1.5"), Ok(1_500_000_000));
        assert!(cpus("0").is_err() && cpus("NaN").is_err() && cpus("-1").is_err());
    }

    #[test]
    fn devices() {
        let read = |text: &str| device(text).map(|d| (d.source, d.target, d.access));
        assert_eq!(read("/dev/fuse"), Ok(("/dev/fuse".into(), "/dev/fuse".into(), "rwm".into())));
        assert_eq!(read("/dev/fuse:r"), Ok(("/dev/fuse".into(), "/dev/fuse".into(), "r".into())));
        assert_eq!(read("/dev/a:/dev/b:rw"), Ok(("/dev/a".into(), "/dev/b".into(), "rw".into())));
        assert!(read("/dev/a:/dev/b:x").is_err());
    }
}
