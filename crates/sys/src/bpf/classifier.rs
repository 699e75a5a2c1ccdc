//! Programs that see what comes in by a link (they are put there by rtnetlink, as filters of kind `bpf`: tc-bpf(8)), and the
//! map of hardware addresses that such a program looks into. A program goes with the last filter, a map with the last program.

use super::{Insn, Kind, by_id, checked, descriptor_of, fill, load, new_descriptor};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_GET_FD_BY_ID: libc::c_long = 14;
const BPF_MAP_TYPE_LRU_HASH: u32 = 9;

/// A hardware address with two bytes of zero behind it.
type Key = [u8; 8];

/// The fields of `union bpf_attr` that BPF_MAP_CREATE reads.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

/// The fields of `union bpf_attr` that BPF_MAP_UPDATE_ELEM reads.
#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
}

/// A map from hardware addresses to the indices of links. Of too many the kernel forgets those that were not asked for
/// longest (`BPF_MAP_TYPE_LRU_HASH`).
#[derive(Debug)]
pub struct AddressMap(OwnedFd);

impl AddressMap {
    /// Makes one for `most` addresses.
    pub fn create(most: u32, name: [u8; 16]) -> Result<AddressMap, Errno> {
        let attr = MapCreate {
            map_type: BPF_MAP_TYPE_LRU_HASH,
            key_size: size_of::<Key>() as u32,
            value_size: size_of::<u32>() as u32,
            max_entries: most,
            map_flags: 0,
            inner_map_fd: 0,
            numa_node: 0,
            map_name: name,
        };
        // SAFETY: `attr` lives until the call returns, its size is passed beside it, and it holds no pointer.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const attr, size_of::<MapCreate>()) };
        new_descriptor(fd).map(AddressMap)
    }

    /// The one that a program of [`load_classifier`] looks into, which the kernel knows by this number.
    pub fn of(program: u32) -> Result<AddressMap, Errno> {
        let program = by_id(program)?;
        let mut ids = [0u32; 1];
        let mut info = super::ProgInfo { nr_map_ids: 1, map_ids: ids.as_mut_ptr() as u64, ..Default::default() };
        // SAFETY: `info` is the beginning of a `bpf_prog_info`, and of its pointers only the one to `ids` is not null, which
        // lives until the call returns and has place for the one number that it is said to.
        unsafe { fill(program.as_fd(), &mut info) }?;
        if info.nr_map_ids != 1 {
            return Err(Errno::INVAL);
        }
        let map = descriptor_of(BPF_MAP_GET_FD_BY_ID, ids[0])?;
        let mut info = MapInfo::default();
        // SAFETY: `info` is the beginning of a `bpf_map_info`, and holds no pointer.
        unsafe { fill(map.as_fd(), &mut info) }?;
        let sizes = (size_of::<Key>() as u32, size_of::<u32>() as u32);
        if (info.key_size, info.value_size) == sizes { Ok(AddressMap(map)) } else { Err(Errno::INVAL) }
    }

    /// Says which link has an address, whatever was said of it before.
    pub fn set(&self, address: [u8; 6], link: u32) -> Result<(), Errno> {
        let mut key: Key = [0; 8];
        key[..6].copy_from_slice(&address);
        let attr = MapUpdate {
            map_fd: self.0.as_raw_fd() as u32,
            padding: 0,
            key: key.as_ptr() as u64,
            value: &raw const link as u64,
            flags: 0,
        };
        // SAFETY: `attr`, `key` and `link` live until the call returns, and the latter are as large as the map's keys and
        // values: so it was made, or found to be.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_ELEM, &raw const attr, size_of::<MapUpdate>()) };
        checked(done).map(|_| ())
    }
}

impl AsFd for AddressMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Loads a program of type BPF_PROG_TYPE_SCHED_CLS. Needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, of the host.
pub fn load_classifier(program: &[Insn], name: [u8; 16]) -> Result<OwnedFd, Errno> {
    load(program, Kind::Classifier, name)
}
