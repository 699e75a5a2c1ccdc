//! `-u`: a name or a number, looked up in the container's own /etc/passwd and /etc/group.
//!
//! These files are hostile: they are opened inside the root, must be regular, and are read to a bound. What is not a
//! number in full is a name; there is no "starts with a number" (CVE-2026-30892).

use crate::error::Error;
use runtime::Root;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Ids above this do not exist: -1 is "unchanged" in many system calls. [credentials(7)]
const HIGHEST_ID: u32 = i32::MAX as u32;
/// More of a passwd or group file is not read.
const MOST_BYTES: usize = 1 << 20;

/// Whom the program runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Resolves `-u USER[:GROUP]`; root without it.
pub(crate) fn resolve(root: &Root, wanted: Option<&str>) -> Result<Identity, Error> {
    let passwd = read(root, "etc/passwd")?;
    let (user, group) = match wanted {
        None => ("0", None),
        Some(text) => text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group))),
    };
    // `:group` and `user:` mean what they leave out.
    let user = if user.is_empty() { "0" } else { user };
    let group = group.filter(|g| !g.is_empty());
    if wanted == Some("") {
        return Err(Error::BadValue { flag: "--user", value: "\"\"".into(), reason: "it names nobody".into() });
    }
    let entry = find_user(&passwd, user);
    let uid = match (&entry, id(user)) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(missing("user", user, "/etc/passwd")),
    };
    let groups_file = if group.is_some() || entry.is_some() { read(root, "etc/group")? } else { String::new() };
    let gid = match group {
        Some(group) => group_id(&groups_file, group).ok_or_else(|| missing("group", group, "/etc/group"))?,
        None => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    // The primary group is among them, or dropping it would be a way to gain what it is denied. (CVE-2022-36109)
    let mut groups = vec![gid];
    if let (Some(entry), None) = (&entry, group) {
        groups.extend(groups_of(&groups_file, &entry.name, gid));
    }
    let home = entry.map(|entry| entry.home).filter(|home| home.starts_with('/')).unwrap_or_else(|| "/".into());
    if crate::rootless::is_single_id() {
        // Nor may it change its groups, of which the kernel makes a condition of a map of one's own.
        groups.clear();
        if (uid, gid) != (0, 0) {
            return Err(Error::OneId { uid, gid });
        }
    }
    Ok(Identity { uid, gid, groups, home })
}

/// With more groups, by the names that the root has for them, or numbers.
pub(crate) fn with_groups(identity: Identity, root: &Root, more: &[String]) -> Result<Identity, Error> {
    if more.is_empty() {
        return Ok(identity);
    }
    let file = read(root, "etc/group")?;
    let mut groups = identity.groups;
    if crate::rootless::is_single_id() {
        return Err(Error::OneId { uid: identity.uid, gid: identity.gid });
    }
    for group in more {
        let gid = group_id(&file, group).ok_or_else(|| missing("group", group, "/etc/group"))?;
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    Ok(Identity { groups, ..identity })
}

fn missing(kind: &'static str, name: &str, file: &'static str) -> Error {
    Error::NoSuchUser { kind, name: name.to_owned(), file }
}

/// A number in full, in range; nothing else.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|id| *id <= HIGHEST_ID)
}

/// A line of a passwd file.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    uid: u32,
    gid: u32,
    pub(crate) home: String,
}

/// That of a number.
pub(crate) fn account(passwd: &str, uid: u32) -> Option<Account> {
    passwd.lines().filter_map(parse_user).find(|account| account.uid == uid)
}

fn find_user(passwd: &str, user: &str) -> Option<Account> {
    let number = id(user);
    let entries = || passwd.lines().filter_map(parse_user);
    // A name wins over a number, as with chown(1).
    entries().find(|e| e.name == user).or_else(|| entries().find(|e| Some(e.uid) == number))
}

fn parse_user(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let _password = fields.next()?;
    let (uid, gid) = (id(fields.next()?)?, id(fields.next()?)?);
    let _comment = fields.next();
    Some(Account { name, uid, gid, home: fields.next().unwrap_or_default().to_owned() })
}

fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().filter_map(parse_group).find(|(known, ..)| *known == name).map(|(_, gid, _)| gid)
}

/// Whether a group has this number.
pub(crate) fn has_group(groups: &str, gid: u32) -> bool {
    groups.lines().filter_map(parse_group).any(|(_, known, _)| known == gid)
}

/// All ids that a passwd file names, or a group file.
pub(crate) fn ids_in(text: &str, is_passwd: bool) -> Vec<u32> {
    if is_passwd {
        return text.lines().filter_map(parse_user).flat_map(|user| [user.uid, user.gid]).collect();
    }
    text.lines().filter_map(parse_group).map(|(_, gid, _)| gid).collect()
}

/// The ids that `-u` means, in words of [`resolve`]: those that these files or the word itself tell. Of what is not there
/// nothing is said here.
pub(crate) fn ids_of(passwd: &str, groups: &str, wanted: &str) -> Vec<u32> {
    let (user, group) = wanted.split_once(':').map_or((wanted, None), |(user, group)| (user, Some(group)));
    let mut ids: Vec<u32> = group.and_then(|group| group_id(groups, group)).into_iter().collect();
    match find_user(passwd, user) {
        Some(entry) => {
            ids.extend([entry.uid, entry.gid]);
            ids.extend(groups_of(groups, &entry.name, entry.gid));
        }
        None => ids.extend(id(user)),
    }
    ids
}

/// The number of a group, by its name or as it is.
pub(crate) fn group_id(groups: &str, group: &str) -> Option<u32> {
    find_group(groups, group).or_else(|| id(group))
}

fn groups_of(groups: &str, user: &str, primary: u32) -> Vec<u32> {
    let member = |(_, gid, members): (&str, u32, &str)| {
        (gid != primary && members.split(',').any(|member| member == user)).then_some(gid)
    };
    groups.lines().filter_map(parse_group).filter_map(member).collect()
}

fn parse_group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let _password = fields.next()?;
    let gid = id(fields.next()?)?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

/// The text of a small file inside the root; empty when it is not there.
pub(crate) fn read(root: &Root, path: &str) -> Result<String, Error> {
    let failed = |errno| Error::file("read the container's", Path::new("/").join(path))(errno);
    // First by O_PATH: opening a FIFO would hold us up, and opening a device can do things.
    let place = match root.open(Path::new(path), OFlags::PATH) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = rustix::fs::fstat(&place).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(String::new());
    }
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = rustix::fs::open(again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let mut bytes = vec![0; usize::try_from(stat.st_size).unwrap_or(0).min(MOST_BYTES)];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::read(&file, &mut bytes[filled..]).map_err(failed)? {
            0 => break,
            got => filled += got,
        }
    }
    bytes.truncate(filled);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100:Ann:/home/ann:/bin/sh\n7up:x:1007:100::/:\n\
                          odd:x:zero:0::/:\n12:x:1012:12::/twelve:\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nwheel:x:10:root,ann\nvideo:x:44:ann\n";

    fn look(wanted: Option<&str>) -> Result<Identity, Error> {
        let dir = std::env::temp_dir().join(format!("mycontainer-user-{}-{:?}", std::process::id(), wanted));
        let dir = std::path::PathBuf::from(dir.to_string_lossy().replace(['"', '(', ')', ':', '\\'], "_"));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::write(dir.join("etc/passwd"), PASSWD).unwrap();
        std::fs::write(dir.join("etc/group"), GROUP).unwrap();
        let found = resolve(&Root::open_host(&dir).unwrap(), wanted);
        std::fs::remove_dir_all(&dir).unwrap();
        found
    }

    #[test]
    fn an_account_is_found_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nodd\nann:x:1000:1000:Ann,,:/home/ann:/bin/bash\n";
        let found = account(passwd, 1000).map(|account| (account.name, account.home));
        assert_eq!(found, Some(("ann".into(), "/home/ann".into())));
        assert!(account(passwd, 1).is_none());
    }

    #[test]
    fn users_and_groups() {
        let who =
            |uid, gid, groups: &[u32], home: &str| Identity { uid, gid, groups: groups.into(), home: home.into() };
        let cases: &[(Option<&str>, Identity)] = &[
            (None, who(0, 0, &[0, 10], "/root")),
            (Some("ann"), who(1000, 100, &[100, 10, 44], "/home/ann")),
            (Some("1000"), who(1000, 100, &[100, 10, 44], "/home/ann")),
            (Some("ann:video"), who(1000, 44, &[44], "/home/ann")),
            (Some("ann:7"), who(1000, 7, &[7], "/home/ann")),
            (Some("4242"), who(4242, 0, &[0], "/")),
            (Some("4242:4343"), who(4242, 4343, &[4343], "/")),
            (Some("7up"), who(1007, 100, &[100], "/")),
            (Some("12"), who(1012, 12, &[12], "/twelve")),
        ];
        for (wanted, expected) in cases {
            assert_eq!(look(*wanted).unwrap(), *expected, "{wanted:?}");
        }
    }

    #[test]
    fn ids_are_those_of_whom_one_means() {
        for (wanted, expected) in [
            ("ann", &[1000, 100, 10, 44][..]),
            ("1000:video", &[44, 1000, 100, 10, 44]),
            ("4242:4343", &[4343, 4242]),
            (":7", &[7]),
            ("bob:x", &[]),
        ] {
            assert_eq!(ids_of(PASSWD, GROUP, wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn what_is_neither_a_name_nor_a_number_is_refused() {
        for wanted in ["", "bob", "0x0", "+0", "-1", "4294967295", "2147483648", " 0", "0 ", "odd", "ann:nobody", "7:x"]
        {
            assert!(look(Some(wanted)).is_err(), "{wanted:?}");
        }
    }
}
