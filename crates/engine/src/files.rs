//! /etc/hosts, /etc/hostname and /etc/resolv.conf of a container.

use crate::options::{NetworkMode, RunOptions};
use network::{HostResolver, Lease};
use runtime::File;
use std::fmt::Write;
use std::net::IpAddr;

const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n\
                           ::1\tlocalhost ip6-localhost ip6-loopback\n\
                           fe00::\tip6-localnet\n\
                           ff00::\tip6-mcastprefix\n\
                           ff02::1\tip6-allnodes\n\
                           ff02::2\tip6-allrouters\n";

/// The three files, without those that a volume takes the place of.
pub(crate) fn files(options: &RunOptions, hostname: &str, lease: Option<&Lease>, host: &HostResolver) -> Vec<File> {
    let resolv = match lease {
        Some(lease) => host.for_bridge(lease.gateway, &options.dns),
        None => host.for_host(&options.dns),
    };
    let file = |path: &str, content: String| File { path: path.into(), content: content.into_bytes() };
    let mut files = vec![
        file("/etc/resolv.conf", resolv),
        file("/etc/hostname", format!("{hostname}\n")),
        file("/etc/hosts", hosts(options, hostname, lease)),
    ];
    // Who mounts one of their own there means it.
    files.retain(|file| !options.volumes.iter().any(|volume| volume.target == file.path));
    files
}

fn hosts(options: &RunOptions, hostname: &str, lease: Option<&Lease>) -> String {
    let mut text = match options.network {
        NetworkMode::Host => std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| LOCAL_HOSTS.into()),
        _ => LOCAL_HOSTS.to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, address) in &options.add_hosts {
        let gateway = || lease.map(|lease| IpAddr::V4(lease.gateway));
        // Without a bridge the host is reached at its loopback address, or not at all.
        let address = address.or_else(gateway).unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        let _ = writeln!(text, "{address}\t{name}");
    }
    if let Some(lease) = lease {
        let names = options.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        let _ = writeln!(text, "{}\t{hostname}{names}", lease.address);
    }
    text
}

/// The host's resolver configuration; an unreadable one counts as empty, which means 127.0.0.1.
pub(crate) fn host_resolver() -> HostResolver {
    HostResolver::parse(&std::fs::read("/etc/resolv.conf").unwrap_or_default())
}
