//! Mount options, as the runtime-spec lists them, become attribute bits, propagation, and what is left for the file
//! system itself. [runtime-spec config.md "Linux mount options", mount(8)]

use crate::error::Error;
use sys::mount::{ATIME, Attributes, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME};

/// A mount's options, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `bind` or `rbind` is among them.
    pub(crate) bind: bool,
    /// `rbind`: with everything mounted below the source.
    pub(crate) recursive: bool,
    /// For the mount itself.
    pub(crate) attributes: Attributes,
    /// For the mount and every mount below it (`rro`, `rnosuid`, ...).
    pub(crate) recursive_attributes: Attributes,
    /// Propagation change and whether it goes down the tree.
    pub(crate) propagation: Option<(u64, bool)>,
    /// Owners are shifted (`idmap`), with `ridmap` on all mounts below too.
    pub(crate) idmap: Option<bool>,
    /// `tmpcopyup`: a tmpfs starts with what the root has at its place.
    pub(crate) copy_up: bool,
    /// `dest-nofollow`: a symlink as last component of the target is mounted on, not followed.
    pub(crate) target_nofollow: bool,
    /// `src-nofollow`: a symlink as source is itself what is mounted.
    pub(crate) source_nofollow: bool,
    /// `copy-symlink`: a symlink as source is made anew in the container.
    pub(crate) copy_symlink: bool,
    /// `remount`: what is mounted at the target gets new attributes.
    pub(crate) remount: bool,
    /// What is left: options of the file system.
    pub(crate) data: Vec<String>,
}

/// Attribute options: name, bits to set, bits to clear.
const ATTRIBUTES: &[(&str, u64, u64)] = &[
    ("ro", RDONLY, 0),
    ("rw", 0, RDONLY),
    ("nosuid", NOSUID, 0),
    ("suid", 0, NOSUID),
    ("nodev", NODEV, 0),
    ("dev", 0, NODEV),
    ("noexec", NOEXEC, 0),
    ("exec", 0, NOEXEC),
    ("noatime", NOATIME, ATIME),
    ("atime", 0, ATIME),
    ("relatime", 0, ATIME),
    ("norelatime", STRICTATIME, ATIME),
    ("strictatime", STRICTATIME, ATIME),
    ("nostrictatime", 0, ATIME),
    ("nodiratime", NODIRATIME, 0),
    ("diratime", 0, NODIRATIME),
    ("nosymfollow", NOSYMFOLLOW, 0),
    ("symfollow", 0, NOSYMFOLLOW),
];

const PROPAGATION: &[(&str, u64)] = &[
    ("private", libc_ms::PRIVATE),
    ("slave", libc_ms::SLAVE),
    ("shared", libc_ms::SHARED),
    ("unbindable", libc_ms::UNBINDABLE),
];

/// The kernel's `MS_*` bits of propagation types.
mod libc_ms {
    pub(super) const UNBINDABLE: u64 = 1 << 17;
    pub(super) const PRIVATE: u64 = 1 << 18;
    pub(super) const SLAVE: u64 = 1 << 19;
    pub(super) const SHARED: u64 = 1 << 20;
}

/// Nothing of a mount reaches another namespace, and nothing comes in.
pub(crate) const PRIVATE: u64 = libc_ms::PRIVATE;
/// What is mounted below shows in every copy of it.
pub(crate) const SHARED: u64 = libc_ms::SHARED;
/// Events of the peers come in, none go out.
pub(crate) const SLAVE: u64 = libc_ms::SLAVE;

/// Takes a list of options apart. Words that only `/etc/fstab` gives a meaning are an error, not dropped.
pub(crate) fn parse(options: &[String]) -> Result<Options, Error> {
    let mut parsed = Options::default();
    for option in options {
        let name = option.as_str();
        let recursive_name = name.strip_prefix('r').filter(|_| name != "ro" && name != "rw" && name != "relatime");
        match name {
            "defaults" => {}
            "bind" => parsed.bind = true,
            "rbind" => (parsed.bind, parsed.recursive) = (true, true),
            // Only whether the kernel's log mentions a bad file system; the new mount calls have no such flag.
            "silent" | "loud" => {}
            "remount" => parsed.remount = true,
            "idmap" => parsed.idmap = Some(false),
            "ridmap" => parsed.idmap = Some(true),
            "tmpcopyup" => parsed.copy_up = true,
            "copy-symlink" => parsed.copy_symlink = true,
            "dest-nofollow" => parsed.target_nofollow = true,
            "src-nofollow" => parsed.source_nofollow = true,
            "iversion" | "noiversion" | "acl" | "noacl" => {
                return Err(Error::Unsupported(format!(
                    "the mount option {name:?}, which no mount call has any more,"
                )));
            }
            _ => {
                if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|(known, ..)| *known == name) {
                    add(&mut parsed.attributes, *set, *clear);
                } else if let Some(propagation) = propagation_of(name) {
                    parsed.propagation = Some((propagation, false));
                } else if let Some(propagation) = recursive_name.and_then(propagation_of) {
                    parsed.propagation = Some((propagation, true));
                } else if let Some((_, set, clear)) =
                    recursive_name.and_then(|r| ATTRIBUTES.iter().find(|(known, ..)| *known == r))
                {
                    add(&mut parsed.recursive_attributes, *set, *clear);
                } else {
                    parsed.data.push(option.clone());
                }
            }
        }
    }
    Ok(parsed)
}

/// Every word that is not left to the file system, sorted.
pub(crate) fn known() -> Vec<String> {
    const OTHERS: &[&str] = &[
        "bind",
        "copy-symlink",
        "defaults",
        "dest-nofollow",
        "idmap",
        "loud",
        "rbind",
        "remount",
        "ridmap",
        "silent",
        "src-nofollow",
        "tmpcopyup",
    ];
    let attributes = ATTRIBUTES.iter().map(|(name, ..)| *name);
    let recursive = attributes.clone().chain(PROPAGATION.iter().map(|(name, _)| *name)).map(|name| format!("r{name}"));
    let plain = attributes.chain(PROPAGATION.iter().map(|(name, _)| *name)).chain(OTHERS.iter().copied());
    let mut all: Vec<String> = plain.map(str::to_owned).chain(recursive).collect();
    all.sort();
    all.dedup();
    all
}

/// The bits of a propagation name, without a leading `r`.
pub(crate) fn propagation_of(name: &str) -> Option<u64> {
    PROPAGATION.iter().find(|(known, _)| *known == name).map(|(_, bits)| *bits)
}

/// The later of two contradicting options wins, as with mount(8).
fn add(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !set | clear;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Options {
        parse(&words.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_become_bits() {
        let cases: &[(&str, Options)] = &[
            ("rbind", Options { bind: true, recursive: true, ..Options::default() }),
            ("ro", Options { attributes: Attributes { set: RDONLY, ..Attributes::default() }, ..Options::default() }),
            (
                "ro,rw",
                Options { attributes: Attributes { clear: RDONLY, ..Attributes::default() }, ..Options::default() },
            ),
            (
                "rro,rnosuid",
                Options {
                    recursive_attributes: Attributes { set: RDONLY | NOSUID, ..Attributes::default() },
                    ..Options::default()
                },
            ),
            ("rprivate", Options { propagation: Some((libc_ms::PRIVATE, true)), ..Options::default() }),
            ("shared", Options { propagation: Some((libc_ms::SHARED, false)), ..Options::default() }),
            ("size=1m,mode=755", Options { data: vec!["size=1m".into(), "mode=755".into()], ..Options::default() }),
        ];
        for (words, expected) in cases {
            assert_eq!(&parsed(words), expected, "{words}");
        }
    }

    #[test]
    fn an_atime_mode_clears_the_others() {
        let attributes = parsed("noatime,strictatime").attributes;
        // The whole field, or the kernel refuses it. [mount_setattr(2)]
        assert_eq!((attributes.set, attributes.clear & ATIME), (STRICTATIME, ATIME));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for option in ["iversion", "noacl"] {
            assert!(matches!(parse(&[option.to_owned()]), Err(Error::Unsupported(_))), "{option}");
        }
    }

    #[test]
    fn words_of_the_runtimes_are_no_data() {
        let options = parsed("rbind,ridmap,tmpcopyup,copy-symlink,dest-nofollow,src-nofollow,silent");
        assert!(options.data.is_empty() && options.copy_up && options.copy_symlink);
        assert!(options.target_nofollow && options.source_nofollow);
        assert_eq!(options.idmap, Some(true));
        assert_eq!(parsed("idmap").idmap, Some(false));
    }
}
