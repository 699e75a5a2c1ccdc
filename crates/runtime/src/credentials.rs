//! Who the program runs as: limits, groups, ids, capabilities, no_new_privs, seccomp. The order is the substance.

use crate::capabilities::bit;
use crate::channel::Channel;
use crate::error::Error;
use crate::plan::{CapabilityBits, PlannedProcess};
use oci_spec::runtime::Capability;
use rustix::io::Errno;
use rustix::process::{Gid, Rlimit, Uid, setrlimit, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use step::step;

/// The kernel's highest capability may be newer than ours; asking beyond it says so.
const MOST_CAPABILITIES: u32 = 63;

/// What a program starts with when the configuration does not say. [runc, crun]
const DEFAULT_UMASK: u32 = 0o022;

/// Sets the resource limits. Raising a hard limit needs CAP_SYS_RESOURCE, so this comes before capabilities are dropped.
pub(crate) fn set_limits(process: &PlannedProcess) -> Result<(), Error> {
    for limit in &process.rlimits {
        // The runtime-spec writes "unlimited" as the largest number; rustix as None.
        let value = |n: u64| if n == u64::MAX { None } else { Some(n) };
        let new = Rlimit { current: value(limit.soft), maximum: value(limit.hard) };
        step(
            "set-ulimit",
            "asked for by --ulimit",
            || format!("limit {} to {}:{}", limit.name, limit.soft, limit.hard),
            || setrlimit(limit.resource, new),
        )
        .map_err(|source| Error::Rlimit {
            name: limit.name.clone(),
            soft: limit.soft,
            hard: limit.hard,
            source,
        })?;
    }
    Ok(())
}

/// Becomes the user, who then has the capabilities that the program may have and, to load the filter, CAP_SYS_ADMIN.
/// From here on files are looked at with the user's own rights.
pub(crate) fn become_user(process: &PlannedProcess) -> Result<(), Error> {
    let sets = process.capabilities;
    step(
        "drop-bounding-set",
        "what is not in it can never be gained again",
        || format!("keep capabilities {:#x} at most", sets.bounding),
        || limit_bounding_set(sets.bounding),
    )
    .map_err(Error::process("drop capabilities from the bounding set"))?;
    step(
        "become-user",
        "the program's user and groups",
        || format!("uid {} gid {} groups {:?}", process.uid, process.gid, process.groups),
        || change_user(process),
    )
}

/// The last before the exec: the final capabilities, no_new_privs, and the system call filter.
///
/// Loading a filter needs no_new_privs or CAP_SYS_ADMIN. So without no_new_privs it is loaded while that capability is
/// still there, and then only one `capset` and the exec itself have to pass it: whatever a profile forbids, it does not
/// forbid it to us.
pub(crate) fn confine(
    process: &PlannedProcess,
    filter: Option<&seccomp::Program>,
    told: &Channel,
) -> Result<(), Error> {
    let sets = process.capabilities;
    if !process.no_new_privileges {
        load(filter, told)?;
    }
    step(
        "drop-capabilities",
        "root in the container is not root of the host",
        || shown(&sets),
        || set_capabilities(None, kernel_sets(&sets, 0)),
    )
    .map_err(Error::process("set the capabilities"))?;
    if process.no_new_privileges {
        step("no-new-privs", "set-uid programs give nothing", || "set no_new_privs".into(), || set_no_new_privs(true))
            .map_err(Error::process("set no_new_privs"))?;
        load(filter, told)?;
    }
    Ok(())
}

fn shown(sets: &CapabilityBits) -> String {
    format!("effective {:#x}, permitted {:#x}, inheritable {:#x}", sets.effective, sets.permitted, sets.inheritable)
}

fn limit_bounding_set(keep: u64) -> Result<(), Errno> {
    for number in (0..=MOST_CAPABILITIES).filter(|number| keep >> number & 1 == 0) {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn change_user(process: &PlannedProcess) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    let groups: Vec<Gid> = process.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    match set_thread_groups(&groups) {
        // In a user namespace whose maker may not let go of groups; there are none to take.
        Err(Errno::PERM) if groups.is_empty() => {}
        done => done.map_err(Error::process("set the groups"))?,
    }
    set_thread_res_gid(gid, gid, gid).map_err(Error::process(format!("become gid {}", process.gid)))?;
    if process.uid != 0 {
        set_keep_capabilities(true).map_err(Error::process("keep capabilities over the change of user"))?;
        set_thread_res_uid(uid, uid, uid).map_err(Error::process(format!("become uid {}", process.uid)))?;
    }
    umask(rustix::fs::Mode::from_raw_mode(process.umask.unwrap_or(DEFAULT_UMASK)));
    hold(&process.capabilities).map_err(Error::process("set the capabilities"))
}

/// The program's capabilities and CAP_SYS_ADMIN beside them; and the ambient ones, which cannot be raised later.
fn hold(sets: &CapabilityBits) -> Result<(), Errno> {
    set_capabilities(None, kernel_sets(sets, bit(Capability::SysAdmin)))?;
    // The kernel has none ambient that is not inheritable, too; Buildah asks for such, and means those that can be.
    let ambient = sets.ambient & sets.inheritable & sets.permitted;
    if ambient != 0 {
        clear_ambient_capability_set()?;
        for number in (0..=MOST_CAPABILITIES).filter(|n| ambient >> n & 1 == 1) {
            configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true)?;
        }
    }
    Ok(())
}

fn kernel_sets(sets: &CapabilityBits, more: u64) -> CapabilitySets {
    let set = CapabilitySet::from_bits_retain;
    CapabilitySets {
        effective: set(sets.effective | more),
        permitted: set(sets.permitted | more),
        inheritable: set(sets.inheritable),
    }
}

/// The part of the wanted capabilities that this process has itself. What it lacks it cannot give: that is left out
/// rather than an error, as with the other runtimes, or nothing would run on a host that withholds one.
pub(crate) fn available(wanted: &CapabilityBits) -> Result<CapabilityBits, Error> {
    let ours = rustix::thread::capabilities(None).map_err(Error::process("read the capabilities"))?.permitted.bits();
    Ok(CapabilityBits {
        bounding: wanted.bounding,
        effective: wanted.effective & ours,
        permitted: wanted.permitted & ours,
        inheritable: wanted.inheritable & ours,
        ambient: wanted.ambient & ours,
    })
}

/// Loads the filter. Who answers its questions gets the listener in the same step, before anything else is done behind
/// the filter: freeing memory may be a question already, and the exec is likely one.
fn load(filter: Option<&seccomp::Program>, told: &Channel) -> Result<(), Error> {
    let Some(filter) = filter else { return Ok(()) };
    let bytes = filter.to_bytes();
    let load = || match sys::seccomp::load(&bytes, filter.flags)? {
        Some(listener) => told.send_listener(&listener).map_err(std::io::Error::from),
        None => Ok(()),
    };
    let what = || format!("load a filter of {} instructions", filter.instructions.len());
    step("load-seccomp", "system calls that a container has no need of are refused", what, load)
        .map_err(|source| Error::Process { what: "load the seccomp filter".into(), source })
}

/// Becomes root of the user namespace that this process is in: it was nobody there until its ids were mapped.
pub(crate) fn become_root_of_namespace() -> Result<(), Error> {
    let become_root = || -> Result<(), Errno> {
        match set_thread_groups(&[]) {
            // Who made the namespace may not let go of groups, for they could be there to deny. [user_namespaces(7)]
            Err(Errno::PERM) => {}
            done => done?,
        }
        set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
    };
    step("become-root", "root of the new user namespace, and of nothing else", || "uid 0 gid 0".into(), become_root)
        .map_err(Error::process("become root of the user namespace"))
}
