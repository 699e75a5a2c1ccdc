//! `pod create`.

use crate::images::say;
use crate::report::{self, Failure};
use crate::run::flags::boolean;
use crate::run::{host_name, typed};
use crate::verb::{About, Group, Verb, also, switch, value};
use engine::pods::{self, PodOrder, Share};
use engine::{AskedRange, Endpoint, ParseError, RunOptions, UserMode};
use std::process::ExitCode;

/// `mycontainer pod create`.
pub(crate) static CREATE: Verb<PodOrder> = Verb {
    about: About {
        intro: "Makes a pod, and prints its id: containers that share their network, their ipc and their host name, and live\n\
                and go together. `run --pod NAME` puts a container into it. What they share is held by a container without\n\
                a program, the infra container, whose network and ports are the pod's.",
        example: "pod create web",
        ..About::new("pod create", "[NAME]", "Make a pod")
    },
    groups: &[
        Group {
            heading: "Pod",
            flags: &[
                value("name", Some('n'), "NAME", "Name the pod; no two have the same", |r: &mut PodOrder, v| {
                    r.name = Some(RunOptions::container_name(v)?);
                    Ok(())
                }),
                value("label", Some('l'), "NAME=VALUE", "Give it a label", |r, v| {
                    r.labels.push(RunOptions::pair(v));
                    Ok(())
                }),
                value(
                    "share",
                    None,
                    "LIST",
                    "Share these of cgroup, ipc, net, pid and uts (default: ipc,net,uts); none",
                    |r, v| {
                        r.share = Some(Share::list(v)?);
                        Ok(())
                    },
                ),
                value("infra", None, "[BOOL]", "Hold what is shared in an infra container (default: true)", |r, v| {
                    r.no_infra = !boolean(v)?;
                    Ok(())
                }),
                value("infra-name", None, "NAME", "Name the infra container (default: ID-infra)", |r, v| {
                    r.infra_name = Some(RunOptions::container_name(v)?);
                    Ok(())
                }),
                value("pod-id-file", None, "FILE", "Write the id to this file, which must not be there yet", |r, v| {
                    r.id_file = Some(v.into());
                    Ok(())
                }),
                switch("replace", None, "Remove the pod that has the name, if there is one", |r| &mut r.replace),
            ],
        },
        Group {
            heading: "Network",
            flags: &[
                also(
                    &["net"],
                    value(
                        "network",
                        None,
                        "NETWORK",
                        "bridge (default), none, host, container:NAME, ns:PATH, or a name",
                        |r, v| r.infra.add_network(v),
                    ),
                ),
                value(
                    "publish",
                    Some('p'),
                    "PORTS",
                    "Publish its ports on the host, as [[IP:][HOSTPORT]:]PORT[/udp]",
                    |r, v| r.infra.add_publish(v),
                ),
                value("hostname", None, "NAME", "Host name (default: the name of the pod)", |r, v| {
                    r.infra.hostname = Some(host_name(v)?);
                    Ok(())
                }),
                value("userns", None, "MODE", "Of all its containers: as of run", |r, v| {
                    r.infra.userns = UserMode::parse(v)?;
                    Ok(())
                }),
                value("uidmap", None, "C:FROM[:N]", "N users from C on are those from FROM on outside", |r, v| {
                    r.infra.uid_map.push(AskedRange::parse(v)?);
                    Ok(())
                }),
                value("gidmap", None, "C:FROM[:N]", "The same of groups", |r, v| {
                    r.infra.gid_map.push(AskedRange::parse(v)?);
                    Ok(())
                }),
                value("add-host", None, "NAME:IP", "Add a line to /etc/hosts; host-gateway is this host", |r, v| {
                    r.infra.add_host(v)
                }),
                value("dns", None, "IP", "Ask this name server in place of the host's", |r, v| {
                    r.infra.dns.push(RunOptions::ip(v)?);
                    Ok(())
                }),
            ],
        },
    ],
    act: create,
};

fn create(mut order: PodOrder, words: Vec<String>) -> Result<ExitCode, Failure> {
    let wrong = |error: ParseError| Failure::misuse(error.to_string(), "see `mycontainer help pod create`");
    order.infra.settle_network(&Endpoint::default()).map_err(wrong)?;
    if let Some(word) = words.first() {
        if order.name.is_some() {
            return Err(Failure::misuse("the pod has two names", "leave --name or NAME away"));
        }
        order.name = Some(RunOptions::container_name(word).map_err(wrong)?);
    }
    order.infra.warnings().iter().for_each(|warning| report::note(warning));
    order.made_by = typed();
    step::arm_faults();
    say(&pods::create(&order).map_err(Failure::of_run)?);
    Ok(ExitCode::SUCCESS)
}
