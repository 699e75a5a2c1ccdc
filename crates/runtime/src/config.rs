//! The specification's JSON as oci-spec's types.
//!
//! oci-spec 0.10 reads two flags of `process.scheduler` by other names than the specification has, and takes no empty
//! `process.execCPUAffinity`, which the specification allows. Both are mended on the JSON before it is read, and only
//! where it names them: nobody else pays for it.

use oci_spec::runtime::{Process, Spec};
use serde_json::{Error, Value};

/// As the specification has a flag, and as oci-spec has it.
const FLAGS: [(&str, &str); 2] =
    [("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"), ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN")];

/// Reads a configuration.
pub(crate) fn spec(text: &str) -> Result<Spec, Error> {
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
        assert!(spec(&format!(r#"{{"ociVersion":"1.3.0","process":{text}}}"#)).is_ok());
        assert!(spec(r#"{"process":{"execCPUAffinity":7}}"#).is_err());
    }
}
