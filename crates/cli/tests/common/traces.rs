//! What one container leaves, told from what other containers of this host have at the same time.
//!
//! A test gives its container a name that nothing else has ([`unique`]); the record leads from it to the id, and
//! everything on the host that belongs to a container carries the id or a part of it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// A container name, or any other word, that no other test uses, and that is not the beginning of another.
pub fn unique(word: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{word}-{}-{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The id of the container of this name, while it has a record.
pub fn id_of(name: &str) -> Option<String> {
    std::fs::read_link(Path::new("/var/lib/mycontainer/names").join(name)).ok()?.to_str().map(str::to_owned)
}

/// What outlives its maker by design, and ends by itself within a second or two: the network's janitor, and who has a socket
/// of it for a moment; or within some seconds: what an ordinary user's containers live in.
pub const GO_BY_THEMSELVES: [&str; 8] =
    ["mc-idle", "mc-close", "mc-holder", "mc-uplink", "pasta", "pasta.avx2", "passt.avx2", "slirp4netns"];

/// Living processes with this word in their arguments or environment: the tool with its guard and what it cloned, and
/// programs that were given it by `-e`. Without those that go by themselves.
pub fn processes_with(word: &str) -> Vec<i32> {
    let own = std::process::id() as i32;
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|pid| *pid != own);
    pids.filter(|pid| has_word(*pid, word) && !GO_BY_THEMSELVES.contains(&comm(*pid).as_str())).collect()
}

/// A process's name; empty when it is gone.
pub fn comm(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

fn has_word(pid: i32, word: &str) -> bool {
    ["cmdline", "environ"]
        .iter()
        .any(|file| std::fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|bytes| contains(&bytes, word)))
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|part| part == word.as_bytes())
}

/// What is left on the host of the container with this name and with an id that begins so: record, name, socket, layer,
/// control groups, veth, lease, mounts. Not its processes.
pub fn left_of(name: &str, id: Option<&str>) -> Vec<String> {
    let id = id.map(|id| &id[..8]);
    let mut found = Vec::new();
    for record in entries("/run/mycontainer/containers") {
        let text = std::fs::read(&record).unwrap_or_default();
        if contains(&text, &format!("{name:?}")) || id.is_some_and(|id| record.contains(id)) {
            found.push(record);
        }
    }
    found.extend(entries("/var/lib/mycontainer/names").into_iter().filter(|path| path.ends_with(&format!("/{name}"))));
    let Some(id) = id else { return found };
    let mut groups = entries("/sys/fs/cgroup");
    groups.extend(groups.clone().iter().flat_map(|dir| entries(dir)));
    found.extend(groups.into_iter().filter(|path| path.contains(&format!("mycontainer-{id}"))));
    for dir in ["/run/mycontainer/attach", "/var/lib/mycontainer/containers"] {
        found.extend(entries(dir).into_iter().filter(|path| path.contains(id)));
    }
    found.extend(entries("/sys/class/net").into_iter().filter(|path| path.contains(&format!("/mc{id}"))));
    for file in entries("/run/mycontainer/network") {
        if std::fs::read(&file).is_ok_and(|bytes| contains(&bytes, id)) {
            found.push(format!("{file}: a lease"));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().filter(|line| line.contains(id)).map(str::to_owned));
    found
}

fn entries(dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}
