//! `network doctor`.

use crate::help::show;
use crate::report::Failure;
use crate::table::{aligned, harmless};
use crate::template::Data;
use crate::verb::{About, Group, Verb, value};
use engine::ParseError;
use engine::networks::{self, Finding, State};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    is_json: bool,
}

/// `mycontainer network doctor`.
pub(crate) static DOCTOR: Verb<Request> = Verb {
    about: About {
        intro: "Looks for what breaks the containers' network on this host, or may: what the kernel lacks, settings, rules of\n\
                others, routes, name servers. It changes nothing, and says what to do about what it finds.",
        outro: "Exit code: 1 when something is broken, else 0.",
        ..About::new("network doctor", "", "Tell what on this host breaks containers' networks")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[value("format", None, "FORMAT", "`table` (default), or `json`", |r, v| {
            r.is_json = match v {
                "table" | "" => false,
                "json" => true,
                _ => return Err(ParseError::new(v, "the formats are table and json")),
            };
            Ok(())
        })],
    }],
    act: doctor,
};

fn doctor(request: Request, _: Vec<String>) -> Result<ExitCode, Failure> {
    let findings = networks::doctor()?;
    let text = if request.is_json { json(&findings) } else { table(&findings) };
    let shown = show(&text);
    let is_broken = findings.iter().any(|finding| finding.state == State::Broken);
    Ok(if is_broken { ExitCode::from(1) } else { shown })
}

fn json(findings: &[Finding]) -> String {
    let row = |finding: &Finding| {
        Data::row()
            .with("Name", finding.name)
            .with("State", finding.state.name())
            .with("Seen", finding.seen.as_str())
            .with("Remedy", finding.remedy.as_str())
    };
    Data::List(findings.iter().map(row).collect()).pretty_json() + "\n"
}

/// A line a thing, and one more where there is something to be done.
fn table(findings: &[Finding]) -> String {
    let mut lines = String::new();
    for Finding { name, state, seen, remedy } in findings {
        lines += &harmless(&format!("{}\t{name}\t{seen}\n", state.name()));
        if !remedy.is_empty() {
            lines += &harmless(&format!("\t\t-> {remedy}\n"));
        }
    }
    aligned(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_stands_below_what_was_seen() {
        let finding =
            |name, state, seen: &str, remedy: &str| Finding { name, state, seen: seen.into(), remedy: remedy.into() };
        let findings = [
            finding("kernel", State::Ok, "it is there", ""),
            finding("mtu", State::Broken, "too small\x1b[m", "make it larger"),
        ];
        let text = "ok        kernel    it is there\n\
                    broken    mtu       too small\\u{1b}[m\n          \
                              \x20         -> make it larger\n";
        assert_eq!(table(&findings), text);
        assert!(json(&findings).contains("\"State\": \"broken\""));
    }
}
