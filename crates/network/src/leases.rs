//! The file of leases: which container has which address.
//!
//! ```text
//! mycontainer leases: given 7 last 172.17.0.8 rules 12 resolver - pids 4026531836
//! 172.17.0.7      <64 hex digits of the container's id> 4711 1234567
//! 172.18.0.2      <64 hex digits of the container's id> 4711 1234567 <12 hex digits of a network's id>
//! free
//! ```
//!
//! Each line is 128 bytes with its newline, padded with spaces, and is only ever written whole and in place by one
//! `pwrite`: 128 divides the page size, so that not even a SIGKILL in the middle of the call tears a line, and no file
//! is made or renamed for a lease (250 to 500 µs on some file systems). The first line holds what the next lease needs:
//! how many were ever given, the last address (the next one is searched from there on, so that an address rests as long
//! as possible before it is somebody else's), the generation of the rule set that has our rules, and the resolver they
//! forward to; and the pid namespace in which the ids of the lines are ids, by its inode. From another one nobody can tell
//! who has ended, and nothing is freed there by that; where leases were given from several, which is said by a 0, by nobody
//! any more. A line of a lease is address, id, pid and start time of the process whose life the lease is bound to, and the
//! network, unless it is the default one. A line that does not read as one is free. A container that has left all networks
//! while it publishes ports has a line still, without an address: by that its ports are known to wait for it.
//!
//! Whoever touches the file holds the lock of the directory. The janitor removes it when the network is gone.

use crate::error::Error;
use crate::owner::{Owner, pid_namespace};
use crate::subnet::Pool;
use crate::tag::Tag;
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::{Errno, pread, pwrite};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The file's name in the run directory.
pub(crate) const NAME: &str = "leases";
const LINE: usize = 128;
/// So long is a container's id.
const ID: usize = 64;
/// So much is read at once: less than what memory is asked of the kernel for.
const CHUNK: usize = 64 * LINE;
/// More than a /16 has addresses; whatever is longer was not written by us.
const MOST_LINES: usize = 65_536;
const TITLE: &str = "mycontainer leases:";
const FREE: &str = "free";

/// One leased address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) address: Ipv4Addr,
    pub(crate) container: Holder,
    pub(crate) owner: Owner,
    pub(crate) network: Tag,
}

/// The id of the container that has a lease. In place: who wants one lease reads those of all, and a piece of memory for
/// each of a thousand would take longer than the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder([u8; ID]);

impl Holder {
    /// None of what is no id.
    pub(crate) fn of(id: &[u8]) -> Option<Holder> {
        if is_id(id) { id.try_into().ok().map(Holder) } else { None }
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl PartialEq<&str> for Holder {
    fn eq(&self, id: &&str) -> bool {
        self.0 == id.as_bytes()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Leases ever given.
    pub(crate) given: u64,
    /// The last address given.
    pub(crate) last: Option<Ipv4Addr>,
    /// Generation of the rule set in which our rules were complete.
    pub(crate) rules: Option<u32>,
    /// The host's name server to which those rules forward.
    pub(crate) resolver: Option<Ipv4Addr>,
    /// The pid namespace in which the owners' ids are theirs; 0 when there are several.
    pub(crate) pids: Option<u64>,
}

/// The file, open and read.
pub(crate) struct Leases {
    file: OwnedFd,
    path: PathBuf,
    pub(crate) head: Head,
    lines: Vec<Option<Entry>>,
    /// The owners' ids are ids for this process as well, once that is known.
    can_tell: OnceCell<bool>,
}

impl Leases {
    /// Opens and reads the file in `dir`, whose lock is held; makes it when `create`, else `None` when there is none.
    pub(crate) fn open(dir: BorrowedFd<'_>, path: &Path, create: bool) -> Result<Option<Leases>, Error> {
        let path = path.join(NAME);
        let fail = |action, source| Error::Leases { action, path: path.clone(), source };
        let make = if create { OFlags::CREATE } else { OFlags::empty() };
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | make;
        let file = match openat(dir, NAME, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => file,
            Err(Errno::NOENT) if !create => return Ok(None),
            Err(errno) => return Err(fail("open", errno)),
        };
        let (head, lines) = read_all(&file).map_err(|errno| fail("read", errno))?;
        Ok(Some(Leases { file, path, head, lines, can_tell: OnceCell::new() }))
    }

    /// Whether an owner can be told from one that has ended: not from another pid namespace.
    pub(crate) fn can_tell_owners(&self) -> bool {
        // Who wrote no such word knew of one only.
        *self.can_tell.get_or_init(|| self.head.pids.is_none_or(|pids| pid_namespace() == Some(pids)))
    }

    fn is_gone(&self, owner: &Owner) -> bool {
        self.can_tell_owners() && owner.is_gone()
    }

    /// Notes from where a lease is given.
    fn note_namespace(&mut self) -> Result<(), Error> {
        let own = pid_namespace().unwrap_or(0);
        let pids = match self.head.pids {
            Some(pids) if pids != own && self.entries().next().is_some() => 0,
            // Those that are there and tell nothing are ours.
            _ => own,
        };
        if self.head.pids.replace(pids) == Some(pids) {
            return Ok(());
        }
        self.can_tell = OnceCell::new();
        // Before the lease: else a crash between the two would leave one that others take for a dead one's.
        if pids == 0 { self.write_head() } else { Ok(()) }
    }

    /// The descriptor, on which the janitor holds its lock.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// All leases, with the place of each.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.lines.iter().enumerate().filter_map(|(at, line)| Some((at, line.as_ref()?)))
    }

    /// The networks that have leases.
    pub(crate) fn networks(&self) -> BTreeSet<Tag> {
        self.entries().map(|(_, entry)| entry.network).collect()
    }

    /// The leases of a network.
    pub(crate) fn of(&self, network: Tag) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries().filter(move |(_, entry)| entry.network == network)
    }

    /// The place of a container's lease in a network.
    pub(crate) fn find(&self, container: &str, network: Tag) -> Option<usize> {
        self.of(network).find(|(_, entry)| entry.container == container).map(|(at, _)| at)
    }

    /// Leases an address of the network to the container: the one that is wished for, else the one it has, else the next
    /// that is free.
    pub(crate) fn give(
        &mut self,
        container: &str,
        owner: Owner,
        pool: &Pool,
        wish: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr, Error> {
        let holder = Holder::of(container.as_bytes()).ok_or_else(|| Error::BadId { id: container.to_owned() })?;
        self.note_namespace()?;
        let network = pool.network;
        let had = self.find(container, network);
        let kept = had.and_then(|at| self.lines[at].as_ref()).map(|entry| entry.address);
        let address = match (wish, kept.filter(|address| pool.offers(*address))) {
            (Some(wish), _) => self.free_for(container, pool, wish)?,
            (None, Some(kept)) => kept,
            (None, None) => self.next_free(pool)?,
        };
        let at = had.or_else(|| self.lines.iter().position(Option::is_none)).unwrap_or(self.lines.len());
        // The lease before the head: a crash between the two leaves a taken address that the next search steps over.
        self.put(at, Some(Entry { address, container: holder, owner, network }))?;
        self.head = Head { given: self.head.given.wrapping_add(1), last: Some(address), ..self.head };
        self.write_head()?;
        self.find(container, Tag::NOWHERE).map_or(Ok(()), |waiting| self.free(waiting))?;
        Ok(address)
    }

    /// Gives the address of a lease back, and goes on to say that its container is there.
    pub(crate) fn wait(&mut self, at: usize) -> Result<(), Error> {
        let Some(entry) = self.lines.get(at).cloned().flatten() else { return Ok(()) };
        self.put(at, Some(Entry { address: Ipv4Addr::UNSPECIFIED, network: Tag::NOWHERE, ..entry }))
    }

    /// Gives a lease back.
    pub(crate) fn free(&mut self, at: usize) -> Result<(), Error> {
        self.put(at, None)
    }

    /// Writes the first line.
    pub(crate) fn write_head(&self) -> Result<(), Error> {
        let Head { given, last, rules, resolver, pids } = self.head;
        let or_dash = |address: Option<Ipv4Addr>| address.map_or_else(|| "-".to_owned(), |a| a.to_string());
        let rules = rules.map_or_else(|| "-".to_owned(), |generation| generation.to_string());
        let pids = pids.map_or_else(|| "-".to_owned(), |pids| pids.to_string());
        let (last, resolver) = (or_dash(last), or_dash(resolver));
        self.write(0, &format!("{TITLE} given {given} last {last} rules {rules} resolver {resolver} pids {pids}"))
    }

    /// This very address, if nobody who lives has it.
    fn free_for(&mut self, container: &str, pool: &Pool, wish: Ipv4Addr) -> Result<Ipv4Addr, Error> {
        if !pool.offers(wish) {
            let (network, prefix) = (pool.subnet.network(), pool.subnet.prefix);
            return Err(Error::NotInSubnet { address: wish, network, prefix });
        }
        let has_it = |entry: &Entry| entry.address == wish && entry.container != container;
        let other = self.of(pool.network).find(|(_, entry)| has_it(entry));
        match other.map(|(at, entry)| (at, self.is_gone(&entry.owner), entry.container.to_string())) {
            None => Ok(wish),
            Some((at, true, _)) => self.free(at).map(|()| wish),
            Some((_, false, other)) => Err(Error::AddressTaken { address: wish, container: other }),
        }
    }

    fn next_free(&mut self, pool: &Pool) -> Result<Ipv4Addr, Error> {
        if let Some(address) = self.search(pool) {
            return Ok(address);
        }
        // Only now is it worth asking for each lease whether its owner still lives.
        let gone: Vec<usize> =
            self.of(pool.network).filter(|(_, entry)| self.is_gone(&entry.owner)).map(|(at, _)| at).collect();
        for at in gone {
            self.free(at)?;
        }
        let leased = self.of(pool.network).count();
        let (network, prefix) = pool.range.unwrap_or((pool.subnet.network(), pool.subnet.prefix));
        self.search(pool).ok_or(Error::NoFreeAddress { network, prefix, leased })
    }

    fn search(&self, pool: &Pool) -> Option<Ipv4Addr> {
        let mut taken: Vec<Ipv4Addr> = self.of(pool.network).map(|(_, entry)| entry.address).collect();
        taken.sort_unstable();
        let (first, end) = pool.bounds();
        // Of another network than the last lease: after those that are there, for they were given last.
        let is_within = |last: &Ipv4Addr| (first..=end).contains(&last.to_bits());
        let last = self.head.last.filter(is_within).or_else(|| taken.iter().copied().filter(is_within).max());
        let start = last.map_or(first, |last| last.to_bits().saturating_add(1));
        let addresses = (start..=end).chain(first..start).map(Ipv4Addr::from_bits);
        addresses.into_iter().find(|address| pool.offers(*address) && taken.binary_search(address).is_err())
    }

    fn put(&mut self, at: usize, entry: Option<Entry>) -> Result<(), Error> {
        let line = entry.as_ref().map_or_else(|| FREE.to_owned(), line_of);
        if self.lines.is_empty() {
            self.write_head()?;
        }
        self.write(at + 1, &line)?;
        if at >= self.lines.len() {
            self.lines.resize(at + 1, None);
        }
        self.lines[at] = entry;
        Ok(())
    }

    fn write(&self, nth: usize, line: &str) -> Result<(), Error> {
        let fail = |source| Error::Leases { action: "write", path: self.path.clone(), source };
        let line = format!("{line:<width$}\n", width = LINE - 1);
        match pwrite(&self.file, line.as_bytes(), (nth * LINE) as u64) {
            Ok(LINE) => Ok(()),
            Ok(_) => Err(fail(Errno::NOSPC)),
            Err(errno) => Err(fail(errno)),
        }
    }
}

/// The first line and the others.
fn read_all(file: &OwnedFd) -> Result<(Head, Vec<Option<Entry>>), Errno> {
    let size = usize::try_from(fstat(file)?.st_size).unwrap_or(0).min(MOST_LINES * LINE);
    // One more, for the lease that is about to be given.
    let (mut head, mut lines) = (None, Vec::with_capacity(size / LINE + 1));
    let mut space = [0; CHUNK];
    let (mut read, mut begun) = (0, 0);
    loop {
        let got = match pread(file, &mut space[begun..], read) {
            Ok(0) => break,
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        read += got as u64;
        if read >= (MOST_LINES * LINE) as u64 {
            return Err(Errno::FBIG);
        }
        let filled = begun + got;
        begun = filled % LINE;
        for line in space[..filled].chunks_exact(LINE) {
            if head.is_none() { head = Some(parse_head(line)) } else { lines.push(parse_entry(line)) }
        }
        space.copy_within(filled - begun..filled, 0);
    }
    Ok((head.unwrap_or_default(), lines))
}

fn line_of(entry: &Entry) -> String {
    let Entry { address, container, owner, network } = entry;
    let network = if *network == Tag::DEFAULT { String::new() } else { format!(" {network}") };
    format!("{:<15} {container} {} {}{network}", address.to_string(), owner.pid, owner.start_time)
}

fn parse_entry(line: &[u8]) -> Option<Entry> {
    // Most of a line is padding.
    let line = line.trim_ascii_end();
    let (address, rest) = line.split_at(line.iter().position(|byte| *byte == b' ')?);
    let address = str::from_utf8(address).ok()?.parse().ok()?;
    let (container, rest) = rest.trim_ascii_start().split_at_checked(ID)?;
    let container = Holder::of(container)?;
    let mut words = str::from_utf8(rest).ok()?.strip_prefix(' ')?.split(' ').filter(|word| !word.is_empty());
    let owner = Owner { pid: words.next()?.parse().ok()?, start_time: words.next()?.parse().ok()? };
    let network = words.next().map_or(Some(Tag::DEFAULT), Tag::parse)?;
    words.next().is_none().then_some(Entry { address, container, owner, network })
}

fn parse_head(line: &[u8]) -> Head {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let mut words = text.strip_prefix(TITLE).unwrap_or_default().split_ascii_whitespace();
    let mut head = Head::default();
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        match key {
            "given" => head.given = value.parse().unwrap_or(0),
            "last" => head.last = value.parse().ok(),
            "rules" => head.rules = value.parse().ok(),
            "resolver" => head.resolver = value.parse().ok(),
            "pids" => head.pids = value.parse().ok(),
            _ => {}
        }
    }
    head
}

/// True for a container's id: 64 lower-case hex digits.
pub(crate) fn is_id(text: &[u8]) -> bool {
    // All of it in any case, which the processor does several bytes at a time.
    let is_hex = |byte: &u8| byte.is_ascii_digit() | (b'a'..=b'f').contains(byte);
    text.len() == ID && text.iter().fold(true, |all, byte| all & is_hex(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subnet::Subnet;
    use rustix::fs::CWD;
    use std::os::fd::AsFd;

    const POOL: Pool = Pool {
        network: Tag::DEFAULT,
        subnet: Subnet { gateway: Ipv4Addr::new(172, 17, 0, 1), prefix: 29 },
        range: None,
        reserved: Vec::new(),
    };

    fn id(nth: u32) -> String {
        format!("{nth:064x}")
    }

    /// A directory of its own for each test, removed at the end.
    struct Dir(PathBuf, OwnedFd);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path = std::env::temp_dir().join(format!("mycontainer-leases-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            let fd = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            Dir(path, fd)
        }

        fn open(&self) -> Leases {
            Leases::open(self.1.as_fd(), &self.0, true).unwrap().unwrap()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn addresses_go_round_and_rest_after_use() {
        let dir = Dir::new("round");
        let me = Owner::this_process().unwrap();
        let give = |nth| dir.open().give(&id(nth), me, &POOL, None).map(|address| address.octets()[3]);
        assert_eq!(
            [give(1).unwrap(), give(2).unwrap(), give(1).unwrap()],
            [2, 3, 2],
            "the same container keeps its own"
        );
        let free = |nth| {
            let mut leases = dir.open();
            let at = leases.find(&id(nth), Tag::DEFAULT).unwrap();
            leases.free(at).unwrap();
        };
        free(1);
        free(2);
        let give = |nth| dir.open().give(&id(nth), me, &POOL, None).map(|address| address.octets()[3]);
        let given: Vec<u8> = (3..=7).map(|nth| give(nth).unwrap()).collect();
        assert_eq!(given, [3, 4, 5, 6, 2], "from the last one on, then from the start");
        let error = give(8).unwrap_err().to_string();
        assert!(error.contains("172.17.0.0/29") && error.contains("all 5"), "{error}");
        free(5);
        assert_eq!(dir.open().give(&id(8), me, &POOL, None).unwrap().octets()[3], 5);
    }

    #[test]
    fn a_full_subnet_takes_back_what_the_dead_hold() {
        let dir = Dir::new("dead");
        let me = Owner::this_process().unwrap();
        let dead = Owner { start_time: me.start_time + 1, ..me };
        for nth in 1..=5 {
            dir.open().give(&id(nth), if nth == 3 { dead } else { me }, &POOL, None).unwrap();
        }
        assert_eq!(dir.open().give(&id(9), me, &POOL, None).unwrap(), Ipv4Addr::new(172, 17, 0, 4));
    }

    #[test]
    fn each_network_has_its_own_addresses_and_a_wish_is_granted_once() {
        let dir = Dir::new("several");
        let me = Owner::this_process().unwrap();
        let dead = Owner { start_time: me.start_time + 1, ..me };
        let subnet = Subnet { gateway: Ipv4Addr::new(10, 0, 0, 1), prefix: 24 };
        let other = Pool { network: Tag::parse("0123456789ab").unwrap(), subnet, range: None, reserved: Vec::new() };
        let narrow = Pool { range: Some((Ipv4Addr::new(10, 0, 0, 16), 30)), ..other.clone() };
        let reserved = vec![Ipv4Addr::new(10, 0, 0, 16), Ipv4Addr::new(10, 0, 0, 18)];
        let kept = Pool { network: Tag::parse("0123456789ac").unwrap(), reserved, ..narrow.clone() };
        let give = |nth, pool: &Pool, wish: Option<u8>| {
            let wish = wish.map(|last| Ipv4Addr::new(10, 0, 0, last));
            dir.open().give(&id(nth), me, pool, wish).map(|address| address.to_string()).map_err(|e| e.to_string())
        };
        for (nth, pool, wish, expected) in [
            (1, &POOL, None, "172.17.0.2"),
            (1, &other, None, "10.0.0.2"),
            (2, &POOL, None, "172.17.0.3"),
            (2, &other, None, "10.0.0.3"),
            (3, &other, Some(9), "10.0.0.9"),
            (3, &other, Some(9), "10.0.0.9"),
            (4, &other, None, "10.0.0.10"),
            (5, &narrow, None, "10.0.0.16"),
            (6, &narrow, None, "10.0.0.17"),
            (8, &kept, None, "10.0.0.19"),
            (9, &kept, None, "10.0.0.17"),
        ] {
            assert_eq!(give(nth, pool, wish).as_deref(), Ok(expected), "{nth}");
        }
        for (nth, pool, wish, expected) in [
            (7, &other, Some(9), "10.0.0.9 is the address of the container"),
            (7, &other, Some(1), "10.0.0.1 cannot be a container's"),
            (7, &kept, Some(18), "10.0.0.18 cannot be a container's"),
            (7, &kept, None, "no free address in 10.0.0.16/30"),
            (7, &POOL, Some(8), "10.0.0.8 cannot be a container's"),
        ] {
            let error = give(nth, pool, wish).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        dir.open().give(&id(8), dead, &other, Some(Ipv4Addr::new(10, 0, 0, 8))).unwrap();
        assert_eq!(give(7, &other, Some(8)).as_deref(), Ok("10.0.0.8"), "of one that is gone");
        assert_eq!(
            (give(8, &narrow, None).unwrap(), give(9, &narrow, None).unwrap()),
            ("10.0.0.18".into(), "10.0.0.19".into())
        );
        assert!(give(10, &narrow, None).unwrap_err().contains("no free address in 10.0.0.16/30"));
        assert_eq!(dir.open().of(Tag::DEFAULT).count(), 2);
    }

    #[test]
    fn the_file_is_lines_that_a_person_can_read() {
        let dir = Dir::new("text");
        let me = Owner::this_process().unwrap();
        let mut leases = dir.open();
        leases.give(&id(7), me, &POOL, None).unwrap();
        leases.head.rules = Some(12);
        leases.write_head().unwrap();
        let text = std::fs::read_to_string(dir.0.join(NAME)).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let pids = pid_namespace().unwrap();
        assert_eq!(lines[0], format!("mycontainer leases: given 1 last 172.17.0.2 rules 12 resolver - pids {pids}"));
        assert_eq!(lines[1], format!("172.17.0.2      {} {} {}", id(7), me.pid, me.start_time));
        assert_eq!(text.len(), 2 * LINE);
        assert_eq!(dir.open().head, leases.head);
        let longest = Entry {
            address: Ipv4Addr::BROADCAST,
            container: Holder::of(id(u32::MAX).as_bytes()).unwrap(),
            owner: Owner { pid: i32::MAX, start_time: u64::MAX },
            network: Tag::parse("ffffffffffff").unwrap(),
        };
        assert!(line_of(&longest).len() < LINE);
        assert_eq!(parse_entry(line_of(&longest).as_bytes()), Some(longest));
    }

    #[test]
    fn from_another_pid_namespace_nobody_is_gone() {
        let dir = Dir::new("pids");
        let me = Owner::this_process().unwrap();
        let dead = Owner { start_time: me.start_time + 1, ..me };
        let mut leases = dir.open();
        leases.give(&id(1), dead, &POOL, None).unwrap();
        assert!(leases.can_tell_owners() && leases.is_gone(&dead));
        leases.head.pids = Some(1);
        leases.write_head().unwrap();
        let mut leases = dir.open();
        assert!(!leases.can_tell_owners() && !leases.is_gone(&dead));
        // From here on the ids are of two.
        leases.give(&id(2), me, &POOL, None).unwrap();
        let leases = dir.open();
        assert_eq!((leases.head.pids, leases.can_tell_owners()), (Some(0), false));
    }

    #[test]
    fn what_is_no_lease_is_free() {
        let good = format!("172.17.0.2 {} 1 2", id(1));
        assert!(parse_entry(good.as_bytes()).is_some());
        let table = [
            "free".to_owned(),
            String::new(),
            good.replace("172", "572"),
            good.replace(" 1 2", " -x 2"),
            format!("{good} 3"),
            format!("{good} 0123456789ab 4"),
            format!("172.17.0.2 {}", id(1)),
            format!("172.17.0.2 {} 1 2", "Z".repeat(64)),
            format!("172.17.0.2 {} 1 99999999999999999999999", id(1)),
            "\0".repeat(LINE),
        ];
        for bad in table {
            assert_eq!(parse_entry(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse_entry(&[0xff; LINE]), None);
        assert_eq!(parse_head(&[0xff; LINE]), Head::default());
        assert_eq!(parse_head(b"mycontainer leases: given x last y rules -1 resolver"), Head::default());
    }

    #[test]
    fn a_damaged_file_still_gives_addresses() {
        let me = Owner::this_process().unwrap();
        let mut state = 1_u64;
        let dir = Dir::new("damaged");
        for round in 0..300 {
            let mut text = vec![b' '; (state >> 33) as usize % (6 * LINE)];
            for byte in &mut text {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 35) as u8;
            }
            std::fs::write(dir.0.join(NAME), &text).unwrap();
            assert!(POOL.subnet.offers(dir.open().give(&id(round), me, &POOL, None).unwrap()));
            assert!(dir.open().find(&id(round), Tag::DEFAULT).is_some(), "what was given is found again");
        }
    }
}
