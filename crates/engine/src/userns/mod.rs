//! `--userns`, `--uidmap` and `--gidmap`: a user namespace of the container's own, in which root is somebody else outside.
//!
//! Which ids stand for which is found out once, when the container is made ([`choose`]), and written down with it. Its
//! files keep the owners that they have in the container: layers, volumes with a name and the container's own layer are
//! shown to it by mounts that map owners ([`mounts`]), so that containers with different ids share them and nothing is
//! copied. Where the kernel or the file system cannot do that, and without root nobody can, the container's root is a copy
//! of its image with other owners, made once for each image and map ([`copies`]).
//! [user_namespaces(7); Documentation/filesystems/idmappings.rst; podman-run(1), --userns]

pub(crate) mod accounts;
mod choose;
pub(crate) mod copies;
mod joined;
mod maps;
pub(crate) mod mounts;
pub(crate) mod root;

pub(crate) use choose::choose;
pub(crate) use joined::check as check_joined;
pub(crate) use maps::{Maps, Range, check as check_identity, seen_by};

use crate::containers::{self, CreateOptions};
use crate::error::Error;
use crate::options::{NetworkMode, RunOptions};
use crate::parse::ParseError;
use crate::rootless;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Whose user namespace a container is in, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserMode {
    /// The one that the tool is in.
    #[default]
    Host,
    /// Its own, with ids that no other container has.
    Auto {
        /// How many.
        size: Option<u32>,
    },
    /// Its own, in which the user of the host who makes it keeps their number, or has this one.
    KeepId {
        /// The user there.
        uid: Option<u32>,
        /// The group there.
        gid: Option<u32>,
    },
    /// Its own, in which the user of the host who makes it is nobody.
    NoMap,
    /// Another container's: by its id, once this one is made. Where that one has none of its own, this one has none.
    Container(String),
    /// The one at a path of the host.
    Namespace(PathBuf),
}

impl UserMode {
    /// `--userns`.
    ///
    /// # Errors
    /// When it is no such word.
    pub fn parse(text: &str) -> Result<UserMode, ParseError> {
        let wrong = |why: &'static str| ParseError::new(text, why);
        if let Some(other) = text.strip_prefix("container:").filter(|other| !other.is_empty()) {
            return Ok(UserMode::Container(other.to_owned()));
        }
        if let Some(path) = text.strip_prefix("ns:").filter(|path| path.starts_with('/')) {
            return Ok(UserMode::Namespace(path.into()));
        }
        let (word, options) = text.split_once(':').unwrap_or((text, ""));
        let mut given = [None; 3];
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (name, number) = option.split_once('=').ok_or_else(|| wrong("its options are NAME=NUMBER"))?;
            let number = digits(number).ok_or_else(|| wrong("an option of it is no number"))?;
            let place = match (word, name) {
                ("auto", "size") if number > 0 => &mut given[0],
                ("keep-id", "uid") => &mut given[1],
                ("keep-id", "gid") => &mut given[2],
                _ => return Err(wrong("auto has the option size, above 0, and keep-id has uid and gid")),
            };
            *place = Some(number);
        }
        let [size, uid, gid] = given;
        match word {
            "auto" => Ok(UserMode::Auto { size }),
            "keep-id" => Ok(UserMode::KeepId { uid, gid }),
            "host" | "nomap" if text.contains(':') => Err(wrong("it has no options")),
            // Docker takes an empty word, too.
            "host" | "" => Ok(UserMode::Host),
            "nomap" => Ok(UserMode::NoMap),
            _ => Err(wrong("it is host, auto[:size=N], keep-id[:uid=N,gid=N], nomap, container:NAME or ns:PATH")),
        }
    }
}

impl UserMode {
    /// The other container, if it is one's.
    pub(crate) fn other(&self) -> Option<&str> {
        match self {
            UserMode::Container(other) => Some(other),
            _ => None,
        }
    }
}

impl fmt::Display for UserMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserMode::Host => f.write_str("host"),
            UserMode::NoMap => f.write_str("nomap"),
            UserMode::Container(other) => write!(f, "container:{other}"),
            UserMode::Namespace(path) => write!(f, "ns:{}", path.display()),
            UserMode::Auto { size: None } => f.write_str("auto"),
            UserMode::Auto { size: Some(size) } => write!(f, "auto:size={size}"),
            UserMode::KeepId { uid, gid } => {
                let said = [("uid", uid), ("gid", gid)];
                let said = said.iter().filter_map(|(name, id)| id.map(|id| format!("{name}={id}")));
                let said = said.collect::<Vec<_>>().join(",");
                if said.is_empty() { f.write_str("keep-id") } else { write!(f, "keep-id:{said}") }
            }
        }
    }
}

/// A range of `--uidmap` or `--gidmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedRange {
    /// The ids.
    pub(crate) range: Range,
    /// Of an ordinary user: those outside are the host's, and not of the user's own numbering.
    pub(crate) of_host: bool,
}

impl AskedRange {
    /// `CONTAINER:FROM[:AMOUNT]`, with `@` before FROM where it is of the host.
    ///
    /// # Errors
    /// When it is not that.
    pub fn parse(text: &str) -> Result<AskedRange, ParseError> {
        let wrong = || ParseError::new(text, "it is CONTAINER:FROM[:AMOUNT], numbers below 4294967295, AMOUNT above 0");
        let words: Vec<&str> = text.split(':').collect();
        let (inside, outside, size) = match words[..] {
            [inside, outside] => (inside, outside, "1"),
            [inside, outside, size] => (inside, outside, size),
            _ => return Err(wrong()),
        };
        let (of_host, outside) = outside.strip_prefix('@').map_or((false, outside), |outside| (true, outside));
        let number = |word: &str| digits(word).ok_or_else(wrong);
        let range = Range { inside: number(inside)?, outside: number(outside)?, size: number(size)? };
        let ends = range.inside.checked_add(range.size).and(range.outside.checked_add(range.size));
        if range.size == 0 || ends.is_none() { Err(wrong()) } else { Ok(AskedRange { range, of_host }) }
    }
}

impl fmt::Display for AskedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { inside, outside, size } = self.range;
        write!(f, "{inside}:{}{outside}:{size}", if self.of_host { "@" } else { "" })
    }
}

/// A number without a sign.
fn digits(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a user namespace of its own is asked for.
pub(crate) fn is_asked_for(options: &RunOptions) -> bool {
    options.userns != UserMode::Host || !options.uid_map.is_empty() || !options.gid_map.is_empty()
}

/// What is said of it, as `inspect` shows it: nothing for the host's, as Docker's.
pub(crate) fn shown(options: &RunOptions) -> String {
    match options.userns {
        UserMode::Host if is_asked_for(options) => "private".into(),
        UserMode::Host => String::new(),
        _ => options.userns.to_string(),
    }
}

/// Whether what the flags say of it can be meant, together with the others and by who asks.
pub(crate) fn check(options: &RunOptions) -> Result<(), Error> {
    let conflict = |why: String| Err(Error::Conflict(why));
    let has_mapped = options.volumes.iter().any(|volume| volume.idmap);
    if has_mapped && (rootless::is_rootless() || !is_asked_for(options)) {
        let why = "idmap maps owners to those of the container's user namespace: only root can, and with --userns";
        return conflict(why.into());
    }
    if !is_asked_for(options) {
        return Ok(());
    }
    let has_maps = !options.uid_map.is_empty() || !options.gid_map.is_empty();
    if has_maps && options.userns != UserMode::Host {
        return conflict(format!("--uidmap and --gidmap cannot be used with --userns {}", options.userns));
    }
    if options.root == "host" {
        return conflict("a view of the host has the host's users: --userns and its kin cannot be used with it".into());
    }
    // What a user namespace does not own it may not mount: /proc of these processes, the queues of these messages.
    let others = [("--pid", &options.pid), ("--ipc", &options.ipc)];
    if let Some((flag, mode)) = others
        .iter()
        .find(|(_, mode)| !mode.is_own() && (mode.other().is_none() || mode.other() != options.userns.other()))
    {
        return conflict(format!("{flag} {mode} cannot be used with --userns: it is of another user namespace"));
    }
    match options.userns {
        UserMode::KeepId { .. } if !rootless::is_rootless() => {
            conflict("--userns keep-id keeps the number of an ordinary user: root is root".into())
        }
        UserMode::NoMap if !rootless::is_rootless() => {
            conflict("--userns nomap leaves out an ordinary user: for root use --userns auto".into())
        }
        _ if rootless::is_single_id() => Err(Error::NoRanges),
        _ => Ok(()),
    }
}

/// Whether the network namespace is not made with the user namespace, whose root then has no power over it.
pub(crate) fn is_network_of_others(options: &RunOptions) -> bool {
    matches!(options.network, NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Namespace(_))
}

/// What is meant of the namespace that the container is in, whoever has said it.
fn said(options: &RunOptions) -> Result<UserMode, Error> {
    match &options.userns {
        UserMode::Container(other) => Ok(containers::users_of(other)?.1),
        own => Ok(own.clone()),
    }
}

/// The options with the user that `keep-id` means to be, where nobody says another; none if nothing is to be changed.
pub(crate) fn resolved(options: &CreateOptions) -> Result<Option<CreateOptions>, Error> {
    if options.run.user.is_some() || !rootless::is_rootless() {
        return Ok(None);
    }
    let UserMode::KeepId { uid, gid } = said(&options.run)? else { return Ok(None) };
    let (own_uid, own_gid) = choose::own_ids()?;
    let user = format!("{}:{}", uid.unwrap_or(own_uid), gid.unwrap_or(own_gid));
    let run = RunOptions { user: Some(user), ..options.run.clone() };
    Ok(Some(CreateOptions { run, ..options.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespaces::NamespaceMode;

    #[test]
    fn a_mode_is_written_as_it_is_typed() {
        let right = [
            "host",
            "auto",
            "auto:size=5",
            "keep-id",
            "keep-id:uid=7",
            "keep-id:uid=7,gid=8",
            "nomap",
            "container:a",
            "ns:/a",
        ];
        for text in right {
            assert_eq!(UserMode::parse(text).unwrap().to_string(), text);
        }
        let wrong = ["private", "auto:size=0", "auto:uid=1", "keep-id:size=1", "keep-id:uid", "keep-id:uid=-1"];
        for text in wrong.iter().chain(&["host:", "nomap:x=1", "auto:size=4294967296", "container:", "ns:a"]) {
            assert!(UserMode::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_is_written_as_it_is_typed() {
        for (text, written) in [("0:1000", "0:1000:1"), ("0:1:65536", "0:1:65536"), ("5:@1000:1", "5:@1000:1")] {
            assert_eq!(AskedRange::parse(text).unwrap().to_string(), written);
        }
        for text in ["", "0", "0:1:0", "0:1:2:3", "a:1", "0:@", "0:4294967295:1", "4294967294:0:2", "+0:1:2", "0:-1"] {
            assert!(AskedRange::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_together_is_refused() {
        let auto = || RunOptions { userns: UserMode::Auto { size: None }, ..RunOptions::default() };
        let map = vec![AskedRange::parse("0:1:2").unwrap()];
        let cases = [
            (auto(), true),
            (RunOptions { uid_map: map.clone(), ..RunOptions::default() }, true),
            (RunOptions { gid_map: map, ..auto() }, false),
            (RunOptions { pid: NamespaceMode::Host, ..auto() }, false),
            (RunOptions { uts: NamespaceMode::Host, ..auto() }, true),
            (RunOptions { ipc: NamespaceMode::Container("x".into()), ..auto() }, false),
            (RunOptions { root: "host".into(), ..auto() }, false),
            // The tests are root's.
            (RunOptions { userns: UserMode::NoMap, ..RunOptions::default() }, false),
            (RunOptions { userns: UserMode::KeepId { uid: None, gid: None }, ..RunOptions::default() }, false),
        ];
        for (options, is_right) in cases {
            assert_eq!(check(&options).is_ok(), is_right, "{options:?}");
        }
    }
}
