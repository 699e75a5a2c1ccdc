//! The specification's JSON as oci-spec's types.
//!
//! The section `linux.seccomp` is cut out before the rest is read: it is half of most configurations, and a program that
//! was compiled from the same bytes before needs none of it. [Docker's: 0.23 ms to read and compile, 0.01 to find]
//!
//! oci-spec 0.10 reads two flags of `process.scheduler` by other names than the specification has, and takes no empty
//! `process.execCPUAffinity`, which the specification allows. Both are mended on the JSON before it is read, and only
//! where it names them: nobody else pays for it.

use crate::error;
use oci_spec::runtime::{LinuxSeccomp, Process, Spec};
use seccomp::cache::Cache;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Error, Value};

/// As the specification has a flag, and as oci-spec has it.
const FLAGS: [(&str, &str); 2] =
    [("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"), ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN")];

/// A configuration, and the bytes of its section `linux.seccomp`, which it does not hold.
#[derive(Debug)]
pub(crate) struct Config<'a> {
    pub(crate) spec: Spec,
    seccomp: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(expecting = "a JSON object")]
struct Outline<'a> {
    #[serde(borrow)]
    linux: Option<OutlineOfLinux<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "a JSON object as section linux")]
struct OutlineOfLinux<'a> {
    #[serde(borrow)]
    seccomp: Option<&'a RawValue>,
}

/// Reads a configuration.
pub(crate) fn read(text: &str) -> Result<Config<'_>, Error> {
    let outline: Outline<'_> = serde_json::from_str(text)?;
    let section = outline.linux.and_then(|linux| linux.seccomp).map(RawValue::get);
    let Some(section) = section else { return Ok(Config { spec: mended(text)?, seccomp: None }) };
    // It is a part of the text, so its place is known.
    let start = section.as_ptr() as usize - text.as_ptr() as usize;
    let rest = [&text[..start], "null", &text[start + section.len()..]].concat();
    Ok(Config { spec: mended(&rest)?, seccomp: Some(section) })
}

impl Config<'_> {
    /// The program of its filter. A filter that asks an agent has its section put back, which says who the agent is.
    pub(crate) fn filter(&mut self, cache: Option<&Cache>) -> Result<Option<seccomp::Program>, error::Error> {
        let Some(text) = self.seccomp else { return Ok(None) };
        let native = seccomp::Arch::native()
            .ok_or_else(|| error::Error::Unsupported("a seccomp filter on this kind of processor".into()))?;
        let compile = || seccomp::compile(&serde_json::from_str::<LinuxSeccomp>(text)?, native);
        let program = match cache {
            Some(cache) => cache.program(text.as_bytes(), native, compile)?,
            None => compile()?,
        };
        if program.flags & seccomp::flag::NEW_LISTENER != 0
            && let Some(linux) = self.spec.linux_mut()
        {
            linux.set_seccomp(Some(serde_json::from_str(text).map_err(seccomp::Error::from)?));
        }
        Ok(Some(program))
    }
}

fn mended(text: &str) -> Result<Spec, Error> {
    if !needs_mending(text) {
        return serde_json::from_str(text);
    }
    let mut value: Value = serde_json::from_str(text)?;
    if let Some(process) = value.get_mut("process") {
        mend(process);
    }
    serde_json::from_value(value)
}

/// Reads a configuration's section `process`, as `exec --process` takes it.
pub fn process(text: &str) -> Result<Process, Error> {
    if !needs_mending(text) {
        return serde_json::from_str(text);
    }
    let mut value: Value = serde_json::from_str(text)?;
    mend(&mut value);
    serde_json::from_value(value)
}

fn needs_mending(text: &str) -> bool {
    text.contains("execCPUAffinity") || FLAGS.iter().any(|(theirs, _)| text.contains(theirs))
}

fn mend(process: &mut Value) {
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        if let Some((_, ours)) = FLAGS.iter().find(|(theirs, _)| flag == theirs) {
            *flag = Value::from(*ours);
        }
    }
    if let Some(affinity) = process.get_mut("execCPUAffinity").and_then(Value::as_object_mut) {
        affinity.retain(|_, list| list != "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_own_names_are_read() {
        let text = r#"{"cwd":"/","user":{"uid":0,"gid":0},"args":["SCHED_FLAG_DL_OVERRUN"],
            "scheduler":{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_RECLAIM"]},
            "execCPUAffinity":{"initial":"","final":"0"}}"#;
        let process = process(text).unwrap();
        assert_eq!(process.scheduler().as_ref().unwrap().flags().as_ref().unwrap().len(), 2);
        assert_eq!(process.args().as_ref().unwrap(), &["SCHED_FLAG_DL_OVERRUN"]);
        let affinity = process.exec_cpu_affinity().as_ref().unwrap();
        assert!(affinity.initial().is_none() && affinity.cpu_affinity_final().as_deref() == Some("0"));
        assert!(read(&format!(r#"{{"ociVersion":"1.3.0","process":{text}}}"#)).is_ok());
        assert!(read(r#"{"process":{"execCPUAffinity":7}}"#).is_err());
    }

    #[test]
    fn the_filter_is_cut_out_wherever_it_stands() {
        let allow = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
        for (text, has_filter) in [
            (format!(r#"{{"linux":{{"seccomp":{allow}}}}}"#), true),
            (
                format!(
                    r#"{{ "linux" : {{ "devices":[], "seccom\u0070" : {allow} , "sysctl":{{}} }}, "hostname":"é" }}"#
                ),
                true,
            ),
            (r#"{"linux":{"seccomp":null}}"#.into(), false),
            (r#"{"linux":null}"#.into(), false),
            (format!(r#"{{"seccomp":{allow}}}"#), false),
        ] {
            let mut config = read(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(config.spec.linux().as_ref().is_none_or(|linux| linux.seccomp().is_none()), "{text}");
            assert_eq!(config.filter(None).unwrap().is_some(), has_filter, "{text}");
        }
        for bad in [r#"{"linux":{"seccomp":{}}}"#, r#"{"linux":{"seccomp":7}}"#, r#"{"linux":{"seccomp":[]}}"#] {
            assert!(read(bad).unwrap().filter(None).is_err(), "{bad}");
        }
        let twice = format!(r#"{{"linux":{{"seccomp":{allow},"seccomp":null}}}}"#);
        assert!(read(&twice).is_err() && read("{").is_err() && read("").is_err());
    }

    #[test]
    fn a_filter_that_asks_says_whom() {
        let text = r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/agent",
            "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}}}"#;
        let mut config = read(text).unwrap();
        config.filter(None).unwrap();
        let section = config.spec.linux().as_ref().unwrap().seccomp().as_ref().unwrap();
        assert_eq!(section.listener_path().as_deref(), Some(std::path::Path::new("/agent")));
    }
}
