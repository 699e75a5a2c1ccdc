//! A container's state as callers, hooks and agents read it. [runtime-spec runtime.md "State"]

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version of the specification that is implemented.
pub const SPEC_VERSION: &str = "1.3.0";

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made.
    Creating,
    /// All is made; its program has not been started.
    Created,
    /// Its program runs.
    Running,
    /// Its processes stand still.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// The state in the specification's shape.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateJson {
    /// Version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// Its first process as the host sees it; 0 when there is none.
    pub pid: i32,
    /// Absolute path of its bundle.
    pub bundle: PathBuf,
    /// What the configuration has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl StateJson {
    /// The JSON, for a hook's standard input.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and a map of strings: nothing in it can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
