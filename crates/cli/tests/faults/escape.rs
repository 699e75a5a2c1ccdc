//! Ways out of a container that others had open: each is tried from inside, or by a root file system that lies, and the
//! host must be as it was. [CVE numbers stand beside what they were about]

use crate::common::traces::unique;
use crate::common::{
    busybox_root, can_run, give, make_busybox_root, need, run, run_ok, stderr, stdout, tool, user_of_tool,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// A directory of the host with a root file system in it (`root`) and something that must not be reached (`outside`).
/// Removed at the end.
struct Scene {
    dir: PathBuf,
    before: Vec<String>,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let dir = std::env::temp_dir().join(unique(&format!("mycontainer-test-escape-{name}")));
        make_busybox_root(&dir.join("root"));
        std::fs::create_dir_all(dir.join("outside/pts")).unwrap();
        std::fs::write(dir.join("outside/secret"), "the host's\n").unwrap();
        give(&dir);
        let mut scene = Scene { dir, before: Vec::new() };
        scene.before = scene.outside_now();
        scene
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn outside(&self) -> PathBuf {
        self.dir.join("outside")
    }

    /// Every file outside, with what would change if somebody touched it.
    fn outside_now(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut ahead = vec![self.outside()];
        while let Some(path) = ahead.pop() {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let (mode, owner, changed) = (meta.mode(), meta.uid(), (meta.ctime(), meta.ctime_nsec()));
            found.push(format!("{} {mode:o} {owner} {changed:?}", path.display()));
            if meta.is_dir() {
                ahead.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        found.sort();
        found
    }

    fn assert_untouched(&self, what: &str) {
        assert_eq!(self.outside_now(), self.before, "{what}");
    }

    /// Runs in the root without a network.
    fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        run(&[flags, &["--network", "none", self.root().to_str().unwrap()], command].concat())
    }

    /// Puts a symlink in the place of whatever is at `path` in the root.
    fn link(&self, path: &str, target: &Path) {
        let path = self.root().join(path);
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A shell in the busybox root, without a network.
fn sh(flags: &[&str], script: &str) -> Output {
    let root = busybox_root().to_str().unwrap();
    run(&[flags, &["--network", "none", root, "sh", "-c", script]].concat())
}

/// Perl in a view of the host: every Debian and Ubuntu has it, and it can make any system call.
fn perl(flags: &[&str], script: &str) -> Output {
    run(&[flags, &["host", "perl", "-e", script]].concat())
}

fn has_perl(test: &str) -> bool {
    need(test, Path::new("/usr/bin/perl").exists(), "it needs perl")
}

fn checksum(path: &Path) -> String {
    stdout(&Command::new("sha256sum").arg(path).output().unwrap())
}

#[test]
fn links_in_a_root_lead_nowhere_outside() {
    // CVE-2021-30465, CVE-2024-45310, CVE-2026-41579: targets that are links when they are mounted on or made.
    if !can_run("links_in_a_root_lead_nowhere_outside") {
        return;
    }
    let places = [
        "dev",
        "dev/pts",
        "dev/shm",
        "dev/console",
        "etc",
        "etc/resolv.conf",
        "etc/hosts",
        "etc/hostname",
        "vol",
        "vol/a",
        "sys/fs",
    ];
    let flags = [
        "-v",
        "/usr:/vol/a/b",
        "-v",
        "/etc/passwd:/vol/file",
        "--tmpfs",
        "/vol/t",
        "-w",
        "/vol/w",
        "--device",
        "/dev/null:/vol/null",
    ];
    for style in ["absolute", "climbing", "through proc"] {
        for place in places {
            let scene = Scene::new("links");
            let outside = scene.outside();
            let target = match style {
                "absolute" => outside.clone(),
                "climbing" => Path::new(&"../".repeat(20)).join(outside.strip_prefix("/").unwrap()),
                _ => Path::new("/proc/self/root").join(outside.strip_prefix("/").unwrap()),
            };
            // To the file that would be made, too: a link whose end is missing.
            scene.link("vol/file", &target.join("made"));
            scene.link(place, &target);
            let output = scene.run(&flags, &["sh", "-c", "echo x >/vol/w/written; cat /vol/../secret /etc/secret"]);
            let what = format!("{style} link at {place}: {}", stderr(&output));
            scene.assert_untouched(&what);
            assert!(!stdout(&output).contains("the host's"), "{what}");
        }
    }
}

#[test]
fn a_link_at_proc_or_sys_is_refused() {
    // CVE-2019-19921, CVE-2023-27561: the kernel's files would land where no mask covers them.
    if !can_run("a_link_at_proc_or_sys_is_refused") {
        return;
    }
    for place in ["proc", "sys"] {
        for target in ["/tmp", "tmp", "../../../../tmp", "/dangling"] {
            let scene = Scene::new("proc");
            scene.link(place, Path::new(target));
            let output = scene.run(&[], &["true"]);
            assert_eq!(output.status.code(), Some(125), "{place} -> {target}: {}", stderr(&output));
            assert!(stderr(&output).contains(&format!("/{place}")), "{}", stderr(&output));
            scene.assert_untouched(place);
        }
    }
}

#[test]
fn the_binary_cannot_be_run_or_overwritten_from_inside() {
    // CVE-2019-5736.
    if !can_run("the_binary_cannot_be_run_or_overwritten_from_inside") {
        return;
    }
    let before = checksum(Path::new(tool()));
    let scene = Scene::new("exe");
    let script = scene.root().join("bin/script");
    std::fs::write(&script, "#!/proc/self/exe help\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    scene.link("bin/link", Path::new("/proc/self/exe"));
    scene.link("bin/thread", Path::new("/proc/thread-self/exe"));
    for program in ["/proc/self/exe", "/proc/1/exe", "/proc/thread-self/exe", "script", "/bin/script", "link", "thread"]
    {
        let output = scene.run(&[], &[program, "help"]);
        let code = output.status.code();
        assert!(matches!(code, Some(126 | 127)), "{program}: {code:?} {}", stdout(&output));
        assert!(!stdout(&output).contains("mycontainer"), "{program} ran the host's binary");
    }
    // With --init PID 1 is the binary, from a sealed mount.
    for flags in [&[][..], &["--cap-add", "SYS_PTRACE"], &["--cap-add", "ALL"], &["--privileged"]] {
        // Truncating asks the mount first; without it a running program is refused as busy, and only while it runs.
        let attack =
            "exec 3</proc/1/exe; (: >/proc/1/exe) 2>&1; (: >/proc/self/fd/3) 2>&1; (: >>/proc/1/exe) 2>&1; echo tried";
        let output = run(&[flags, &["--init", "--network", "none", "host", "sh", "-c", attack]].concat());
        let text = stdout(&output);
        assert!(text.ends_with("tried\n"), "{flags:?}: {text} {}", stderr(&output));
        assert_eq!(text.matches("Read-only file system").count(), 2, "{flags:?}: {text}");
        assert_eq!(text.lines().count(), 4, "{flags:?}: {text}");
    }
    assert_eq!(checksum(Path::new(tool())), before);
}

#[test]
fn a_script_of_scripts_does_not_run_the_hosts_binary_as_the_first_process() {
    // CVE-2019-5736: what looks for the program sees one interpreter, the kernel follows up to five.
    if !can_run("a_script_of_scripts_does_not_run_the_hosts_binary_as_the_first_process") {
        return;
    }
    let scene = Scene::new("chain");
    chain(&scene, "version");
    let mut evil = Command::new(released());
    let output = evil.args(["run", "--rm", "--network", "none"]).arg(scene.root()).arg("/bin/first").output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{}", stderr(&output));
    // A user's tool is a sealed clone always, through which nothing can be changed: that may run, as any other program.
    let expected = if user_of_tool().is_some() { "version takes no words" } else { "this is the host's binary" };
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn who_sees_a_containers_processes_cannot_change_the_binary() {
    // CVE-2019-5736: where processes are shared, another container can look at each at any time.
    if !can_run("who_sees_a_containers_processes_cannot_change_the_binary") {
        return;
    }
    let scene = Scene::new("seen");
    chain(&scene, "version");
    let (copy, binary) = own_copy(&scene);
    let mode = || std::fs::metadata(&binary).unwrap().permissions().mode() & 0o7777;
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    // It holds the first binary that is not busybox, tries to change its mode, and tells.
    let script = "echo ready; while :; do for p in /proc/[0-9]*; do case $(readlink $p/exe 2>/dev/null) in \
                  ''|/bin/busybox) ;; *) (exec 7<$p/exe && { chmod 4755 /proc/self/fd/7; echo tried; }) 2>&1;; esac; done; done";
    let name = unique("seen");
    let root = scene.root();
    let words =
        [OsStr::new("run"), "--rm".as_ref(), "--network".as_ref(), "none".as_ref(), "--name".as_ref(), name.as_ref()];
    let mut watcher = Command::new(&copy);
    watcher.args(words).arg(&root).args(["sh", "-c", script]).stdout(Stdio::piped());
    let mut watcher = Killed(watcher.spawn().unwrap());
    let mut told = BufReader::new(watcher.0.stdout.take().unwrap()).lines();
    assert_eq!(told.next().unwrap().unwrap(), "ready");
    let tried = std::thread::spawn(move || told.map_while(Result::ok).any(|line| line == "tried"));
    for _ in 0..500 {
        let mut evil = Command::new(&copy);
        evil.args(["run", "--rm", "--network", "none", "--pid", &format!("container:{name}")]);
        let _ = evil.arg(&root).arg("/bin/first").output().unwrap();
        assert_eq!(mode(), 0o755, "a container changed the host's binary");
        if tried.is_finished() {
            break;
        }
    }
    assert!(Command::new(&copy).args(["kill", &name]).status().unwrap().success());
    assert!(tried.join().unwrap(), "it never got hold of one: then this says nothing");
}

/// Ends with the test, however that ends.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The static binary that people get, if it was built: one that needs a loader runs from a sealed clone always.
fn released() -> PathBuf {
    let released = std::env::var_os("MYCONTAINER_RELEASE").map(PathBuf::from).filter(|path| path.is_file());
    released.unwrap_or_else(|| tool().into())
}

/// What is called, and the binary that it becomes. As a user's it is copied already (tests/rootless/run).
fn own_copy(scene: &Scene) -> (PathBuf, PathBuf) {
    let (released, copy) = (released(), scene.dir.join("tool"));
    if user_of_tool().is_some() {
        let binary = released.with_extension("bin");
        return (released, binary);
    }
    std::fs::copy(released, &copy).unwrap();
    (copy.clone(), copy)
}

/// `/bin/first`, whose interpreter is a script, whose interpreter is the tool.
fn chain(scene: &Scene, verb: &str) {
    for (name, text) in [("first", "#!/bin/second\n".to_owned()), ("second", format!("#!/proc/self/exe {verb}\n"))] {
        let script = scene.root().join("bin").join(name);
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn no_descriptor_of_the_host_gets_in() {
    // CVE-2016-9962, CVE-2024-21626.
    if !can_run("no_descriptor_of_the_host_gets_in") {
        return;
    }
    let scene = Scene::new("fds");
    scene.link("cwd", Path::new("/proc/self/fd/7"));
    let leak = |flags: &[&str], script: &str| {
        Command::new("sh")
            .args(["-c", "exec 7<\"$0\" 8<\"$0\" 9</; exec \"$@\""])
            .arg(scene.outside())
            .args([tool(), "run", "--rm"])
            .args(flags)
            .args(["--network", "none", scene.root().to_str().unwrap(), "sh", "-c", script])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = leak(&[], "ls /proc/self/fd | tr '\\n' ' '");
    assert_eq!(stdout(&output).trim(), "0 1 2 3", "{}", stderr(&output));
    let steal = "cat secret ./secret ../secret ../outside/secret ../../outside/secret; pwd";
    let mut ways: Vec<String> = (3..24).map(|n| format!("/proc/self/fd/{n}")).collect();
    ways.extend(
        ["/proc/1/fd/7", "/proc/self/fd/7/..", "/proc/thread-self/fd/7", "/proc/self/cwd", "/proc/1/root/..", "/cwd"]
            .map(Into::into),
    );
    for way in &ways {
        let output = leak(&["-w", way], steal);
        assert!(!stdout(&output).contains("the host's"), "{way}: {}", stdout(&output));
        assert_ne!(output.status.code(), None);
    }
    scene.assert_untouched("a working directory by descriptor");
    // A directory as standard input is a way out as well.
    let output = Command::new(tool())
        .args([
            "run",
            "--rm",
            "-i",
            "--network",
            "none",
            scene.root().to_str().unwrap(),
            "cat",
            "/proc/self/fd/0/secret",
        ])
        .stdin(std::fs::File::open(scene.outside()).unwrap())
        .output()
        .unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{}", stderr(&output));
}

#[test]
fn mounts_cannot_be_changed_from_inside() {
    if !can_run("mounts_cannot_be_changed_from_inside") {
        return;
    }
    let attacks = [
        "mount -t tmpfs x /mnt",
        "mount -t proc x /tmp",
        "mount -o bind / /tmp",
        "mount -o remount,rw /proc/sys",
        "mount -o remount,rw,bind /sys",
        "umount /proc/kcore",
        "umount /proc/sys",
        "umount -l /proc",
        "umount /etc/hosts",
        "unshare -m true",
        "unshare -U true",
        "unshare -r true",
        "nsenter -t 1 -m true",
        "chroot / mount -t tmpfs x /tmp",
        "pivot_root / /tmp",
    ];
    for attack in attacks {
        let output = sh(&[], &format!("mkdir -p /mnt; {attack} 2>/dev/null && echo done; echo tried"));
        assert_eq!(stdout(&output), "tried\n", "{attack}");
    }
    // With the right to mount, what is mounted on a volume does not show on the host.
    let scene = Scene::new("propagation");
    let volume = format!("{}:/v", scene.outside().display());
    let output = scene.run(
        &["--cap-add", "SYS_ADMIN", "-v", &volume],
        &["sh", "-c", "mount -t tmpfs x /v && echo y >/v/new && mount -t tmpfs z /v/pts; grep -c ' /v' /proc/mounts"],
    );
    let counted: u32 = stdout(&output).trim().parse().unwrap_or(0);
    assert!(counted >= 1, "nothing was tried: {}{}", stdout(&output), stderr(&output));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(scene.outside().to_str().unwrap()), "it shows on the host");
}

#[test]
fn the_kernel_s_files_cannot_be_written_or_read() {
    if !can_run("the_kernel_s_files_cannot_be_written_or_read") {
        return;
    }
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let files = [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/drop_caches",
        "/proc/irq/default_smp_affinity",
        "/proc/bus/pci/new",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/power/state",
        "/sys/fs/cgroup/release_agent",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/devices/devices.allow",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/pids/cgroup.procs",
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/interrupts",
    ];
    // Written with what would change nothing if it came through; the masked ones are the null device.
    let script = format!(
        "for f in {}; do [ -e $f ] && [ ! -c $f ] && (: >>$f) 2>/dev/null && echo writable $f; done; \
         for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do [ -e $f ] && head -c 9 $f; done; \
         ls -A /sys/firmware /proc/scsi /proc/acpi 2>/dev/null | grep -v ':$' | grep .; \
         mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null && echo made a group; \
         grep -v ':/$' /proc/self/cgroup; echo tried",
        files.join(" ")
    );
    for flags in [&[][..], &["--cap-add", "ALL"], &["--security-opt", "seccomp=unconfined"]] {
        let output = sh(flags, &script);
        assert_eq!(stdout(&output), "tried\n", "{flags:?}: {}", stderr(&output));
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
}

#[test]
fn devices_of_the_host_cannot_be_opened() {
    if !can_run("devices_of_the_host_cannot_be_opened") {
        return;
    }
    let table = std::fs::read_to_string("/proc/partitions").unwrap();
    let disk = table.lines().skip(2).find_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    let (major, minor) = disk.unwrap_or_else(|| ("8".into(), "0".into()));
    let nodes = [
        format!("b {major} {minor}"),
        "b 7 0".into(),
        "c 1 1".into(),
        "c 1 4".into(),
        "c 1 11".into(),
        "c 10 200".into(),
        "c 4 0".into(),
    ];
    for node in &nodes {
        for flags in [&[][..], &["--cap-add", "ALL", "--security-opt", "seccomp=unconfined"]] {
            let script = format!(
                "rm -f /tmp/node; mknod /tmp/node {node} || echo cannot; (: </tmp/node) 2>&1; (: >>/tmp/node) 2>&1"
            );
            let name = unique("node");
            let script = script.replace("/tmp/node", &format!("/tmp/{name}"));
            let text = stdout(&sh(flags, &script));
            assert_eq!(text.matches("not permitted").count() + 2 * text.matches("cannot").count(), 2, "{node}: {text}");
        }
    }
    let text = stdout(&sh(&[], "ls /dev | tr '\\n' ' '"));
    let expected = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    let seen: Vec<&str> = text.split_whitespace().filter(|name| *name != "core").collect();
    let allowed: Vec<&str> = expected.split(' ').filter(|name| *name != "core").collect();
    assert_eq!(seen, allowed, "other devices than the few");
}

#[test]
fn processes_of_the_host_are_out_of_sight_and_reach() {
    if !can_run("processes_of_the_host_are_out_of_sight_and_reach") {
        return;
    }
    let mut sentinel = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = sentinel.id();
    let script = format!(
        "ls /proc | grep -c '^[0-9]'; [ -e /proc/{pid}/stat ] && grep -q sleep /proc/{pid}/stat && echo visible; \
         kill -9 {pid} 2>/dev/null && echo killed; trap '' TERM; kill -9 -1; echo tried"
    );
    let output = sh(&["--cap-add", "ALL"], &script);
    let text = stdout(&output);
    let alive = sentinel.try_wait().unwrap().is_none();
    sentinel.kill().unwrap();
    sentinel.wait().unwrap();
    assert!(alive, "a process of the host was killed");
    let count: u32 = text.lines().next().unwrap().parse().unwrap();
    assert!(count <= 4, "{count} processes are visible");
    assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), ["tried"], "{text}");
}

#[test]
fn sockets_and_memory_of_the_host_are_out_of_reach() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let test = "sockets_and_memory_of_the_host_are_out_of_reach";
    if !can_run(test) || !has_perl(test) {
        return;
    }
    let name = unique("mycontainer-abstract");
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let connect = format!(
        "use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0); \
         print connect($s, pack_sockaddr_un(\"\\0{name}\")) ? \"reached\" : \"refused\"; \
         open(my $f, \"<\", \"/proc/net/unix\"); print grep(/{name}/, <$f>) ? \" seen\" : \" unseen\""
    );
    assert_eq!(stdout(&perl(&["--network", "none"], &connect)), "refused unseen");
    assert_eq!(stdout(&perl(&[], &connect)), "refused unseen");
    // The attack works where it is allowed to: the test above can fail.
    assert_eq!(stdout(&perl(&["--network", "host"], &connect)), "reached seen");

    let made = stdout(&Command::new("ipcmk").args(["-M", "4096"]).output().unwrap());
    let id = made.split_whitespace().last().unwrap_or_default().to_owned();
    let shm = Path::new("/dev/shm").join(&name);
    std::fs::write(&shm, "secret").unwrap();
    let count = stdout(&sh(
        &["--cap-add", "ALL"],
        &format!("tail -n +2 /proc/sysvipc/shm | wc -l; ls /dev/shm /dev/mqueue | grep {name}"),
    ));
    let seen_by_host = std::fs::read_to_string("/proc/sysvipc/shm").unwrap().lines().count();
    let _ = Command::new("ipcrm").args(["-m", &id]).status();
    std::fs::remove_file(&shm).unwrap();
    assert!(seen_by_host > 1, "ipcmk made nothing: {made}");
    assert_eq!(count.trim(), "0");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_caller_s_keys_are_not_the_container_s() {
    let test = "the_caller_s_keys_are_not_the_container_s";
    if !can_run(test) || !has_perl(test) {
        return;
    }
    // A session keyring of its own with a key in it; then the program, which searches for the key (KEYCTL_SEARCH).
    let name = unique("mycontainer-key");
    let hold = format!(
        "syscall(250, 1, 0) >= 0 or die; my ($t, $n, $p) = (\"user\", \"{name}\", \"secret\"); \
                        syscall(248, $t, $n, $p, 6, -3) > 0 or die \"add_key: $!\"; exec @ARGV"
    );
    let search = format!(
        "my ($t, $n) = (\"user\", \"{name}\"); print syscall(250, 10, -3, $t, $n, 0) > 0 ? \"found\" : \"none\""
    );
    let holding =
        |words: &[&str]| Command::new("perl").args(["-e", &hold]).args(words).stdin(Stdio::null()).output().unwrap();
    let control = holding(&["perl", "-e", &search]);
    if !need(test, stdout(&control) == "found", "this kernel keeps no keys") {
        return;
    }
    for flags in [&[][..], &["--security-opt", "seccomp=unconfined"], &["--privileged"]] {
        let words =
            [&[tool(), "run", "--rm", "--network", "none"][..], flags, &["host", "perl", "-e", &search]].concat();
        let output = holding(&words);
        assert_eq!(stdout(&output), "none", "{flags:?}: {}", stderr(&output));
    }
}

#[test]
fn a_user_is_parsed_strictly() {
    // CVE-2026-30892: what looks like a number, and is none, became root.
    if !can_run("a_user_is_parsed_strictly") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    for user in [
        "0x3e8",
        "+0",
        "-1",
        "4294967296",
        "4294967295",
        " 0",
        "0 ",
        ":0x",
        "1000:+0",
        "1000:4294967296",
        "1e3",
        "nobody\n",
        "0\u{660}",
    ] {
        let output = run(&["--network", "none", "-u", user, root, "id", "-u"]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{user:?}: {}", stderr(&output));
    }
    assert_eq!(run_ok(&["--network", "none", "-u", "2147483647", root, "id", "-u"]).trim(), "2147483647");
}

#[test]
fn a_link_swapped_while_a_container_is_made_leads_nowhere_outside() {
    // CVE-2021-30465: a directory of a shared root becomes a link between the look and the mount.
    if !can_run("a_link_swapped_while_a_container_is_made_leads_nowhere_outside") {
        return;
    }
    let scene = Scene::new("race");
    let root = scene.root();
    std::fs::create_dir(root.join("vol")).unwrap();
    scene.link("link", &scene.outside());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, root.join("vol"), CWD, root.join("link"), RenameFlags::EXCHANGE);
            }
        });
        for n in 0..150 {
            let (bind, file) = (format!("/usr:/vol/dir-{n}/deep"), format!("/etc/passwd:/vol/file-{n}"));
            let (tmpfs, cwd) = (format!("/vol/tmpfs-{n}"), format!("/vol/cwd-{n}/deep"));
            let output = scene.run(&["-v", &bind, "-v", &file, "--tmpfs", &tmpfs, "-w", &cwd], &["touch", "written"]);
            assert!(output.status.code().is_some(), "{}", stderr(&output));
        }
        done.store(true, Ordering::Relaxed);
    });
    scene.assert_untouched("a swapped directory");
    // The runs did get as far as making targets, in the root.
    let made = ["vol", "link"].iter().filter_map(|dir| std::fs::read_dir(root.join(dir)).ok()).flatten().count();
    assert!(made > 10, "{made}");
}

#[test]
fn a_set_uid_program_gives_nothing_with_no_new_privileges() {
    if !can_run("a_set_uid_program_gives_nothing_with_no_new_privileges") {
        return;
    }
    let scene = Scene::new("setuid");
    let cat = scene.outside().join("cat");
    std::fs::copy("/bin/cat", &cat).unwrap();
    give(&cat);
    std::fs::set_permissions(&cat, std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(scene.outside().join("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let volume = format!("{}:/v", scene.outside().display());
    let read = |more: &[&str]| {
        let words =
            [&["--network", "none", "-u", "1000", "-v", &volume][..], more, &["host", "/v/cat", "/v/secret"]].concat();
        run(&words)
    };
    // Docker's default lets it be root of the container; the flag does not.
    assert_eq!(stdout(&read(&[])), "the host's\n");
    let output = read(&["--security-opt", "no-new-privileges"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{}", stderr(&output));
}
