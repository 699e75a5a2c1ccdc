//! `checkpoint` and `restore`, by CRIU.
//!
//! Flags and defaults are those of runc and crun, both: images in `./checkpoint`, and a container that was checkpointed is
//! deleted, unless it runs on.

use super::create::attend;
use super::global::Global;
use super::words::{Flag, Words, switch, value};
use super::{Failure, report, usage};
use engine::Foreground;
use runtime::{CgroupMode, Checkpoint, Images, Restore};
use std::fs::File;
use std::path::PathBuf;

/// What both verbs take.
pub(crate) const CRIU_FLAGS: &[Flag] = &[
    value("image-path", None, "DIR", "Directory of the images (default: ./checkpoint)"),
    value("work-path", None, "DIR", "Directory of criu's log and other files (default: that of the images)"),
    switch("tcp-established", None, "Established TCP connections, too"),
    switch("ext-unix-sk", None, "Sockets whose other end is outside, too"),
    switch("shell-job", None, "The session or terminal is the caller's"),
    switch("file-locks", None, "File locks, too"),
    switch("lazy-pages", None, "Move memory when it is first used"),
    switch("auto-dedup", None, "Take pages out of earlier images that newer ones have"),
    value("manage-cgroups-mode", None, "MODE", "soft (default), full, strict or ignore"),
    value("empty-ns", None, "KIND", "Of this namespace, only that there is one: network"),
];

pub(crate) const CHECKPOINT_FLAGS: &[Flag] = &[
    switch("leave-running", Some('R'), "Let the container run on"),
    switch("pre-dump", Some('P'), "Write memory only, and let the container run on"),
    value("parent-path", None, "DIR", "Images of an earlier --pre-dump, relative to --image-path"),
    value("page-server", None, "ADDRESS:PORT", "Where memory goes in place of a file"),
    value("status-fd", None, "N", "Descriptor that gets a zero byte when --lazy-pages can serve"),
    switch("tcp-skip-in-flight", None, "Leave connections out that are not yet accepted"),
    switch("link-remap", None, "Allow files that were unlinked and have another name"),
];

pub(crate) const RESTORE_FLAGS: &[Flag] = &[
    value("bundle", Some('b'), "DIR", "The bundle (default: the current directory)"),
    value("console-socket", None, "SOCKET", "Where the terminal's controlling side is sent"),
    value("pid-file", None, "FILE", "Where the first process's id is written"),
    value("lsm-profile", None, "TYPE:NAME", "Another security profile than the images have"),
    value("lsm-mount-context", None, "CONTEXT", "Another SELinux context of mounts than the images have"),
    switch("tcp-close", None, "Have TCP connections come back closed"),
    switch("detach", Some('d'), "Return when it runs"),
    switch("keep", None, "Do not delete the container when it ends"),
    switch("no-subreaper", None, "Do not become the parent of processes that lose theirs"),
    switch("no-pivot", None, "For callers that say so to create, too: criu has its own way to change the root"),
];

/// `checkpoint ID`
pub(crate) fn checkpoint(global: &Global, words: &Words) -> Result<i32, Failure> {
    // First: nothing of ours may have taken its number.
    let ready = words.number("status-fd")?.map(status_fd).transpose()?;
    let mut asked = Checkpoint {
        images: images(words)?,
        parent: words.path("parent-path"),
        pre_dump: words.has("pre-dump"),
        leave_running: words.has("leave-running"),
        tcp_skip_in_flight: words.has("tcp-skip-in-flight"),
        link_remap: words.has("link-remap"),
        page_server: words.get("page-server").map(page_server).transpose()?,
        ready,
    };
    let mut known = global.runtime()?.find(words.id()?)?;
    known.checkpoint(&mut asked)?;
    if !asked.leave_running && !asked.pre_dump {
        for note in known.delete(true)? {
            report::warn(global, &note.to_string());
        }
    }
    Ok(0)
}

/// `restore ID`
pub(crate) fn restore(global: &Global, words: &Words) -> Result<i32, Failure> {
    let asked = Restore {
        images: images(words)?,
        bundle: words.path("bundle").unwrap_or_else(|| PathBuf::from(".")),
        console_socket: words.path("console-socket"),
        pid_file: words.path("pid-file"),
        detach: words.has("detach"),
        tcp_close: words.has("tcp-close"),
        lsm_profile: words.get("lsm-profile").map(str::to_owned),
        lsm_mount_context: words.get("lsm-mount-context").map(str::to_owned),
    };
    let (runtime, id) = (global.runtime()?, words.id()?);
    if asked.detach {
        runtime.restore(id, &asked)?;
        return Ok(0);
    }
    if !words.has("no-subreaper") {
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    let foreground = Foreground::hold()?;
    let running = runtime.restore(id, &asked)?;
    attend(global, running, &foreground, asked.console_socket.is_some(), words.has("keep"))
}

fn images(words: &Words) -> Result<Images, Failure> {
    let cgroups = match words.get("manage-cgroups-mode") {
        None | Some("" | "soft") => CgroupMode::Soft,
        Some("full") => CgroupMode::Full,
        Some("strict") => CgroupMode::Strict,
        Some("ignore") => CgroupMode::Ignore,
        Some(other) => {
            return Err(usage(format!("--manage-cgroups-mode is soft, full, strict or ignore, not {other:?}")));
        }
    };
    if let Some(other) = words.all("empty-ns").find(|kind| !matches!(*kind, "network" | "")) {
        return Err(usage(format!("--empty-ns is network, not {other:?}")));
    }
    Ok(Images {
        dir: words.path("image-path").unwrap_or_else(|| PathBuf::from("checkpoint")),
        work_dir: words.path("work-path"),
        tcp_established: words.has("tcp-established"),
        external_sockets: words.has("ext-unix-sk"),
        shell_job: words.has("shell-job"),
        file_locks: words.has("file-locks"),
        lazy_pages: words.has("lazy-pages"),
        auto_dedup: words.has("auto-dedup"),
        empty_network: words.all("empty-ns").any(|kind| kind == "network"),
        cgroups,
    })
}

/// `ADDRESS:PORT`, an IPv6 address in brackets.
fn page_server(text: &str) -> Result<(String, u16), Failure> {
    let parts = text.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse::<u16>().ok()?)));
    let address = |address: &str| match (address.strip_prefix('['), address.strip_suffix(']')) {
        (Some(_), Some(_)) => Some(address[1..address.len() - 1].to_owned()),
        (None, None) if !address.contains(':') => Some(address.to_owned()),
        _ => None,
    };
    let server = parts.and_then(|(text, port)| Some((address(text)?, port)));
    server
        .filter(|(address, port)| !address.is_empty() && *port > 0)
        .ok_or_else(|| usage(format!("--page-server is ADDRESS:PORT, not {text:?}")))
}

/// The caller's descriptor, opened once more: a pipe or a file.
fn status_fd(number: u32) -> Result<File, Failure> {
    let opened = File::options().write(true).open(format!("/proc/self/fd/{number}"));
    opened.map_err(|error| usage(format!("--status-fd {number} cannot be written to: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        let cases = [
            ("10.0.0.1:1234", Some(("10.0.0.1", 1234))),
            ("host:1", Some(("host", 1))),
            ("[::1]:27", Some(("::1", 27))),
            ("::1:27", None),
            ("host", None),
            ("host:", None),
            (":1", None),
            ("[]:1", None),
            ("host:0", None),
            ("host:65536", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = page_server(text).ok();
            assert_eq!(found, expected.map(|(address, port)| (address.to_owned(), port)), "{text}");
        }
    }
}
