//! The OCI runtimes: ours, those that this machine has, and those that `scripts/fetch-peers` has put into target/peers.

use crate::contenders::{version_of, which};
use crate::worker::View;
use std::path::Path;

/// One of them.
pub(crate) struct Runtime {
    /// What the tables call it: by its version, where there may be two.
    pub(crate) name: String,
    /// Its program by an absolute path, and the words before its own flags.
    pub(crate) words: Vec<String>,
    /// Where it runs on this machine's cgroups.
    pub(crate) view: View,
}

/// All that are here, ours first; and the names of those that are not.
pub(crate) fn find(tool: &Path) -> (Vec<Runtime>, Vec<&'static str>) {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    let peer = |name: &str| peers.join(name).to_string_lossy().into_owned();
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    let all = [
        ("mycontainer-runtime", vec![tool.to_string_lossy().into_owned(), "runtime".to_owned()]),
        ("crun", vec!["crun".to_owned()]),
        // With its own C library, through that one's loader, which the kernel would start just so.
        ("crun of sid", vec![peer("crun/ld.so"), "--library-path".to_owned(), peer("crun/lib"), peer("crun/crun")]),
        ("runc", vec!["runc".to_owned()]),
        ("youki", vec![peer("youki")]),
    ];
    for (name, mut words) in all {
        let Some(program) = which(&words[0]) else {
            absent.push(name);
            continue;
        };
        words[0] = program;
        let is_crun = name.starts_with("crun");
        // "crun version 1.28"
        let number = version_of(&words).rsplit(' ').next().unwrap_or_default().to_owned();
        found.push(Runtime {
            name: if is_crun { format!("crun {number}") } else { name.to_owned() },
            words,
            // crun refuses a hybrid host.
            view: if is_crun { View::Private } else { View::Host },
        });
    }
    (found, absent)
}
