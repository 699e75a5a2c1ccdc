//! `update`.

use super::global::Global;
use super::words::{Flag, Words, value};
use super::{Failure, usage};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};
use std::io::Read;

pub(crate) const FLAGS: &[Flag] = &[
    value("resources", Some('r'), "FILE", "Limits as JSON of the section `linux.resources`; - is standard input"),
    value("memory", None, "BYTES", "Memory at most"),
    value("memory-reservation", None, "BYTES", "Memory below which nothing is reclaimed"),
    value("memory-swap", None, "BYTES", "Memory and swap together at most"),
    value("cpu-period", None, "US", "Length of a period of CPU time"),
    value("cpu-quota", None, "US", "CPU time a period at most"),
    value("cpu-burst", None, "US", "CPU time that may be saved up"),
    value("cpu-share", None, "N", "Weight against others, 2 to 262144"),
    value("cpu-rt-period", None, "US", "Length of a period of real-time CPU time"),
    value("cpu-rt-runtime", None, "US", "Real-time CPU time a period at most"),
    value("cpu-idle", None, "0|1", "Run only when nobody else does"),
    value("cpuset-cpus", None, "LIST", "CPUs to run on"),
    value("cpuset-mems", None, "LIST", "Memory nodes to use"),
    value("pids-limit", None, "N", "Processes at most"),
    value("blkio-weight", None, "N", "Weight of disk use, 10 to 1000"),
    value("l3-cache-schema", None, "TEXT", "Intel RDT: share of the L3 cache"),
    value("mem-bw-schema", None, "TEXT", "Intel RDT: share of the memory's bandwidth"),
];

/// Flags that become a number of the JSON, and where.
const NUMBERS: &[(&str, &str, &str)] = &[
    ("memory", "memory", "limit"),
    ("memory-reservation", "memory", "reservation"),
    ("memory-swap", "memory", "swap"),
    ("cpu-period", "cpu", "period"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
    ("cpu-idle", "cpu", "idle"),
    ("pids-limit", "pids", "limit"),
    ("blkio-weight", "blockIO", "weight"),
];

/// `update ID`
pub(crate) fn update(global: &Global, words: &Words) -> Result<i32, Failure> {
    let mut known = global.runtime()?.find(words.id()?)?;
    let (l3, bandwidth) = (words.get("l3-cache-schema"), words.get("mem-bw-schema"));
    if l3.is_some() || bandwidth.is_some() {
        known.update_resctrl(l3, bandwidth)?;
    }
    if let Some(resources) = resources(words)? {
        known.update(&resources)?;
    } else if l3.is_none() && bandwidth.is_none() {
        return Err(usage("it needs a limit to change"));
    }
    Ok(0)
}

fn resources(words: &Words) -> Result<Option<LinuxResources>, Failure> {
    let mut all = Map::new();
    if let Some(file) = words.get("resources") {
        let value: Value = serde_json::from_slice(&read(file)?).map_err(|e| usage(format!("{file}: {e}")))?;
        let Value::Object(object) = value else { return Err(usage(format!("{file}: it is no JSON object"))) };
        all = object;
    }
    let mut put = |section: &str, field: &str, value: Value| {
        let section = all.entry(section).or_insert_with(|| json!({}));
        if !section.is_object() {
            *section = json!({});
        }
        section[field] = value;
    };
    for (flag, section, field) in NUMBERS {
        if let Some(number) = words.number::<i64>(flag)? {
            put(section, field, json!(number));
        }
    }
    for (flag, field) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(list) = words.get(flag) {
            put("cpu", field, json!(list));
        }
    }
    if all.is_empty() {
        return Ok(None);
    }
    serde_json::from_value(Value::Object(all)).map(Some).map_err(|e| usage(format!("the limits are not valid: {e}")))
}

fn read(file: &str) -> Result<Vec<u8>, Failure> {
    let read = if file == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    read.map_err(|e| usage(format!("cannot read {file}: {e}")))
}
