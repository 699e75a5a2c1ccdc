//! Extended attributes as they lie behind an inode: a header, then each with its prefix as a number, name and value,
//! filled up to four bytes.
//!
//! Which are kept is [`Keep`]'s to say, as for files that are unpacked. What the kernel would refuse to set is refused
//! here as well, with the error that it would give: nobody checks an attribute again when it is read from an image.

use super::format::{XATTR_HEADER, u16_at, u32_at};
use crate::tar::Kind;
use crate::unpack::attributes::Keep;
use rustix::io::Errno;

const USER: u8 = 1;
const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;
const TRUSTED: u8 = 4;
const SECURITY: u8 = 6;

/// What says in an image that a directory hides what lower layers have in it: overlayfs takes it for that, too.
const OPAQUE: (u8, &[u8]) = (TRUSTED, b"overlay.opaque");
/// What says that no entry spoke of a directory, so that a lower layer's word on its owner, mode and time stands.
const IMPLIED: (u8, &[u8]) = (TRUSTED, b"mycontainer.implied");
const YES: &[u8] = b"y";

/// The most bytes of attributes that an inode can count.
const ALL_MAX: usize = XATTR_HEADER + 4 * (u16::MAX as usize - 1);

/// What an entry's attributes come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) xattrs: Option<Box<[u8]>>,
    /// The nine bits of the mode, where an access list says what they are.
    pub(super) permissions: Option<u16>,
}

/// The attributes that an entry of this kind gets. An error names the attribute.
pub(super) fn of_entry(wanted: &[(Vec<u8>, Vec<u8>)], kind: &Kind) -> Result<Kept, (Vec<u8>, Errno)> {
    let mut all = Vec::new();
    let mut permissions = None;
    for (name, value) in wanted {
        let Some((prefix, rest)) = prefix(name) else { continue };
        if Keep::of(name) == Keep::Never || !fits(prefix, kind) {
            continue;
        }
        let failed = |error| (name.clone(), error);
        check(prefix, rest, value, kind).map_err(failed)?;
        if let ACL_ACCESS | ACL_DEFAULT = prefix {
            let Some(acl) = Acl::read(value).map_err(failed)? else { continue };
            if prefix == ACL_ACCESS {
                permissions = Some(acl.permissions);
                if acl.minimal {
                    continue;
                }
            }
        }
        push(&mut all, (prefix, rest), value);
        if all.len() > ALL_MAX {
            return Err(failed(Errno::NOSPC));
        }
    }
    Ok(Kept { xattrs: (!all.is_empty()).then(|| all.into_boxed_slice()), permissions })
}

/// The attributes of a directory with the marks of a layer added.
pub(super) fn marked(xattrs: Option<&[u8]>, opaque: bool, implied: bool) -> Option<Box<[u8]>> {
    let mut all = xattrs.unwrap_or_default().to_vec();
    for (wanted, (prefix, name)) in [(opaque, OPAQUE), (implied, IMPLIED)] {
        if wanted && all.len() < ALL_MAX - 64 {
            push(&mut all, (prefix, name), YES);
        }
    }
    (!all.is_empty()).then(|| all.into_boxed_slice())
}

/// What [`marked`] put together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unmarked {
    pub(super) xattrs: Option<Box<[u8]>>,
    pub(super) opaque: bool,
    pub(super) implied: bool,
}

/// Takes attributes read from an image of ours apart, or says what is wrong with them.
pub(super) fn unmarked(bytes: &[u8]) -> Result<Unmarked, &'static str> {
    const WRONG: &str = "a file's attributes are wrong";
    let mut told = Unmarked::default();
    let mut kept = Vec::new();
    let mut rest = match bytes {
        [] => bytes,
        // No filter of names, nothing shared.
        some => some.strip_prefix(&[0; XATTR_HEADER]).ok_or(WRONG)?,
    };
    while !rest.is_empty() {
        let [name_length, prefix, ..] = *rest else { return Err(WRONG) };
        let value_length = usize::from(u16_at(rest, 2).ok_or(WRONG)?);
        let end = 4 + usize::from(name_length);
        let name = rest.get(4..end).ok_or(WRONG)?;
        let value = rest.get(end..end + value_length).ok_or(WRONG)?;
        match prefix {
            TRUSTED if name == OPAQUE.1 && value == YES => told.opaque = true,
            TRUSTED if name == IMPLIED.1 && value == YES => told.implied = true,
            USER | ACL_ACCESS | ACL_DEFAULT | SECURITY => push(&mut kept, (prefix, name), value),
            _ => return Err(WRONG),
        }
        rest = rest.get((end + value_length).next_multiple_of(4)..).ok_or(WRONG)?;
    }
    told.xattrs = (!kept.is_empty()).then(|| kept.into_boxed_slice());
    Ok(told)
}

fn push(all: &mut Vec<u8>, (prefix, name): (u8, &[u8]), value: &[u8]) {
    if all.is_empty() {
        all.resize(XATTR_HEADER, 0);
    }
    all.extend_from_slice(&[name.len() as u8, prefix]);
    all.extend_from_slice(&(value.len() as u16).to_le_bytes());
    all.extend_from_slice(name);
    all.extend_from_slice(value);
    all.resize(all.len().next_multiple_of(4), 0);
}

/// The number of a name's prefix, and what follows it.
fn prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => Some((ACL_ACCESS, b"")),
        b"system.posix_acl_default" => Some((ACL_DEFAULT, b"")),
        name => {
            let known: [(&[u8], u8); 2] = [(b"user.", USER), (b"security.", SECURITY)];
            known.iter().find_map(|(prefix, number)| Some((*number, name.strip_prefix(*prefix)?)))
        }
    }
}

/// Whether the kernel has such attributes on such a file at all.
fn fits(prefix: u8, kind: &Kind) -> bool {
    match prefix {
        USER => matches!(kind, Kind::File { .. } | Kind::Directory),
        ACL_ACCESS | ACL_DEFAULT => !matches!(kind, Kind::Symlink(_)),
        _ => true,
    }
}

fn check(prefix: u8, name: &[u8], value: &[u8], kind: &Kind) -> Result<(), Errno> {
    /// The longest name, prefix and all.
    const NAME_MAX: usize = 255;
    if value.len() > usize::from(u16::MAX) {
        return Err(Errno::TOOBIG);
    }
    match prefix {
        USER if name.is_empty() => Err(Errno::INVAL),
        USER if b"user.".len() + name.len() > NAME_MAX => Err(Errno::RANGE),
        ACL_DEFAULT if *kind != Kind::Directory => Err(Errno::ACCESS),
        SECURITY => check_capability(value).ok_or(Errno::INVAL),
        _ => Ok(()),
    }
}

/// What an access control list says.
struct Acl {
    /// The mode that it stands for.
    permissions: u16,
    /// True when it says no more than that mode.
    minimal: bool,
}

impl Acl {
    /// A version, then entries of a tag, permissions and an id; the tags in order. An empty one is none.
    /// [linux/posix_acl_xattr.h]
    fn read(value: &[u8]) -> Result<Option<Acl>, Errno> {
        const VERSION: u32 = 2;
        match value {
            [] => return Ok(None),
            some if u32_at(some, 0) != Some(VERSION) => return Err(Errno::INVAL),
            [_, _, _, _] => return Ok(None),
            _ => {}
        }
        let (entries, rest) = value[4..].as_chunks::<8>();
        let numbers = entries.iter().map(|entry| Some((u16_at(entry, 0)?, u16_at(entry, 2)?)));
        let acl = numbers.collect::<Option<Vec<_>>>().and_then(|entries| Acl::of(&entries));
        acl.filter(|_| rest.is_empty()).map(Some).ok_or(Errno::INVAL)
    }

    fn of(entries: &[(u16, u16)]) -> Option<Acl> {
        const OWNER: u16 = 0x01;
        const USER: u16 = 0x02;
        const GROUP: u16 = 0x04;
        const NAMED_GROUP: u16 = 0x08;
        const MASK: u16 = 0x10;
        const OTHER: u16 = 0x20;
        let mut of_tag = [None; 6];
        let mut last = 0;
        for (tag, permissions) in entries.iter().copied() {
            // Of users and groups with a name there may be many.
            let again = matches!(tag, USER | NAMED_GROUP) && tag == last;
            if !tag.is_power_of_two() || tag > OTHER || permissions > 7 || (tag <= last && !again) {
                return None;
            }
            last = tag;
            of_tag[tag.trailing_zeros() as usize] = Some(permissions);
        }
        let get = |tag: u16| of_tag[tag.trailing_zeros() as usize];
        let (owner, group, other) = (get(OWNER)?, get(GROUP)?, get(OTHER)?);
        let named = get(USER).or(get(NAMED_GROUP)).is_some();
        if named && get(MASK).is_none() {
            return None;
        }
        let permissions = owner << 6 | get(MASK).unwrap_or(group) << 3 | other;
        Some(Acl { permissions, minimal: !named && get(MASK).is_none() })
    }
}

/// Version 2, or version 3 with the id of a user namespace's root. [linux/capability.h]
fn check_capability(value: &[u8]) -> Option<()> {
    const EFFECTIVE: u32 = 1;
    match (u32_at(value, 0)? & !EFFECTIVE, value.len()) {
        (0x0200_0000, 20) | (0x0300_0000, 24) => Some(()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        vec![(name.into(), value.into())]
    }

    #[test]
    fn marks_are_ours_alone() {
        let file = Kind::File { size: 0 };
        for name in ["trusted.overlay.opaque", "trusted.mycontainer.implied", "user.overlay.opaque", "security.ima"] {
            assert_eq!(of_entry(&entry(name, b"y"), &file), Ok(Kept::default()), "{name}");
        }
        let kept = of_entry(&entry("user.a", b"b"), &Kind::Directory).unwrap().xattrs;
        let with_marks = marked(kept.as_deref(), true, true).unwrap();
        let apart = unmarked(&with_marks).unwrap();
        assert_eq!(apart, Unmarked { xattrs: kept, opaque: true, implied: true });
        for end in 1..with_marks.len() {
            // A cut at the end of one of the attributes leaves fewer of them; any other is seen.
            if let Ok(fewer) = unmarked(&with_marks[..end]) {
                assert!(end.is_multiple_of(4) && !fewer.implied, "{end}");
            }
        }
    }

    #[test]
    fn what_the_kernel_would_refuse() {
        let file = Kind::File { size: 0 };
        let acl = |entries: &[[u8; 4]]| {
            let mut value = vec![2, 0, 0, 0];
            entries.iter().for_each(|e| value.extend_from_slice(&[e[0], 0, e[1], 0, e[2], 0, 0, e[3]]));
            value
        };
        let whole = acl(&[[1, 6, 0, 0], [2, 4, 9, 0], [4, 4, 0, 0], [16, 4, 0, 0], [32, 4, 0, 0]]);
        type Row = (&'static str, Vec<u8>, Kind, Result<bool, Errno>);
        let table: [Row; 13] = [
            ("user.a", vec![0; 65_535], file.clone(), Ok(true)),
            ("user.a", vec![0; 65_536], file.clone(), Err(Errno::TOOBIG)),
            ("user.", vec![], file.clone(), Err(Errno::INVAL)),
            ("user.a", vec![], Kind::Fifo, Ok(false)),
            ("system.posix_acl_access", whole.clone(), file.clone(), Ok(true)),
            ("system.posix_acl_access", whole.clone(), Kind::Symlink(b"x".into()), Ok(false)),
            ("system.posix_acl_default", whole.clone(), file.clone(), Err(Errno::ACCESS)),
            ("system.posix_acl_default", whole.clone(), Kind::Directory, Ok(true)),
            ("system.posix_acl_access", whole[..43].into(), file.clone(), Err(Errno::INVAL)),
            ("system.posix_acl_access", acl(&[[4, 4, 0, 0], [1, 6, 0, 0]]), file.clone(), Err(Errno::INVAL)),
            ("system.posix_acl_access", acl(&[]), file.clone(), Ok(false)),
            ("security.capability", [&[1, 0, 0, 2][..], &[0; 16]].concat(), file.clone(), Ok(true)),
            ("security.capability", [&[1, 0, 0, 9][..], &[0; 16]].concat(), file.clone(), Err(Errno::INVAL)),
        ];
        for (name, value, kind, expected) in table {
            let got =
                of_entry(&entry(name, &value), &kind).map(|kept| kept.xattrs.is_some()).map_err(|(_, error)| error);
            assert_eq!(got, expected, "{name} {kind:?} {}", value.len());
        }
        let long = format!("user.{}", "x".repeat(251));
        assert_eq!(of_entry(&entry(&long, b""), &file).unwrap_err().1, Errno::RANGE);
    }
}
