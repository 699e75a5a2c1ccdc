//! Flags of `run` that are typed less often than others: the limits that `update` does not know, and what is said of names,
//! of the file mode mask and of the time of day.

use super::Request;
use crate::verb::{Flag, Group, value};
use engine::{ParseError, RateOf, RunOptions};

const DNS_SEARCH: Flag<Request> =
    value("dns-search", None, "DOMAIN", "Look names up in this domain, too; a dot for none", |r, v| {
        r.options.dns_search.push(RunOptions::word(v)?);
        Ok(())
    });

/// More flags of the network.
pub(super) const NETWORK: Group<Request> = Group {
    heading: "Names",
    flags: &[
        DNS_SEARCH,
        value("dns-option", None, "OPTION", "Set an option of the resolver, as ndots:2", |r, v| {
            r.options.dns_options.push(RunOptions::word(v)?);
            Ok(())
        }),
        value("domainname", None, "NAME", "Name of the NIS domain", |r, v| {
            r.options.domainname = Some(super::host_name(v)?);
            Ok(())
        }),
        crate::verb::switch("no-hosts", None, "Leave the root's own /etc/hosts", |r| &mut r.options.no_hosts),
        value("link", None, "CONTAINER", "Not supported: use a network or a pod in common", |_, v| {
            Err(ParseError::new(
                v,
                "links are not supported: give both containers one --network, or put them into one --pod",
            ))
        }),
    ],
};

/// What else a container is made with.
pub(super) const MORE: Group<Request> = Group {
    heading: "More",
    flags: &[
        value("annotation", None, "NAME=VALUE", "Write an annotation into its configuration", |r, v| {
            r.options.annotations.push(RunOptions::pair(v));
            Ok(())
        }),
        value("umask", None, "MODE", "Mask of file modes, in octal (default: 0022)", |r, v| r.options.set_umask(v)),
        value("tz", None, "ZONE", "Time of day there, as Europe/Rome; local for the host's", |r, v| {
            r.options.set_tz(v)
        }),
        value("timeout", None, "SECONDS", "Kill it when it has run so long", |r, v| {
            let time: u32 = v.parse().map_err(|_| ParseError::new(v, "it is no number of seconds"))?;
            r.options.timeout = Some(time).filter(|time| *time > 0);
            Ok(())
        }),
        value("device-cgroup-rule", None, "RULE", "Let it use devices, as 'c 189:* rwm'", |r, v| {
            r.options.add_device_rule(v)
        }),
    ],
};

/// More limits.
pub(super) const LIMITS: Group<Request> = Group {
    heading: "More limits",
    flags: &[
        value("cgroup-parent", None, "GROUP", "Make its control group in this one: a path, or a slice", |r, v| {
            r.options.set_cgroup_parent(v)
        }),
        value("cpu-quota", None, "MICROSECONDS", "Time of processors in a period", |r, v| {
            r.options.more_limits.set_cpu_quota(v)
        }),
        value("cpu-period", None, "MICROSECONDS", "That period (default: 100000)", |r, v| {
            r.options.more_limits.set_cpu_period(v)
        }),
        value("cpuset-mems", None, "LIST", "Use memory of these nodes only, as 0,1", |r, v| {
            r.options.more_limits.set_cpuset_mems(v)
        }),
        value("memory-reservation", None, "SIZE", "Memory that it keeps when the host runs short", |r, v| {
            r.options.more_limits.set_memory_reservation(v)
        }),
        value("memory-swappiness", None, "PERCENT", "How readily its memory is swapped: 0 to 100", |r, v| {
            r.options.more_limits.set_swappiness(v)
        }),
        value("blkio-weight", None, "NUMBER", "Weight against others at disks: 10 to 1000", |r, v| {
            r.options.more_limits.set_blkio_weight(v)
        }),
        value("device-read-bps", None, "DEVICE:RATE", "Read so many bytes a second at most", |r, v| {
            r.options.more_limits.add_rate(RateOf::ReadBytes, v)
        }),
        value("device-write-bps", None, "DEVICE:RATE", "Write so many bytes a second at most", |r, v| {
            r.options.more_limits.add_rate(RateOf::WriteBytes, v)
        }),
        value("device-read-iops", None, "DEVICE:RATE", "Read so many times a second at most", |r, v| {
            r.options.more_limits.add_rate(RateOf::ReadOperations, v)
        }),
        value("device-write-iops", None, "DEVICE:RATE", "Write so many times a second at most", |r, v| {
            r.options.more_limits.add_rate(RateOf::WriteOperations, v)
        }),
    ],
};
