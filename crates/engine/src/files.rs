//! /etc/hosts, /etc/hostname and /etc/resolv.conf of a container.

use crate::error::Error;
use crate::options::{NetworkMode, RunOptions};
use crate::rootless;
use network::{HostResolver, Lease};
use runtime::File;
use std::fmt::Write;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Who is where.
pub(crate) const HOSTS: &str = "/etc/hosts";
/// Whom to ask.
pub(crate) const RESOLVER: &str = "/etc/resolv.conf";

const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n\
                           ::1\tlocalhost ip6-localhost ip6-loopback\n\
                           fe00::\tip6-localnet\n\
                           ff00::\tip6-mcastprefix\n\
                           ff02::1\tip6-allnodes\n\
                           ff02::2\tip6-allrouters\n";

/// The three files, without those that a volume takes the place of.
pub(crate) fn files(
    options: &RunOptions,
    hostname: &str,
    leases: &[Lease],
    host: &HostResolver,
) -> Result<Vec<File>, Error> {
    // Those of an infra container are the files of all in its pod, each of which seals them for itself where it has to.
    let stays_writable = options.pod.as_ref().is_some_and(|place| place.is_infra);
    let file = |path: &str, content: String| File { path: path.into(), content: content.into_bytes(), stays_writable };
    let mut files = vec![
        file(RESOLVER, resolver(options, leases, host)),
        file("/etc/hostname", format!("{hostname}\n")),
        file(HOSTS, hosts(options, hostname, leases)),
    ];
    files.extend(options.tz.as_deref().map(time_zone).transpose()?);
    files.retain(|file| is_ours(options, &file.path));
    Ok(files)
}

/// Whether such a file of a container is one that we write: who mounts one of their own there means it.
pub(crate) fn is_ours(options: &RunOptions, path: &Path) -> bool {
    let is_unwanted = options.no_hosts && path == Path::new(HOSTS);
    !is_unwanted && !options.volumes.iter().any(|volume| volume.target == path)
}

/// What the person says of domains and options stands in place of what the host has.
fn with_words_of(options: &RunOptions, resolv: &str) -> String {
    let is_said = |line: &str| match line.split_whitespace().next() {
        Some("search" | "domain") => !options.dns_search.is_empty(),
        Some("options") => !options.dns_options.is_empty(),
        _ => false,
    };
    let mut text: String = resolv.lines().filter(|line| !is_said(line)).map(|line| format!("{line}\n")).collect();
    let domains: Vec<&str> = options.dns_search.iter().map(String::as_str).filter(|domain| *domain != ".").collect();
    if !domains.is_empty() {
        let _ = writeln!(text, "search {}", domains.join(" "));
    }
    if !options.dns_options.is_empty() {
        let _ = writeln!(text, "options {}", options.dns_options.join(" "));
    }
    text
}

/// A zone's rules are a few thousand bytes.
const LARGEST_ZONE: u64 = 64 << 10;

/// /etc/localtime by what the host has of a zone.
fn time_zone(zone: &str) -> Result<File, Error> {
    let path = match zone {
        "local" => PathBuf::from("/etc/localtime"),
        zone => Path::new("/usr/share/zoneinfo").join(zone),
    };
    let failed = |source| Error::File { what: "read the time zone", path: path.clone(), source };
    let mut content = Vec::new();
    std::fs::File::open(&path).and_then(|file| file.take(LARGEST_ZONE).read_to_end(&mut content)).map_err(failed)?;
    Ok(File { path: "/etc/localtime".into(), content, stays_writable: false })
}

/// Who is asked for names: the networks that tell them, which ask others in their turn; else whom the host asks.
pub(crate) fn resolver(options: &RunOptions, leases: &[Lease], host: &HostResolver) -> String {
    let telling: Vec<IpAddr> =
        leases.iter().filter(|lease| lease.has_names).map(|lease| IpAddr::V4(lease.gateway)).collect();
    let behind_bridge = leases.iter().find(|lease| lease.is_behind_bridge());
    let text = match (telling.is_empty(), behind_bridge) {
        (false, _) => host.for_names(&telling),
        (true, Some(lease)) => host.for_bridge(lease.gateway, &options.dns),
        (true, None) if leases.is_empty() => host.for_host(&options.dns),
        (true, None) => on_link(options, host).unwrap_or_else(|| host.for_nobody()),
    };
    with_words_of(options, &text)
}

/// Whom systemd-resolved asks, where the host asks that.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Whom a container asks that is on links beside the host's only.
fn on_link(options: &RunOptions, host: &HostResolver) -> Option<String> {
    let behind = || HostResolver::parse(&std::fs::read(BEHIND_RESOLVED).unwrap_or_default());
    host.for_link(&options.dns).or_else(|| behind().for_link(&[]))
}

/// That a container can ask nobody for names, for the person to read.
pub(crate) fn is_without_resolver(options: &RunOptions, leases: &[Lease], host: &HostResolver) -> bool {
    let is_on_links = !leases.is_empty() && !leases.iter().any(|lease| lease.has_names || lease.is_behind_bridge());
    is_on_links && on_link(options, host).is_none()
}

pub(crate) fn hosts(options: &RunOptions, hostname: &str, leases: &[Lease]) -> String {
    let mut text = match options.network {
        NetworkMode::Host => std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| LOCAL_HOSTS.into()),
        _ => LOCAL_HOSTS.to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, address) in &options.add_hosts {
        let gateway = || leases.first().map(|lease| IpAddr::V4(lease.gateway));
        // Without a bridge the host is reached at its loopback address, or not at all.
        let address = address.or_else(gateway).unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        let _ = writeln!(text, "{address}\t{name}");
    }
    let names = own_names(options, hostname);
    addresses(leases).for_each(|address| {
        let _ = writeln!(text, "{address}\t{names}");
    });
    text
}

/// The text of a container's /etc/hosts when it is on other networks than before; what else was written into it stays.
pub(crate) fn hosts_with(
    text: &str,
    hostname: &str,
    options: &RunOptions,
    before: &[Lease],
    after: &[Lease],
) -> String {
    let names = own_names(options, hostname);
    // What a killed command has left of an address that nobody knows any more is told by the names that we give.
    let is_asked_for = options.add_hosts.iter().any(|(name, _)| *name == names);
    let is_own = |line: &&str| {
        let first = line.split_ascii_whitespace().next().and_then(|word| word.parse::<IpAddr>().ok());
        first.is_some_and(|first| addresses(before).chain(addresses(after)).any(|address| address == first))
            || (!is_asked_for && line.split_once('\t').is_some_and(|(_, rest)| rest == names))
    };
    let kept = text.lines().filter(|line| !is_own(line)).map(str::to_owned);
    let own = addresses(after).map(|address| format!("{address}\t{names}"));
    kept.chain(own).fold(String::new(), |text, line| text + &line + "\n")
}

fn addresses(leases: &[Lease]) -> impl Iterator<Item = IpAddr> {
    leases.iter().flat_map(|lease| {
        [IpAddr::V4(lease.address)].into_iter().chain(lease.six.map(|(address, _)| IpAddr::V6(address)))
    })
}

fn own_names(options: &RunOptions, hostname: &str) -> String {
    let name = options.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{hostname}{name}")
}

/// As [`host_resolver`], for a container that begins: one that has the host's network asks as the host does.
pub(crate) fn resolver_for(options: &RunOptions) -> HostResolver {
    match options.network {
        NetworkMode::Host => HostResolver::parse(&on_host()),
        _ => host_resolver(),
    }
}

/// The host's resolver configuration; an unreadable one counts as empty, which means 127.0.0.1.
pub(crate) fn host_resolver() -> HostResolver {
    let text = on_host();
    HostResolver::parse(&if rootless::is_rootless() { rootless::uplink::resolver(&text) } else { text })
}

fn on_host() -> Vec<u8> {
    std::fs::read("/etc/resolv.conf").unwrap_or_default()
}
