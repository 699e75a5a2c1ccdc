//! OCI `linux.resources` as a list of writes.
//!
//! Each version of cgroups turns the resources into [`Write`]s without touching the host ([`crate::v1_files`],
//! [`crate::v2_files`]); [`apply`] then makes them, a step for each controller. What neither acts on is refused here by
//! name, so that no limit is ever dropped in silence. Zero means "not set" wherever dockerd and runc take it so; negative
//! means unlimited, which a new group is without a write and an old one is not.

use crate::{Error, Host, file};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxRdma, LinuxResources, LinuxThrottleDevice,
};
use rustix::io::Errno;
use step::step;

/// Below this no program starts: the first pages of a static one and of its page tables do not fit, and the kernel
/// kills it inside execve(2), which looks like a crash. The kernel itself would take any number.
pub(crate) const LEAST_MEMORY: u64 = 512 * 1024;

/// What the writes are for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// A group that is new, and so has no limits.
    Create,
    /// One that has limits already, with the content of one of its files, where they are needed to compute a new one.
    Update(&'a dyn Fn(&str) -> Option<String>),
}

impl Purpose<'_> {
    pub(crate) fn is_update(self) -> bool {
        matches!(self, Purpose::Update(_))
    }

    /// The text for a limit of which 0 is "not set" and a negative number no limit.
    pub(crate) fn limit(self, value: Option<i64>, unlimited: &str) -> Option<String> {
        match set(value)? {
            negative if negative < 0 => self.is_update().then(|| unlimited.to_owned()),
            limit => Some(limit.to_string()),
        }
    }

    /// A number of which 0 is what a new group has.
    pub(crate) fn number<N: Default + PartialEq>(self, value: Option<N>) -> Option<N> {
        if self.is_update() { value } else { set(value) }
    }
}

/// One value for one control file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// The controller that owns the file, by its name on this version of cgroups.
    pub(crate) controller: String,
    /// The field of `linux.resources`, for messages.
    pub(crate) resource: String,
    pub(crate) file: String,
    pub(crate) value: String,
    /// Another file and value for kernels that lack the first.
    pub(crate) or_else: Option<(&'static str, String)>,
    /// Lifts a limit, so that a kernel without the file needs no write.
    pub(crate) lifts: bool,
}

impl Write {
    /// `file` is `CONTROLLER.WHAT`, as all control files are.
    pub(crate) fn new(resource: &str, file: &str, value: impl ToString) -> Self {
        let controller = file.split('.').next().unwrap_or_default();
        Self {
            controller: controller.into(),
            resource: resource.into(),
            file: file.into(),
            value: value.to_string(),
            or_else: None,
            lifts: false,
        }
    }
}

/// Makes the writes in their order; `directory` tells where the group is for a controller.
pub(crate) fn apply(writes: &[Write], directory: impl Fn(&str) -> String) -> Result<(), Error> {
    for same in writes.chunk_by(|a, b| a.controller == b.controller) {
        let (name, why) = match same[0].controller.as_str() {
            "memory" => ("limit-memory", "the container cannot starve the host of memory"),
            "cpu" => ("limit-cpu", "its share of CPU time"),
            "cpuset" => ("limit-cpuset", "the CPUs and memory nodes it runs on"),
            "pids" => ("limit-pids", "a fork bomb ends inside the container"),
            "io" | "blkio" => ("limit-io", "its share of the disks"),
            "hugetlb" => ("limit-hugepages", "huge pages are few, and taken from all"),
            "net_cls" | "net_prio" => ("mark-packets", "the host's traffic control tells its packets by this"),
            "rdma" => ("limit-rdma", "its share of the RDMA devices"),
            _ => ("limit-other", "asked for by the unified section"),
        };
        let directory = directory(&same[0].controller);
        let what = || {
            let told: Vec<_> = same.iter().map(|w| format!("{}={}", w.file, w.value)).collect();
            format!("write {} in {directory}", told.join(", "))
        };
        step(name, why, what, || write_all(same, &directory))?;
    }
    Ok(())
}

/// A value that does not fit beside another's old value (memory and its total with swap, quota and period or burst) is
/// tried again after the others, so that no order of writes has to suit both a raise and a cut.
fn write_all(writes: &[Write], directory: &str) -> Result<(), Error> {
    let mut again = Vec::new();
    for write in writes {
        match write_one(write, directory) {
            Err(Error::Limit { source: Errno::INVAL, .. }) if writes.len() > 1 => again.push(write),
            done => done?,
        }
    }
    again.into_iter().try_for_each(|write| write_one(write, directory))
}

fn write_one(write: &Write, directory: &str) -> Result<(), Error> {
    let mut path = format!("{directory}/{}", write.file);
    let mut done = file::write(&path, &write.value);
    if let (Err(Errno::NOENT), Some((file, value))) = (done, &write.or_else) {
        path = format!("{directory}/{file}");
        done = file::write(&path, value);
    }
    if write.lifts && done == Err(Errno::NOENT) {
        return Ok(());
    }
    done.map_err(|source| Error::Limit {
        resource: write.resource.clone(),
        value: write.value.clone(),
        path: path.into(),
        source,
    })
}

/// The error of a write whose controller the host lacks.
pub(crate) fn no_controller(host: &Host, write: &Write) -> Error {
    Error::NoController {
        resource: write.resource.clone(),
        value: write.value.clone(),
        controller: write.controller.clone(),
        why: host.why_missing(&write.controller),
    }
}

/// Refuses what neither version acts on, and values that every kernel would refuse or silently change.
pub(crate) fn check(resources: &LinuxResources, purpose: Purpose<'_>) -> Result<(), Error> {
    resources.memory().as_ref().map_or(Ok(()), |memory| check_memory(memory, purpose))?;
    resources.cpu().as_ref().map_or(Ok(()), check_cpu)?;
    resources.block_io().as_ref().map_or(Ok(()), check_block_io)?;
    resources.network().as_ref().map_or(Ok(()), check_network)?;
    for limit in resources.hugepage_limits().iter().flatten() {
        check_page_size(limit.page_size())?;
    }
    for device in resources.rdma().iter().flatten().map(|(device, _)| device) {
        check_word(&format!("rdma[{device:?}]"), device)?;
    }
    Ok(())
}

fn check_memory(memory: &LinuxMemory, purpose: Purpose<'_>) -> Result<(), Error> {
    // Deprecated in the specification, and still to be refused when somebody asks for it.
    #[allow(deprecated)]
    let kernel = memory.kernel();
    if kernel.is_some_and(|bytes| bytes > 0) {
        let why = "Linux 5.4 and later have no limit of kernel memory alone; memory.limit covers it";
        return Err(Error::Unsupported { resource: "memory.kernel".into(), why });
    }
    if memory.use_hierarchy() == Some(false) {
        let why = "Linux 5.11 and later always count inner groups with their parent";
        return Err(Error::Unsupported { resource: "memory.useHierarchy".into(), why });
    }
    let limit = limited(memory.limit());
    if let Some(bytes) = limit.filter(|&bytes| bytes < LEAST_MEMORY) {
        let why = format!("no program can start in less than {LEAST_MEMORY} bytes (512 KiB)");
        return Err(Error::Value { resource: "memory.limit".into(), value: bytes.to_string(), why });
    }
    if let Some(swap) = limited(memory.swap()) {
        let why = match limit {
            // The limit that is there is beside it.
            None if purpose.is_update() && set(memory.limit()).is_none() => return Ok(()),
            None => "it is the total of memory and swap, so it needs a memory limit beside it".to_owned(),
            Some(limit) if swap < limit => {
                format!("it is the total of memory and swap, so it cannot be less than the memory limit of {limit}")
            }
            Some(_) => return Ok(()),
        };
        return Err(Error::Value { resource: "memory.swap".into(), value: swap.to_string(), why });
    }
    Ok(())
}

fn check_cpu(cpu: &LinuxCpu) -> Result<(), Error> {
    // The kernel would quietly clamp it.
    if let Some(shares) = set(cpu.shares()).filter(|shares| !(2..=262_144).contains(shares)) {
        let why = "the kernel takes 2 to 262144".to_owned();
        return Err(Error::Value { resource: "cpu.shares".into(), value: shares.to_string(), why });
    }
    Ok(())
}

fn check_block_io(io: &LinuxBlockIo) -> Result<(), Error> {
    let why = "the CFQ scheduler that knew it left Linux in 5.0";
    if io.leaf_weight().is_some_and(|weight| weight != 0) {
        return Err(Error::Unsupported { resource: "blockIO.leafWeight".into(), why });
    }
    for device in io.weight_device().iter().flatten() {
        if device.leaf_weight().is_some_and(|weight| weight != 0) {
            return Err(Error::Unsupported { resource: "blockIO.weightDevice.leafWeight".into(), why });
        }
        check_weight("blockIO.weightDevice", device.weight())?;
    }
    check_weight("blockIO.weight", io.weight())
}

fn check_weight(resource: &str, weight: Option<u16>) -> Result<(), Error> {
    if let Some(weight) = set(weight).filter(|weight| !(10..=1000).contains(weight)) {
        let why = "it must be 10 to 1000".to_owned();
        return Err(Error::Value { resource: resource.into(), value: weight.to_string(), why });
    }
    Ok(())
}

fn check_network(network: &LinuxNetwork) -> Result<(), Error> {
    network.priorities().iter().flatten().try_for_each(|entry| check_word("network.priorities", entry.name()))
}

/// The size is a part of a file's name.
fn check_page_size(size: &str) -> Result<(), Error> {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    if number.is_some_and(|n| !n.is_empty() && !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit())) {
        return Ok(());
    }
    let why = "a size of pages looks like 64KB, 2MB or 1GB".to_owned();
    Err(Error::Value { resource: "hugepageLimits".into(), value: size.into(), why })
}

/// A name that stands in a line of its own among other words.
fn check_word(resource: &str, word: &str) -> Result<(), Error> {
    if !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(Error::Value { resource: resource.into(), value: word.into(), why: "it is no device's name".into() })
}

/// RDMA limits of both versions: one line a device, sorted, since the map has no order.
pub(crate) fn rdma(limits: &std::collections::HashMap<String, LinuxRdma>) -> Vec<Write> {
    let mut writes: Vec<Write> = limits
        .iter()
        .filter_map(|(device, limit)| {
            let handles = limit.hca_handles().map(|n| format!(" hca_handle={n}"));
            let objects = limit.hca_objects().map(|n| format!(" hca_object={n}"));
            let told: String = [handles, objects].into_iter().flatten().collect();
            (!told.is_empty()).then(|| Write::new(&format!("rdma[{device:?}]"), "rdma.max", format!("{device}{told}")))
        })
        .collect();
    writes.sort_by(|a, b| a.value.cmp(&b.value));
    writes
}

/// The numbers of a kernel list such as `0-2,4`.
pub(crate) fn numbers(list: &str) -> Option<Vec<u16>> {
    let mut all: Vec<u16> = ranges(list)?.into_iter().flat_map(|(from, to)| from..=to).collect();
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// A value that was set: not missing and not zero.
pub(crate) fn set<N: Default + PartialEq>(value: Option<N>) -> Option<N> {
    value.filter(|number| *number != N::default())
}

/// A limit that limits: not missing, not zero, not negative ("unlimited").
pub(crate) fn limited(value: Option<i64>) -> Option<u64> {
    value.and_then(|number| u64::try_from(number).ok()).filter(|&number| number != 0)
}

/// The throttled devices of `blockIO`: field, v1 file, v2 key, list.
pub(crate) fn throttles(
    io: &LinuxBlockIo,
) -> impl Iterator<Item = (&'static str, &'static str, &'static str, &LinuxThrottleDevice)> {
    [
        ("blockIO.throttleReadBpsDevice", "read_bps", "rbps", io.throttle_read_bps_device()),
        ("blockIO.throttleWriteBpsDevice", "write_bps", "wbps", io.throttle_write_bps_device()),
        ("blockIO.throttleReadIOPSDevice", "read_iops", "riops", io.throttle_read_iops_device()),
        ("blockIO.throttleWriteIOPSDevice", "write_iops", "wiops", io.throttle_write_iops_device()),
    ]
    .into_iter()
    .flat_map(|(field, v1, v2, list)| list.iter().flatten().map(move |device| (field, v1, v2, device)))
}

/// Refuses CPUs or memory nodes that the host does not have: v2 would take the list and run the container elsewhere.
/// `offered` is the root group's list of what there is.
pub(crate) fn check_list(resource: &str, wanted: &str, offered: &str) -> Result<(), Error> {
    let invalid = |why: String| Error::Value { resource: resource.into(), value: wanted.into(), why };
    let wanted_numbers = ranges(wanted).ok_or_else(|| invalid("a list looks like 0-2,4".into()))?;
    // An offer that is not understood is the kernel's to judge.
    let Some(there) = ranges(offered) else { return Ok(()) };
    if wanted_numbers.iter().all(|&(from, to)| (from..=to).all(|n| there.iter().any(|&(a, b)| a <= n && n <= b))) {
        return Ok(());
    }
    Err(invalid(format!("this host offers {}", offered.trim())))
}

/// A kernel list such as `0-2,4` as inclusive ranges (cpuset(7), "List format"). None when it is malformed or empty.
fn ranges(list: &str) -> Option<Vec<(u16, u16)>> {
    list.trim()
        .split(',')
        .map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
            (from <= to).then_some((from, to))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_not_acted_on_is_refused_by_name() {
        let cases = [
            (r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#, "hugepageLimits to ../2MB"),
            (r#"{"hugepageLimits":[{"pageSize":"2MiB","limit":1}]}"#, "hugepageLimits to 2MiB"),
            (r#"{"network":{"priorities":[{"name":"eth0 1\nlo","priority":1}]}}"#, "network.priorities"),
            (r#"{"rdma":{"mlx5 x":{"hcaHandles":3}}}"#, "rdma"),
            (r#"{"memory":{"kernel":4096}}"#, "memory.kernel"),
            (r#"{"memory":{"useHierarchy":false}}"#, "memory.useHierarchy"),
            (r#"{"memory":{"limit":1024}}"#, "memory.limit to 1024"),
            (r#"{"memory":{"swap":1048576}}"#, "memory.swap to 1048576"),
            (r#"{"memory":{"limit":2097152,"swap":1048576}}"#, "memory limit of 2097152"),
            (r#"{"cpu":{"shares":1}}"#, "cpu.shares to 1"),
            (r#"{"cpu":{"shares":262145}}"#, "cpu.shares to 262145"),
            (r#"{"blockIO":{"leafWeight":100}}"#, "blockIO.leafWeight"),
            (r#"{"blockIO":{"weight":5}}"#, "blockIO.weight"),
            (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":9}]}}"#, "blockIO.weightDevice to 9"),
            (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":10}]}}"#, "weightDevice.leafWeight"),
        ];
        for (json, named) in cases {
            let refused = check(&resources(json), Purpose::Create).unwrap_err().to_string();
            assert!(refused.contains(named), "{json}: {refused}");
        }
    }

    #[test]
    fn zeros_and_unlimited_ask_for_nothing() {
        // What dockerd writes when the person asked for no limit.
        let json = r#"{"memory":{"limit":0,"swap":-1,"kernel":-1},"cpu":{"shares":0,"realtimeRuntime":0},
                       "pids":{"limit":0},"blockIO":{"weight":0,"weightDevice":[]},"hugepageLimits":[],"network":{}}"#;
        let resources = resources(json);
        check(&resources, Purpose::Create).unwrap();
        assert_eq!(crate::v1_files::writes(&resources, Purpose::Create).unwrap(), []);
        assert_eq!(crate::v2_files::writes(&resources, Purpose::Create).unwrap(), []);
    }

    #[test]
    fn lists_of_cpus_are_held_against_what_there_is() {
        for good in ["0", "0-1", "1,0", "0-1,3"] {
            check_list("cpu.cpus", good, "0-1,3\n").unwrap();
        }
        for bad in ["2", "0-3", "", "1-0", "-1", "x", "0,,1", "0-99999"] {
            let refused = check_list("cpu.cpus", bad, "0-1,3\n").unwrap_err().to_string();
            assert!(refused.starts_with(&format!("cannot set cpu.cpus to {bad}: ")), "{refused}");
        }
    }
}
