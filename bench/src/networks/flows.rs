//! What passes through a network: bytes of one TCP stream (iperf3), and questions for names (dnsperf). All tools take
//! turns in a shuffled order.

use super::Hosts;
use super::host::{ADDRESS, Host, PORT};
use super::interrupt::Interrupt;
use crate::timer::Dice;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;

/// How long each stream flows, and each round of questions lasts, in seconds.
pub(crate) const SECONDS: &str = "2";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// A stream from container to container, or between the bare namespaces.
    Between,
    /// A stream from the host to a published port, at 127.0.0.1.
    FromHost,
    /// A stream from a machine outside to a published port.
    FromOutside,
    /// Answers a second, when 100 questions are under way.
    Questions,
    /// How long an answer takes when there is one question at a time.
    Latency,
}

/// What one flow of one tool came to.
pub(crate) struct Figures {
    /// On which host, by its number.
    pub(super) host: usize,
    /// Whose.
    pub(crate) tool: &'static str,
    /// What.
    pub(crate) flow: Flow,
    /// bit/s, questions a second, or seconds.
    pub(crate) values: Vec<f64>,
    /// How often there was no figure.
    pub(crate) failed: usize,
}

impl Figures {
    /// None yet.
    pub(crate) fn none(flow: Flow) -> Figures {
        Figures { host: 0, tool: "", flow, values: Vec::new(), failed: 0 }
    }
}

/// Every flow there is on these hosts.
pub(crate) fn all(hosts: &Hosts) -> Vec<Figures> {
    let figures = |host: usize, flow| Figures { host, tool: hosts.0[host].name, ..Figures::none(flow) };
    let of_a_tool = [Flow::Between, Flow::FromHost, Flow::FromOutside, Flow::Questions, Flow::Latency];
    let tools = hosts.of_tools().into_iter().flat_map(|host| of_a_tool.map(|flow| figures(host, flow)));
    std::iter::once(figures(Hosts::BARE, Flow::Between)).chain(tools).collect()
}

/// Measures all, `rounds` times. `questions` is a file for dnsperf.
pub(crate) fn measure(
    all: &mut [Figures],
    hosts: &mut Hosts,
    rounds: usize,
    questions: &Path,
    interrupt: &Interrupt,
) -> Result<()> {
    std::fs::write(questions, "web A\n").context("cannot write the questions")?;
    let mut dice = Dice::new();
    let mut order: Vec<usize> = (0..all.len()).collect();
    for _ in 0..rounds {
        dice.shuffle(&mut order);
        for &index in &order {
            interrupt.check()?;
            let figures = &mut all[index];
            match once(figures, hosts, questions) {
                Ok(value) => figures.values.push(value),
                Err(error) => {
                    eprintln!("{}, {:?}: {error:#}", figures.tool, figures.flow);
                    figures.failed += 1;
                }
            }
        }
    }
    Ok(())
}

fn once(figures: &Figures, hosts: &mut Hosts, questions: &Path) -> Result<f64> {
    let host = &mut hosts.0[figures.host];
    let stream = |address| ["iperf3", "-c", address, "-p", PORT, "-t", SECONDS, "-J"];
    let questions = questions.to_string_lossy();
    match figures.flow {
        Flow::Between if figures.host == Hosts::BARE => {
            rate(&host.said(&[&["ip", "netns", "exec", "client"], &stream(ADDRESS)[..]].concat())?)
        }
        Flow::Between => rate(&host.ask(&[&["exec", "client"], &stream("web")[..]].concat())?),
        Flow::FromHost => rate(&host.said(&stream("127.0.0.1"))?),
        Flow::FromOutside => rate(&host.said(&[&["ip", "netns", "exec", "outside"], &stream(ADDRESS)[..]].concat())?),
        Flow::Questions => ask(host, &["-c", "4", "-q", "100"], &questions, "Queries per second:"),
        Flow::Latency => ask(host, &["-c", "1", "-q", "1"], &questions, "Average Latency (s):"),
    }
}

/// What dnsperf says beside `label`, in the network of the container `client`, of the server that is told there.
fn ask(host: &mut Host, flags: &[&str], questions: &str, label: &str) -> Result<f64> {
    let pid = host.ask(&["inspect", "-f", "{{.State.Pid}}", "client"])?;
    let resolver = host.ask(&["exec", "client", "head", "-n", "10", "/etc/resolv.conf"])?;
    let server = resolver.lines().find_map(|line| line.strip_prefix("nameserver ")).context("no name server")?;
    let enter = ["nsenter", "-t", pid.trim(), "-n", "dnsperf", "-s", server.trim(), "-d", questions, "-l", SECONDS];
    let said = host.said(&[&enter, flags].concat())?;
    // An answer that there is no such name is none.
    if !said.contains("NOERROR") || !field(&said, "Response codes:").is_some_and(|rest| rest.ends_with("(100.00%)")) {
        bail!("not every question was answered: {}", field(&said, "Response codes:").unwrap_or_default());
    }
    let value = field(&said, label).and_then(|rest| rest.split(' ').next()?.parse().ok());
    value.with_context(|| format!("dnsperf says nothing of {label}"))
}

/// What stands behind a label, on the same line.
fn field<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim)
}

/// What came over in bit/s, by iperf3's JSON.
fn rate(said: &str) -> Result<f64> {
    let told: Value = serde_json::from_str(said).context("iperf3 says no JSON")?;
    if let Some(error) = told["error"].as_str() {
        bail!("iperf3: {error}");
    }
    told["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 tells no rate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_what_the_programs_say() {
        let said = "Statistics:\n\n  Response codes:       NOERROR 5 (100.00%)\n  Queries per second:   81234.5\n";
        assert_eq!(field(said, "Queries per second:"), Some("81234.5"));
        assert_eq!(field(said, "Average Latency (s):"), None);
        for (said, expected) in [
            (r#"{"end":{"sum_received":{"bits_per_second":5.5e9}}}"#, Some(5.5e9)),
            (r#"{"error":"the server is busy"}"#, None),
            ("no JSON", None),
        ] {
            assert_eq!(rate(said).ok(), expected, "{said}");
        }
    }
}
