//! The files of names, as a server reads them: again when a directory's time says that something has changed.
//!
//! A server asks before each answer, for some microseconds a network. So a name is known with the first question that
//! comes after it was written, and none is told that came after it was removed.

use crate::entry::is_network;
use crate::files::{names_in, open_dir};
use crate::stamp::Stamp;
use crate::store::entries_in;
use crate::zone::{Network, Zone};
use rustix::fs::{AtFlags, FileType, fstat, statat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// More networks than a host can have bridges and addresses for.
const MOST_NETWORKS: usize = 4096;

/// Names that are kept as long as they hold.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: OwnedFd,
    stamp: Option<Stamp>,
    networks: BTreeMap<String, Option<Stamp>>,
    zone: Zone,
}

impl Reader {
    /// Of the directory of names.
    pub(crate) fn new(dir: OwnedFd) -> Reader {
        Reader { dir, stamp: None, networks: BTreeMap::new(), zone: Zone::default() }
    }

    /// The names as they are now. What cannot be read is as it was before.
    pub(crate) fn zone(&mut self) -> &Zone {
        let _ = self.read_networks();
        for (name, stamp) in &mut self.networks {
            match read_network(&self.dir, name, stamp) {
                Ok(None) => {}
                Ok(Some(network)) => self.zone.put(name, network),
                Err(Errno::NOENT | Errno::NOTDIR) => self.zone.put(name, Network::default()),
                Err(_) => {}
            }
        }
        &self.zone
    }

    /// Which networks there are.
    fn read_networks(&mut self) -> Result<(), Errno> {
        let stat = fstat(&self.dir)?;
        if self.stamp.is_some_and(|stamp| stamp.holds(&stat)) {
            return Ok(());
        }
        let stamp = Stamp::of(&stat);
        let names = names_in(&self.dir)?.into_iter().filter(|name| is_network(name)).take(MOST_NETWORKS);
        let old = std::mem::take(&mut self.networks);
        self.networks = names.map(|name| (name.clone(), old.get(&name).copied().flatten())).collect();
        self.zone.keep(|name| self.networks.contains_key(name));
        self.stamp = Some(stamp);
        Ok(())
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A network whose directory has changed.
fn read_network(names: &OwnedFd, name: &str, stamp: &mut Option<Stamp>) -> Result<Option<Network>, Errno> {
    let stat = statat(names, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    if stamp.is_some_and(|stamp| stamp.holds(&stat)) {
        return Ok(None);
    }
    let dir = open_dir(names, name)?;
    // Of what was opened, and before it is read.
    let fresh = Stamp::of(&fstat(&dir)?);
    let network = Network::new(entries_in(&dir)?);
    *stamp = Some(fresh);
    Ok(Some(network))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::scratch::Scratch;
    use crate::store::Names;
    use std::time::Duration;

    const A: &str = "aaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbb";

    fn entry(v4: &str, name: &str) -> Entry {
        Entry { v4: v4.parse().unwrap(), v6: None, names: vec![name.into()], servers: Vec::new() }
    }

    #[test]
    fn every_change_is_seen_with_the_next_question() {
        let scratch = Scratch::new();
        let names = Names::open(scratch.as_fd(), scratch.path(), true).unwrap().unwrap();
        let mut reader = Reader::new(rustix::io::fcntl_dupfd_cloexec(&names, 0).unwrap());
        let id = |nth: u32| format!("{nth:064x}");
        let mut sees = |own: &str, client: &str, name: &str| {
            let zone = reader.zone();
            !zone.view(own, client.parse().unwrap()).find(name).is_empty()
        };
        assert!(!sees(A, "10.0.0.9", "a"));
        // Faster than any clock, and slower: what was read is trusted or not.
        for pause in [0, 0, 0, 0, 0, 0, 30, 30] {
            let pause = || std::thread::sleep(Duration::from_millis(pause));
            names.write(A, &id(1), &entry("10.0.0.1", "a")).unwrap();
            assert!(sees(A, "10.0.0.9", "a"));
            pause();
            names.write(A, &id(1), &entry("10.0.0.1", "renamed")).unwrap();
            assert!(sees(A, "10.0.0.9", "renamed") && !sees(A, "10.0.0.9", "a"));
            pause();
            names.write(B, &id(2), &entry("10.0.1.2", "other")).unwrap();
            assert!(!sees(A, "10.0.0.1", "other"));
            pause();
            names.write(B, &id(1), &entry("10.0.1.1", "joined")).unwrap();
            assert!(sees(A, "10.0.0.1", "other"));
            pause();
            names.remove(B, &id(1)).unwrap();
            assert!(!sees(A, "10.0.0.1", "other"));
            pause();
            names.remove_network(A).unwrap();
            assert!(!sees(A, "10.0.0.9", "renamed") && sees(B, "10.0.0.1", "other"));
            pause();
            names.remove_network(B).unwrap();
        }
    }
}
