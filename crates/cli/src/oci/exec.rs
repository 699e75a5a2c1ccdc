//! `exec`.

use super::global::Global;
use super::words::{Flag, Words, switch, value};
use super::{Failure, usage};
use engine::Foreground;
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, User};
use runtime::Joining;
use std::collections::HashSet;
use std::path::Path;

pub(crate) const FLAGS: &[Flag] = &[
    value("process", Some('p'), "FILE", "The process, as JSON of the specification's section `process`"),
    value("cwd", None, "DIR", "Start in this directory"),
    value("env", Some('e'), "NAME=VALUE", "Set a variable"),
    value("user", Some('u'), "UID[:GID]", "Run as this user, by number"),
    value("additional-gids", Some('g'), "GID", "Belong to this group, too"),
    switch("tty", Some('t'), "Give it a terminal"),
    switch("detach", Some('d'), "Return when it runs"),
    value("console-socket", None, "SOCKET", "Where the terminal's controlling side is sent"),
    value("pid-file", None, "FILE", "Where its id is written"),
    value("pidfd-socket", None, "SOCKET", "Where a pidfd of it is sent"),
    value("process-label", None, "LABEL", "Its SELinux label"),
    value("apparmor", None, "PROFILE", "Its AppArmor profile"),
    switch("no-new-privs", None, "Let set-uid programs give it nothing"),
    value("cap", Some('c'), "CAPABILITY", "Give it this capability, too"),
    value("preserve-fds", None, "N", "Pass on N descriptors after standard error"),
    switch("ignore-paused", None, "Join a paused container, too, and go on with it"),
    value("cgroup", None, "PATH", "Run it in this control group inside the container's"),
];

/// `exec ID [COMMAND [ARGUMENTS]]`
pub(crate) fn exec(global: &Global, words: &Words) -> Result<i32, Failure> {
    runtime::seal::ensure()?;
    let [id, command @ ..] = words.operands() else { return Err(usage("it needs the id of a container")) };
    let preserve_fds = words.number("preserve-fds")?.unwrap_or(0);
    let mut known = global.runtime()?.find(id)?;
    let process = match words.path("process") {
        Some(_) if !command.is_empty() => return Err(usage("--process names the command; there is another one")),
        Some(file) => read(&file)?,
        None if command.is_empty() => return Err(usage("it needs a command, or --process")),
        None => composed(known.spec()?.process().clone().unwrap_or_default(), words, command)?,
    };
    let detach = words.has("detach");
    let joining = Joining {
        process,
        console_socket: words.path("console-socket"),
        pid_file: words.path("pid-file"),
        pidfd_socket: words.path("pidfd-socket"),
        detach,
        preserve_fds,
        cgroup: words.get("cgroup").map(str::to_owned),
        ignore_paused: words.has("ignore-paused"),
        window: engine::window(),
    };
    let foreground = if detach { None } else { Some(Foreground::hold()?) };
    let joined = known.exec(&joining)?;
    match foreground {
        None => Ok(0),
        Some(foreground) if joining.console_socket.is_some() => {
            foreground.wait(&joined)?;
            Ok(joined.wait()?.shell_status())
        }
        Some(foreground) => {
            foreground.attend(&joined)?;
            Ok(joined.wait()?.shell_status())
        }
    }
}

fn read(file: &Path) -> Result<Process, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| usage(format!("cannot read {}: {e}", file.display())))?;
    runtime::parse_process(&text).map_err(|e| usage(format!("cannot read {}: {e}", file.display())))
}

/// The container's own process with the command and what the flags change.
fn composed(mut process: Process, words: &Words, command: &[String]) -> Result<Process, Failure> {
    process.set_args(Some(command.to_vec()));
    process.set_terminal(Some(words.has("tty")));
    process.set_console_size(None);
    if let Some(cwd) = words.get("cwd") {
        process.set_cwd(cwd.into());
    }
    let env: Vec<String> = words.all("env").map(str::to_owned).collect();
    if !env.is_empty() {
        process.set_env(Some([process.env().clone().unwrap_or_default(), env].concat()));
    }
    if let Some(text) = words.get("user") {
        let (uid, gid) = user(text)?;
        let mut user = User::default();
        user.set_uid(uid);
        user.set_gid(gid);
        user.set_umask(process.user().umask());
        process.set_user(user);
    }
    let gids = words.all("additional-gids").map(id).collect::<Result<Vec<_>, _>>()?;
    if !gids.is_empty() {
        process.user_mut().set_additional_gids(Some(gids));
    }
    if let Some(label) = words.get("process-label") {
        process.set_selinux_label(Some(label.to_owned()));
    }
    if let Some(profile) = words.get("apparmor") {
        process.set_apparmor_profile(Some(profile.to_owned()));
    }
    if words.has("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    let more = words.all("cap").map(capability).collect::<Result<Vec<_>, _>>()?;
    if !more.is_empty() {
        process.set_capabilities(Some(with(process.capabilities().clone(), &more)));
    }
    Ok(process)
}

/// `UID` or `UID:GID`, all of it digits: what is read laxly becomes root. (CVE-2026-30892)
fn user(text: &str) -> Result<(u32, u32), Failure> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    Ok((id(uid)?, id(gid)?))
}

fn id(text: &str) -> Result<u32, Failure> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|number| digits && *number != u32::MAX);
    number.ok_or_else(|| usage(format!("{text:?} is no user or group id: they are numbers")))
}

fn capability(text: &str) -> Result<Capability, Failure> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
    serde_json::from_value(serde_json::Value::String(name))
        .map_err(|_| usage(format!("there is no capability {text:?}")))
}

fn with(sets: Option<LinuxCapabilities>, more: &[Capability]) -> LinuxCapabilities {
    let mut sets = sets.unwrap_or_else(|| {
        let mut none = LinuxCapabilities::default();
        none.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
        none
    });
    let add = |set: &Option<HashSet<Capability>>| {
        Some(set.iter().flatten().copied().chain(more.iter().copied()).collect::<HashSet<_>>())
    };
    // Not inheritable: a file's capabilities would add to them. (CVE-2022-29162)
    let (bounding, effective, permitted) = (add(sets.bounding()), add(sets.effective()), add(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_numbers_and_nothing_else() {
        assert_eq!(user("7").unwrap(), (7, 0));
        assert_eq!(user("7:8").unwrap(), (7, 8));
        for bad in
            ["", ":", "7:", ":8", "-1", "+1", " 1", "1 ", "0x1", "root", "1:2:3", "4294967295", "4294967296", "1,2"]
        {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn capabilities_are_read_with_and_without_their_prefix() {
        assert_eq!(capability("net_admin").unwrap(), Capability::NetAdmin);
        assert_eq!(capability("CAP_SYS_PTRACE").unwrap(), Capability::SysPtrace);
        assert!(capability("nope").is_err());
        let sets = with(None, &[Capability::Kill]);
        assert!(sets.inheritable().is_none() && sets.ambient().is_none());
        assert_eq!(sets.effective().as_ref().unwrap().len(), 1);
    }
}
