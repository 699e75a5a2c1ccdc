//! `network inspect` and `network exists`.

use crate::help::show;
use crate::report::{self, Failure};
use crate::template::{Backslashes, Data, Template};
use crate::verb::{About, Group, Verb, value};
use engine::networks::{self, Listed, Member};

use std::collections::BTreeMap;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    format: Option<String>,
}

/// `mycontainer network inspect`.
pub(crate) static INSPECT: Verb<Request> = Verb {
    about: About {
        outro: "What is not there is told on standard error, and the exit code is 1.",
        example: "network inspect bridge",
        ..About::new("network inspect", "NETWORK [NETWORK...]", "Show all that is known of a network, as JSON")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[value("format", Some('f'), "FORMAT", "`json`, or a template as '{{.Driver}}'", |r, v| {
            r.format = Some(v.to_owned());
            Ok(())
        })],
    }],
    act: inspect,
};

/// `mycontainer network exists`.
pub(crate) static EXISTS: Verb<()> = Verb {
    about: About {
        outro: "Exit code: 0 when it is there, 1 when it is not.",
        example: "network exists net",
        ..About::new("network exists", "NETWORK", "Tell whether there is such a network")
    },
    groups: &[],
    act: |(), words| match networks::get(words.first().map_or("", String::as_str)) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(engine::Error::NoSuchNetwork { .. }) => Ok(ExitCode::from(1)),
        Err(error) => Err(Failure::from(error).code(125)),
    },
};

fn inspect(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let template = match request.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}", Backslashes::Kept)?),
        Some(format) => Some(Template::parse(format, Backslashes::Kept)?),
    };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for word in &words {
        match networks::get(word) {
            Ok(network) => {
                let members = networks::members(&network.config);
                found.push(all(&network, members));
            }
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    let text = match template {
        None => Data::List(found).pretty_json() + "\n",
        Some(template) => {
            let lines: Result<String, Failure> =
                found.iter().map(|network| template.render(network).map(|line| line + "\n")).collect();
            lines?
        }
    };
    let code = show(&text);
    Ok(failures.iter().fold(code, |_, failure| report::failure(failure)))
}

/// In Docker's order.
fn all(network: &Listed, members: Vec<Member>) -> Data {
    let config = &network.config;
    let ipam = Data::row()
        .with("Driver", "default")
        .with("Options", Data::Null)
        .with("Config", Data::List(if network.has_addresses() { pools(network) } else { Vec::new() }));
    Data::row()
        .with("Name", config.name.as_str())
        .with("Id", config.id.as_str())
        .with("Created", config.created.as_str())
        .with("Scope", "local")
        .with("Driver", network.driver)
        .with("EnableIPv4", network.has_addresses())
        .with("EnableIPv6", config.ipv6.is_some())
        .with("IPAM", ipam)
        .with("Internal", config.internal)
        .with("Attachable", config.attachable)
        .with("Ingress", false)
        .with("ConfigFrom", Data::row().with("Network", ""))
        .with("ConfigOnly", false)
        .with("Containers", Data::Map(members.into_iter().map(of_member).collect()))
        .with("Options", Data::of(&config.options))
        .with("Labels", Data::of(&config.labels))
}

fn pools(network: &Listed) -> Vec<Data> {
    let pool = |subnet: String, range: String, gateway: String| {
        let aux = network.config.aux.iter().filter(|(_, address)| address.is_ipv4() != subnet.contains(':'));
        let aux: BTreeMap<String, Data> =
            aux.map(|(name, address)| (name.clone(), address.to_string().into())).collect();
        let row = Data::row().with("Subnet", subnet).with("IPRange", range).with("Gateway", gateway);
        // As Docker: where there is none, it is not told.
        if aux.is_empty() { row } else { row.with("AuxiliaryAddresses", Data::Map(aux)) }
    };
    let v4 = &network.config.ipv4;
    let range = v4.range.map(|(first, prefix)| format!("{first}/{prefix}")).unwrap_or_default();
    let v4 = pool(format!("{}/{}", v4.subnet, v4.prefix), range, v4.gateway.to_string());
    let v6 = network.config.ipv6.as_ref();
    let v6 = v6.map(|v6| pool(format!("{}/{}", v6.subnet, v6.prefix), String::new(), v6.gateway.to_string()));
    std::iter::once(v4).chain(v6).collect()
}

/// Nobody numbers the ends of networks here.
fn of_member(member: Member) -> (String, Data) {
    let data = Data::row()
        .with("Name", member.name)
        .with("EndpointID", "")
        .with("MacAddress", member.mac)
        .with("IPv4Address", member.ipv4)
        .with("IPv6Address", member.ipv6);
    (member.id, data)
}
