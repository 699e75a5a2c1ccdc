//! Pods: containers that share namespaces, and live and go together.
//!
//! What they share is held by an infra container, which is one of ours without a program (`runtime::pause`): an empty root
//! in memory, no capabilities, a monitor like every other. The pod's network and its published ports are that one's. A
//! container in a pod is made with the namespaces of the infra container (`containers::sharing`), so that all that holds for
//! those holds here; it is started after that one, and its record says in which pod it is. What a pod is beside that stands
//! in `store`.
//!
//! A pod without an infra container shares nothing: its containers only live and go together. Its record is all there is of it.

mod change;
mod create;
mod logs;
mod look;
mod store;

pub use change::{kill, prune, remove, restart, set_paused, start, stop};
pub use create::{PodOrder, create};
pub(crate) use create::{hold, join, start_infra, unmake};
pub use logs::{PodLogs, logs};
pub use look::{Member, PodState, ShownInfra, ShownPod, exists, inspect, list, named, newest, running};
pub(crate) use store::sweep;

use crate::created;
use crate::error::Error;
use crate::parse::ParseError;
use crate::state::Id;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// 64 hex digits.
    pub id: String,
    /// `--name`.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--share`.
    pub share: Vec<Share>,
    /// The id of its infra container; empty of a pod that has none.
    pub infra: String,
    /// The words that made it.
    #[serde(default)]
    pub made_by: Vec<String>,
}

impl Pod {
    /// None of a pod without one.
    fn infra_id(&self) -> Option<Id> {
        // A record that says something else is of no pod: there is no container with that id.
        let id = || Id::from_file_name(self.infra.as_bytes()).unwrap_or_else(Id::nobody);
        (!self.infra.is_empty()).then(id)
    }

    /// Whether it has all that it was made with.
    fn is_whole(&self) -> bool {
        self.infra_id().is_none_or(|infra| created::exists(&infra))
    }
}

/// A container's place in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodPlace {
    /// The pod: by its id, once the container is made.
    pub pod: String,
    /// It is the infra container.
    pub is_infra: bool,
    /// The pod is made for this container, by the command that makes it: one does not stay without the other.
    #[serde(skip)]
    pub is_new: bool,
}

/// A namespace that the containers of a pod share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// What their control groups look like from inside.
    Cgroup,
    /// Memory and queues.
    Ipc,
    /// Addresses, and names of hosts.
    Net,
    /// Processes.
    Pid,
    /// The host name.
    Uts,
}

impl Share {
    const ALL: [(&'static str, Share); 5] =
        [("cgroup", Share::Cgroup), ("ipc", Share::Ipc), ("net", Share::Net), ("pid", Share::Pid), ("uts", Share::Uts)];
    const DEFAULT: [Share; 3] = [Share::Ipc, Share::Net, Share::Uts];

    /// Its name.
    pub fn name(self) -> &'static str {
        Share::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// `--share`: a list with commas; after a plus what is shared beside the usual; empty, or none, for nothing.
    pub fn list(text: &str) -> Result<Vec<Share>, ParseError> {
        let (more, words) = match text.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let wrong = || ParseError::new(text, "write a list of cgroup, ipc, net, pid and uts, as ipc,net; or none");
        let mut shared: Vec<Share> = if more { Share::DEFAULT.into() } else { Vec::new() };
        for word in words.split(',').filter(|word| !matches!(*word, "" | "none")) {
            shared.push(Share::ALL.iter().find(|(name, _)| *name == word).ok_or_else(wrong)?.1);
        }
        shared.sort_unstable();
        shared.dedup();
        Ok(shared)
    }
}

/// The pod that words mean: a name, an id, or the beginning of one.
fn get(words: &str) -> Result<Pod, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let all = store::all()?;
    if let Some(pod) = all.iter().find(|pod| pod.name == words) {
        return Ok(pod.clone());
    }
    let mut matching = all.into_iter().filter(|pod| !words.is_empty() && pod.id.starts_with(words));
    match (matching.next(), matching.next()) {
        (Some(pod), None) => Ok(pod),
        (Some(_), Some(_)) => Err(Error::AmbiguousPod { words: words.to_owned() }),
        (None, _) => Err(Error::NoSuchPod { words: words.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared() {
        use Share::{Cgroup, Ipc, Net, Pid, Uts};
        let cases: [(&str, Option<&[Share]>); 8] = [
            ("", Some(&[])),
            ("none", Some(&[])),
            ("uts,net,net", Some(&[Net, Uts])),
            ("pid", Some(&[Pid])),
            ("+pid", Some(&[Ipc, Net, Pid, Uts])),
            ("pid,cgroup", Some(&[Cgroup, Pid])),
            ("net,user", None),
            ("+x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Share::list(text).ok().as_deref(), expected, "{text}");
        }
        assert_eq!(Net.name(), "net");
    }
}
