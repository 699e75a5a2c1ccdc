//! What broke other OCI runtimes, tried on ours: hostile roots, configurations and running containers. The host must be
//! as it was, nothing may be left, and an error is one line that says what is wrong. [CVE numbers stand beside what they
//! were about]

use crate::bundles::{Place, all_capabilities, config, config_in, groups, id_of, push};
use crate::common::{busybox_root, can_run, make_busybox_root, need, stderr, stdout, tool, unique, wait_until};
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A root of the place's own, to be prepared with malice.
fn own_root(place: &Place) -> PathBuf {
    let root = place.path("root");
    make_busybox_root(&root);
    root
}

/// Puts a symlink in the place of whatever is at `path`.
fn link(path: PathBuf, target: &Path) {
    let _ = std::fs::remove_dir_all(&path);
    let _ = std::fs::remove_file(&path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn checksum(path: &Path) -> String {
    stdout(&Command::new("sha256sum").arg(path).output().unwrap())
}

/// A place with a binary of its own, which an attack may destroy.
fn with_own_binary(name: &str) -> (Place, String) {
    let mut place = Place::new(name);
    place.tool = place.path("mycontainer");
    std::fs::copy(tool(), &place.tool).unwrap();
    let sum = checksum(&place.tool);
    (place, sum)
}

/// A configuration with the host's /usr in it, and so with perl, which can make any system call.
fn perl(place: &Place, test: &str, program: &str) -> Option<Value> {
    let merged = std::fs::symlink_metadata("/lib").is_ok_and(|meta| meta.is_symlink());
    if !need(test, merged && Path::new("/usr/bin/perl").exists(), "it needs perl and a merged /usr") {
        return None;
    }
    let root = place.path("perl");
    for dir in ["proc", "dev", "sys", "usr", "tmp"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (name, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        let _ = symlink(target, root.join(name));
    }
    let mut config = config_in(&root, &["perl", "-e", program]);
    push(&mut config, "/mounts", json!({ "destination": "/usr", "source": "/usr", "options": ["rbind", "ro"] }));
    Some(config)
}

/// Makes and starts a container that goes on until it is ended.
#[track_caller]
fn start(place: &Place, config: &Value) -> String {
    let id = id_of(config);
    let bundle = place.bundle(&format!("bundle-{id}"), config);
    place.create(&bundle, &id).good();
    place.call(&["start", &id]).good();
    id
}

/// As [`start`], of a program that ends by SIGTERM, once it listens: a first process does not feel a signal before.
#[track_caller]
fn start_listening(place: &Place) -> String {
    let id = start(place, &config(&["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]));
    let processes = || place.call(&["ps", "--format", "json", &id]).out.matches(',').count();
    assert!(wait_until(10, || processes() > 0), "its program does not get to its first sleep");
    id
}

#[test]
fn cve_2019_5736_the_binary_is_no_program_of_a_container() {
    if !can_run("cve_2019_5736_the_binary_is_no_program_of_a_container") {
        return;
    }
    let (place, before) = with_own_binary("exe");
    let root = own_root(&place);
    script(&root.join("bin/script"), "#!/proc/self/exe help\n");
    link(root.join("bin/link"), Path::new("/proc/self/exe"));
    link(root.join("bin/thread"), Path::new("/proc/thread-self/exe"));
    let programs =
        ["/proc/self/exe", "/proc/1/exe", "/proc/thread-self/exe", "script", "/bin/script", "link", "thread"];
    for program in programs {
        let done = place.run(&config_in(&root, &[program, "help"]));
        let said = done.bad();
        assert!(said.contains(program), "{said}");
    }
    let id = start(&place, &config_in(&root, &["sleep", "1000"]));
    for program in programs {
        let done = place.call(&["exec", &id, program, "help"]);
        assert!(!done.ok() && !done.out.contains("usage") && done.err.contains(program), "{}{}", done.out, done.err);
    }
    place.delete(&id);
    assert_eq!(checksum(&place.tool), before);
}

/// What is put in the place of the container's dynamic loader: it says what it can do to the file of the process that it
/// runs in. Opened to be truncated: then the kernel asks the mount first, and else says of a running program that it is busy.
const LOADER: &str = r#"
    static long call(long n, long a, long b, long c) {
        long result;
        __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
        return result;
    }
    static void say(const char *text) { long n = 0; while (text[n]) n++; call(1, 1, (long)text, n); }
    static void told(const char *what, long result) {
        say(what);
        say(result >= 0 ? "WRITABLE\n" : result == -26 ? "busy\n" : result == -30 ? "read-only\n" : "refused\n");
    }
    void _start(void) {
        told("by name: ", call(2, (long)"/proc/self/exe", 01001, 0));
        long held = call(2, (long)"/proc/self/exe", 0, 0);
        char path[] = "/proc/self/fd/0";
        path[sizeof path - 2] += held;
        told("by descriptor: ", call(2, (long)path, 01001, 0));
        call(231, 0, 0, 0);
    }
"#;

/// A script whose interpreter is a script whose interpreter is `/proc/self/exe`, and a dynamic loader of the container's
/// own: so its code runs in a process whose file is the tool.
fn with_loader(place: &Place, root: &Path) -> bool {
    std::fs::create_dir_all(root.join("lib64")).unwrap();
    let source = place.path("loader.c");
    std::fs::write(&source, LOADER).unwrap();
    let flags = ["-nostdlib", "-static", "-O1", "-ffreestanding", "-fno-stack-protector", "-o"];
    let built = Command::new("cc").args(flags).arg(root.join("lib64/ld-linux-x86-64.so.2")).arg(source).status();
    script(&root.join("bin/outer"), "#!/bin/inner\n");
    script(&root.join("bin/inner"), "#!/proc/self/exe help\n");
    cfg!(target_arch = "x86_64") && built.is_ok_and(|status| status.success())
}

#[test]
fn cve_2019_5736_a_loader_of_the_container_s_own_cannot_write_to_the_binary() {
    if !can_run("cve_2019_5736_a_loader_of_the_container_s_own_cannot_write_to_the_binary") {
        return;
    }
    let (place, before) = with_own_binary("loader");
    let root = own_root(&place);
    if !need("cve_2019_5736_a_loader_of_the_container_s_own", with_loader(&place, &root), "it needs cc on x86_64") {
        return;
    }
    let mut config = config_in(&root, &["outer"]);
    all_capabilities(&mut config);
    let made = place.run(&config);
    config["process"]["args"] = json!(["sleep", "1000"]);
    let id = start(&place, &config);
    let joined = place.call(&["exec", &id, "outer"]);
    place.delete(&id);
    let words = ["run", "--rm", "--network", "none", "--cap-add", "ALL", root.to_str().unwrap(), "outer"];
    let plain = Command::new(&place.tool).args(words).stdin(Stdio::null()).output().unwrap();
    for (what, text) in [
        ("run by the OCI verb", made.out + &made.err),
        ("exec", joined.out + &joined.err),
        ("run", stdout(&plain) + &stderr(&plain)),
    ] {
        println!("{what}: {text}");
        // Busy is what a file is while it is run; once it is not, it could be written to.
        assert!(!text.contains("busy") && !text.contains("WRITABLE"), "{what}: {text}");
        // A static binary has no loader, and ends by itself.
        assert!(text.matches("read-only").count() == 2 || !text.contains("by name"), "{what}: {text}");
    }
    assert_eq!(checksum(&place.tool), before);
}

/// Looks at every process that comes, over and over: is its file the tool's, and could it be written to; what does it
/// have open; can it be traced. Prints each answer once.
const WATCHER: &str = r#"
    $| = 1; my %said; sub say1 { my $x = shift; print "$x\n" unless $said{$x}++ }
    print "watching\n";
    while (1) {
        opendir(my $d, "/proc") or die;
        for my $pid (grep { /^\d+$/ && $_ != $$ } readdir $d) {
            my $exe = readlink("/proc/$pid/exe");
            say1("unseen") unless defined $exe;
            next if !defined $exe || $exe =~ m{^/usr/};
            say1("seen");
            if (open(my $f, "<", "/proc/$pid/exe")) {
                say1("held");
                my $fd = fileno($f);
                say1(open(my $w, ">", "/proc/self/fd/$fd") ? "WRITABLE" : "write: $!");
                # mount_setattr(fd, "", AT_EMPTY_PATH, { clear MOUNT_ATTR_RDONLY }): the read-only mount made writable.
                my $attr = pack("QQQQ", 0, 1, 0, 0); my $empty = "\0";
                say1(syscall(442, $fd, $empty, 0x1000, $attr, 32) == 0 ? "MADE WRITABLE" : "setattr: $!");
                say1(open(my $w, ">", "/proc/self/fd/$fd") ? "WRITABLE" : "write: $!");
            }
            for my $place ("root", "cwd") {
                next unless sysopen(my $held, "/proc/$pid/$place", 010000000);
                my $there = join ":", (stat "/proc/self/fd/" . fileno($held))[0, 1];
                say1("ELSEWHERE: $place") unless grep { $there eq join ":", (stat $_)[0, 1] } "/", "/usr";
            }
            if (opendir(my $fds, "/proc/$pid/fd")) {
                for my $fd (grep { /^\d+$/ } readdir $fds) {
                    # O_PATH: whatever it is, it is held from here on, and looked at when it can be no other any more.
                    next unless sysopen(my $held, "/proc/$pid/fd/$fd", 010000000);
                    my $path = "/proc/self/fd/" . fileno($held); my $what = readlink($path);
                    next if readlink("/proc/$pid/exe") =~ m{^/usr/};
                    # What is the container's own may be open, and is the same from here.
                    my ($theirs, $ours) = map { join ":", (stat $_)[0, 1] } $path, $what;
                    next if $theirs eq $ours;
                    say1("descriptor: $what") unless $what =~ m{^(socket|pipe|anon_inode):|^/dev/(null|pts)|/(out|err)-\d+( \(deleted\))?$};
                }
            }
            say1("MEMORY") if TRACE && open(my $m, "+<", "/proc/$pid/mem");
            say1("TRACED") if TRACE && syscall(101, 0x4206, $pid, 0, 0) == 0;
        }
    }
"#;

/// Runs the watcher in a container, and joins that again and again; what it said.
fn watched(place: &Place, test: &str, more: &[&str], trace: bool) -> Option<String> {
    let mut config = perl(place, test, &WATCHER.replace("TRACE", if trace { "1" } else { "0" }))?;
    let sets = config["process"]["capabilities"].as_object_mut().unwrap();
    for set in sets.values_mut() {
        set.as_array_mut().unwrap().extend(more.iter().map(|name| json!(format!("CAP_{name}"))));
    }
    let id = id_of(&config);
    let bundle = place.bundle(&format!("bundle-{id}"), &config);
    let out = place.path("watcher.out");
    let mut create = place.command(&["create", "--bundle", bundle.to_str().unwrap(), &id]);
    let file = std::fs::File::create(&out).unwrap();
    assert!(create.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap().success());
    place.call(&["start", &id]).good();
    let said = || std::fs::read_to_string(&out).unwrap();
    assert!(wait_until(10, || said().contains("watching")), "{}", said());
    for n in 0..60u32 {
        place.call(&["exec", "--cwd", "/usr", &id, "true"]).good();
        if n.is_multiple_of(4) {
            let _ = place.call(&["exec", &id, "/no/such/program"]);
        }
    }
    place.delete(&id);
    Some(said())
}

#[test]
fn cve_2016_9962_a_joining_process_cannot_be_looked_into() {
    let test = "cve_2016_9962_a_joining_process_cannot_be_looked_into";
    if !can_run(test) {
        return;
    }
    let (place, before) = with_own_binary("join");
    // An ordinary container's root: it may not look at a process that has more rights than it has.
    let Some(said) = watched(&place, test, &[], true) else { return };
    println!("{said}");
    assert!(said.contains("unseen") && !said.contains("\nseen\n"), "{said}");
    assert!(!["MEMORY", "TRACED", "held", "WRITABLE"].iter().any(|word| said.contains(word)), "{said}");
    assert_eq!(checksum(&place.tool), before);
}

#[test]
fn cve_2019_5736_who_may_trace_can_hold_the_joining_binary_and_not_write_to_it() {
    let test = "cve_2019_5736_who_may_trace_can_hold_the_joining_binary_and_not_write_to_it";
    if !can_run(test) {
        return;
    }
    let (place, before) = with_own_binary("race");
    for more in [&["SYS_PTRACE"][..], &["SYS_PTRACE", "SYS_ADMIN"]] {
        let Some(said) = watched(&place, test, more, false) else { return };
        println!("{more:?}: {said}");
        assert!(said.contains("\nheld\n"), "the attack came to nothing, and so did the test: {said}");
        assert!(!said.contains("WRITABLE") && !said.contains("busy"), "{more:?}: {said}");
        // Nothing of the host's can be reached through it, either.
        assert!(!said.contains("descriptor:") && !said.contains("ELSEWHERE"), "{more:?}: {said}");
    }
    assert_eq!(checksum(&place.tool), before);
}

/// A command with directories of the host open as 7, 8 and 9.
fn leaking(place: &Place, words: &[&str]) -> crate::bundles::Done {
    let plain = place.command(words);
    let mut command = Command::new("sh");
    command.args(["-c", "exec 7<\"$0\" 8<\"$0\" 9</; exec \"$@\""]).arg(place.outside()).arg(plain.get_program());
    command.args(plain.get_args()).stdin(Stdio::null());
    place.spawn_command(command, &format!("{words:?}")).end()
}

#[test]
fn cve_2024_21626_no_descriptor_and_no_working_directory_of_the_host_gets_in() {
    // And CVE-2016-9962.
    if !can_run("cve_2024_21626_no_descriptor_and_no_working_directory_of_the_host_gets_in") {
        return;
    }
    let place = Place::new("fds");
    let root = own_root(&place);
    link(root.join("cwd"), Path::new("/proc/self/fd/7"));
    let before = place.outside_now();
    let list = "ls /proc/self/fd | tr '\\n' ' '";
    let mut config = config_in(&root, &["sh", "-c", list]);
    let id = id_of(&config);
    let bundle = place.bundle("bundle", &config);
    let bundle = bundle.to_str().unwrap();
    assert_eq!(leaking(&place, &["run", "--bundle", bundle, &id]).good().trim(), "0 1 2 3");
    let steal = "cat secret ./secret ../secret ../outside/secret ../../outside/secret; pwd";
    let mut ways: Vec<String> = (3..24).map(|n| format!("/proc/self/fd/{n}")).collect();
    ways.extend(
        ["/proc/1/fd/7", "/proc/self/fd/7/..", "/proc/thread-self/fd/7", "/proc/self/cwd", "/proc/1/root/..", "/cwd"]
            .map(Into::into),
    );
    config["process"]["args"] = json!(["sh", "-c", steal]);
    for way in &ways {
        config["process"]["cwd"] = json!(way);
        place.bundle("bundle", &config);
        let done = leaking(&place, &["run", "--bundle", bundle, &id]);
        assert!(!done.out.contains("the host's"), "{way}: {}", done.out);
        place.assert_nothing_left(&id);
    }
    config["process"]["cwd"] = json!("/");
    config["process"]["args"] = json!(["sleep", "1000"]);
    let running = start(&place, &config);
    assert_eq!(leaking(&place, &["exec", &running, "sh", "-c", list]).good().trim(), "0 1 2 3");
    for way in &ways {
        let done = leaking(&place, &["exec", "--cwd", way, &running, "sh", "-c", steal]);
        assert!(!done.out.contains("the host's"), "{way}: {}", done.out);
    }
    place.delete(&running);
    assert_eq!(place.outside_now(), before);
}

#[test]
fn a_directory_as_standard_stream_is_no_way_out() {
    if !can_run("a_directory_as_standard_stream_is_no_way_out") {
        return;
    }
    let place = Place::new("stdin");
    let steal = ["cat", "/proc/self/fd/0/secret"];
    let mut config = config(&steal);
    let id = id_of(&config);
    let bundle = place.bundle("bundle", &config);
    let outside = || std::fs::File::open(place.outside()).unwrap();
    let with_stdin = |words: &[&str]| {
        let mut command = place.command(words);
        command.stdin(outside());
        place.spawn_command(command, &format!("{words:?}")).end()
    };
    let said = with_stdin(&["run", "--bundle", bundle.to_str().unwrap(), &id]).bad();
    assert!(said.contains("directory"), "{said}");
    let said = with_stdin(&["create", "--bundle", bundle.to_str().unwrap(), &id]).bad();
    assert!(said.contains("directory"), "{said}");
    place.assert_nothing_left(&id);
    config["process"]["args"] = json!(["sleep", "1000"]);
    let id = start(&place, &config);
    let said = with_stdin(&[&["exec", &id][..], &steal].concat()).bad();
    assert!(said.contains("directory"), "{said}");
    place.delete(&id);
}

#[test]
fn cve_2019_19921_a_link_at_proc_or_sys_is_refused() {
    // And CVE-2023-27561, CVE-2023-28642: the kernel's files would land where no mask covers them.
    if !can_run("cve_2019_19921_a_link_at_proc_or_sys_is_refused") {
        return;
    }
    let place = Place::new("proc-link");
    let root = own_root(&place);
    let before = place.outside_now();
    for at in ["proc", "sys", "dev"] {
        for target in ["/tmp", "tmp", "../../../../tmp", "/dangling", place.outside().to_str().unwrap()] {
            link(root.join(at), Path::new(target));
            let said = place.run(&config_in(&root, &["true"])).bad();
            assert!(said.contains(&format!("/{at}")), "{at} -> {target}: {said}");
        }
        std::fs::remove_file(root.join(at)).unwrap();
        std::fs::create_dir(root.join(at)).unwrap();
    }
    assert_eq!(place.outside_now(), before);
}

#[test]
fn cve_2019_16884_a_faked_procfs_gets_no_kernel_parameter() {
    // And CVE-2025-52881: what is written goes to the kernel or nowhere, whatever a volume shows at /proc.
    if !can_run("cve_2019_16884_a_faked_procfs_gets_no_kernel_parameter") {
        return;
    }
    let place = Place::new("fake");
    let fake = place.path("fake");
    let files = ["sys/net/ipv4/ip_forward", "self/attr/exec", "self/attr/apparmor/exec", "thread-self/attr/exec"];
    for file in files {
        let file = fake.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "fake\n").unwrap();
    }
    link(fake.join("sys/net/ipv4/tcp_syncookies"), Path::new("/outside/secret"));
    let root = own_root(&place);
    let mut config = config_in(&root, &["cat", "/real/sys/net/ipv4/ip_forward"]);
    std::fs::create_dir(root.join("real")).unwrap();
    config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "net.ipv4.tcp_syncookies": "0" });
    let bind = |at: &str, from: &Path| json!({ "destination": at, "source": from, "options": ["rbind", "rw"] });
    push(&mut config, "/mounts", json!({ "destination": "/real", "type": "proc", "source": "proc" }));
    push(&mut config, "/mounts", bind("/outside", &place.outside()));
    // Over the real one, in its place, and on a part of it.
    for (at, from) in [("/proc", fake.clone()), ("/proc/sys", fake.join("sys")), ("/proc/self", fake.join("self"))] {
        let mut config = config.clone();
        push(&mut config, "/mounts", bind(at, &from));
        let done = place.run(&config);
        assert!(!done.ok() || done.out == "1\n", "{at}: {}{}", done.out, done.err);
        if !done.ok() {
            crate::bundles::assert_one_line(&done.err);
        }
    }
    let mut instead = config.clone();
    instead["mounts"][0] = bind("/proc", &fake);
    let done = place.run(&instead);
    assert_eq!(done.out, "1\n", "{}", done.err);
    for file in files {
        assert_eq!(std::fs::read_to_string(fake.join(file)).unwrap(), "fake\n", "{file}");
    }
    assert_eq!(std::fs::read_to_string(place.outside().join("secret")).unwrap(), "the host's\n");
}

#[test]
fn kernel_parameters_of_the_host_are_refused() {
    if !can_run("kernel_parameters_of_the_host_are_refused") {
        return;
    }
    let place = Place::new("sysctl");
    let read = |name: &str| std::fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
    let files = ["kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "vm/swappiness", "kernel/hotplug"];
    let before: Vec<String> = files.iter().map(|file| read(file)).collect();
    for name in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net/ipv4/../../kernel/modprobe",
        "net.ipv4/../../kernel/modprobe",
        "/net/ipv4/ip_forward",
        "net//ipv4",
        "fs.binfmt_misc.register",
        "fs/binfmt_misc/register",
        "kernel.modprobe",
        "kernel.hotplug",
        "kernel.hostname",
        "kernel.usermodehelper.bset",
        "vm.swappiness",
        "net.ipv4.ip_forward\0x",
        "net.ipv4.ip_forward\nkernel.panic",
        "net\u{2024}ipv4",
        "",
        ".",
        "net",
        &format!("net.{}", "x".repeat(5000)),
        &format!("net.{}", "x.".repeat(3000)),
    ] {
        let mut config = config(&["true"]);
        config["linux"]["sysctl"] = json!({ name: "|/bin/sh" });
        place.run(&config).bad();
    }
    assert_eq!(files.iter().map(|file| read(file)).collect::<Vec<_>>(), before);
}

/// Binds, tmpfs, devices, a working directory and the usual mounts, as targets in a root that lies.
fn with_targets(root: &Path, command: &[&str]) -> Value {
    let mut config = config_in(root, command);
    for (at, from) in [("/vol/a/b", "/usr"), ("/vol/file", "/etc/passwd"), ("/etc/resolv.conf", "/etc/hostname")] {
        push(&mut config, "/mounts", json!({ "destination": at, "source": from, "options": ["rbind", "ro"] }));
    }
    let tmpfs = |at: &str, options: &[&str]| json!({ "destination": at, "type": "tmpfs", "source": "tmpfs", "options": options });
    push(&mut config, "/mounts", tmpfs("/vol/t", &["size=64k"]));
    push(&mut config, "/mounts", tmpfs("/vol/up", &["size=64k", "tmpcopyup"]));
    push(&mut config, "/mounts", tmpfs("/vol/nofollow/deep", &["size=64k", "dest-nofollow"]));
    config["process"]["cwd"] = json!("/vol/w");
    config["linux"]["devices"] = json!([{ "path": "/vol/null", "type": "c", "major": 1, "minor": 3 }]);
    config["linux"]["maskedPaths"] = json!(["/vol/masked", "/proc/kcore"]);
    config["linux"]["readonlyPaths"] = json!(["/vol/readonly", "/proc/sys"]);
    config
}

#[test]
fn cve_2021_30465_links_in_a_root_lead_nowhere_outside() {
    // And CVE-2024-45310: targets that are links when they are mounted on or made.
    if !can_run("cve_2021_30465_links_in_a_root_lead_nowhere_outside") {
        return;
    }
    let place = Place::new("links");
    let outside = place.outside();
    for dir in ["masked", "readonly", "a/b", "pts", "shm", "fs/cgroup"] {
        std::fs::create_dir_all(outside.join(dir)).unwrap();
    }
    let before = place.outside_now();
    let places = [
        "dev/pts",
        "dev/shm",
        "dev/mqueue",
        "etc",
        "etc/resolv.conf",
        "vol",
        "vol/a",
        "vol/t",
        "vol/up",
        "vol/w",
        "vol/null",
        "vol/nofollow",
        "vol/nofollow/deep",
        "vol/masked",
        "vol/readonly",
        "sys/fs",
        "bin/..",
    ];
    let inside = outside.strip_prefix("/").unwrap();
    let targets =
        [outside.clone(), Path::new(&"../".repeat(20)).join(inside), Path::new("/proc/self/root").join(inside)];
    let command =
        ["sh", "-c", "echo x >/vol/w/written; cat /vol/../secret /etc/secret /vol/secret /vol/up/secret; true"];
    // In an honest root all of it works, or nothing would be tried below.
    let root = own_root(&place);
    std::fs::create_dir_all(root.join("vol/up")).unwrap();
    std::fs::write(root.join("vol/up/copied"), "copied\n").unwrap();
    let honest = place.run(&with_targets(&root, &["cat", "/vol/up/copied", "/vol/w/../file"]));
    assert!(honest.out.starts_with("copied\nroot:"), "{}{}", honest.out, honest.err);
    for target in &targets {
        // Each alone, then all at once: a root full of links.
        for n in 0..=places.len() {
            let root = own_root(&place);
            link(root.join("vol/file"), &target.join("made"));
            let chosen = if n == places.len() { &places[..] } else { &places[n..=n] };
            for at in chosen.iter().filter(|at| !at.contains("..")) {
                let is_below = |other: &&str| at.strip_prefix(*other).is_some_and(|rest| rest.starts_with('/'));
                if !chosen.iter().any(is_below) {
                    link(root.join(at), target);
                }
            }
            let done = place.run(&with_targets(&root, &command));
            assert!(!done.out.contains("the host's"), "{chosen:?} -> {}: {}", target.display(), done.out);
            assert_eq!(place.outside_now(), before, "{chosen:?} -> {}: {}", target.display(), done.err);
        }
    }
}

#[test]
fn cve_2026_41579_a_dev_that_is_a_link_gets_no_nodes_elsewhere() {
    // And CVE-2026-47766. Without a mount of its own at /dev, and with a volume of the host where the link leads.
    if !can_run("cve_2026_41579_a_dev_that_is_a_link_gets_no_nodes_elsewhere") {
        return;
    }
    let place = Place::new("dev");
    let before = place.outside_now();
    for mounts in [false, true] {
        let root = own_root(&place);
        link(root.join("dev"), Path::new("/vol"));
        let mut config = config_in(&root, &["true"]);
        push(&mut config, "/mounts", json!({ "destination": "/vol", "source": place.outside(), "options": ["rbind"] }));
        if !mounts {
            let list = config["mounts"].as_array_mut().unwrap();
            list.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        } else {
            config["mounts"].as_array_mut().unwrap().rotate_right(1);
        }
        let said = place.run(&config).bad();
        assert!(said.contains("/dev") || said.contains("dev in"), "{said}");
        assert_eq!(place.outside_now(), before, "with a mount at /dev: {mounts}");
    }
}

#[test]
fn cve_2025_31133_a_mask_is_the_null_device_whatever_the_root_has_there() {
    if !can_run("cve_2025_31133_a_mask_is_the_null_device_whatever_the_root_has_there") {
        return;
    }
    let place = Place::new("mask");
    let program = ["sh", "-c", "stat -c '%t:%T' /masked /hidden; cat /masked; stat -c %t:%T /dev/null"];
    for target in ["/proc/sys/kernel/core_pattern", "/etc/passwd", "/dev/zero", "/dangling"] {
        for own_dev in [true, false] {
            let root = own_root(&place);
            std::fs::write(root.join("masked"), "hidden\n").unwrap();
            std::fs::write(root.join("hidden"), "hidden\n").unwrap();
            link(root.join("dev/null"), Path::new(target));
            let mut config = config_in(&root, &program);
            push(&mut config, "/linux/maskedPaths", json!("/masked"));
            push(&mut config, "/linux/maskedPaths", json!("/hidden"));
            if !own_dev {
                let list = config["mounts"].as_array_mut().unwrap();
                list.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            }
            let done = place.run(&config);
            if own_dev {
                assert_eq!(done.out, "1:3\n1:3\n1:3\n", "{target}: {}", done.err);
            } else {
                // A link where a device is to be is refused.
                assert!(done.bad().contains("/dev/null"), "{target}");
            }
        }
    }
}

#[test]
fn cve_2025_52565_a_console_is_the_terminal_and_nothing_else() {
    if !can_run("cve_2025_52565_a_console_is_the_terminal_and_nothing_else") {
        return;
    }
    let place = Place::new("console");
    let before = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let look = "stat -c '%t' /dev/console; head -c 5 /proc/kcore 2>/dev/null | wc -c; echo x 2>/dev/null >/proc/sys/kernel/core_pattern && \
                echo WRITTEN; echo x 2>/dev/null >/proc/sysrq-trigger && echo WRITTEN; true";
    for target in ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/kcore", "/etc/passwd", "/dangling"] {
        for at in ["dev/console", "dev/pts/0", "dev/ptmx", "dev/pts/ptmx"] {
            for own_dev in [true, false] {
                let root = own_root(&place);
                link(root.join(at), Path::new(target));
                let mut config = config_in(&root, &["sh", "-c", look]);
                config["process"]["terminal"] = json!(true);
                if !own_dev {
                    let list = config["mounts"].as_array_mut().unwrap();
                    list.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
                }
                let done = place.run(&config);
                let what = format!("{at} -> {target}, own /dev {own_dev}: {}{}", done.out, done.err);
                assert!(!done.out.contains("WRITTEN"), "{what}");
                if done.ok() {
                    let seen: Vec<&str> = done.out.split_whitespace().collect();
                    // Major number 0x88: a pseudo terminal.
                    assert_eq!(seen, ["88", "0"], "{what}");
                } else {
                    crate::bundles::assert_one_line(&done.err);
                    assert!(!own_dev, "{what}");
                }
            }
        }
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
}

#[test]
fn cve_2022_29162_no_capability_is_inheritable() {
    // And CVE-2022-27650.
    if !can_run("cve_2022_29162_no_capability_is_inheritable") {
        return;
    }
    let place = Place::new("inheritable");
    let look = ["sh", "-c", "grep -e CapInh -e CapAmb /proc/self/status"];
    let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n";
    let mut config = config(&look);
    all_capabilities(&mut config);
    assert_eq!(place.run(&config).good(), none);
    config["process"]["args"] = json!(["sleep", "1000"]);
    let id = start(&place, &config);
    for flags in [&[][..], &["--cap", "NET_ADMIN"], &["--cap", "CAP_SYS_ADMIN", "--user", "1000"]] {
        assert_eq!(place.call(&[&["exec"][..], flags, &[&id], &look].concat()).good(), none, "{flags:?}");
    }
    place.delete(&id);
}

#[test]
fn cve_2026_30892_a_user_is_parsed_strictly() {
    if !can_run("cve_2026_30892_a_user_is_parsed_strictly") {
        return;
    }
    let place = Place::new("user");
    let id = start(&place, &config(&["sleep", "1000"]));
    for user in [
        "",
        ":",
        "0x3e8",
        "+0",
        "-1",
        "4294967296",
        "4294967295",
        " 0",
        "0 ",
        ":0",
        "0:",
        "1000:+0",
        "1000:4294967296",
        "1e3",
        "nobody",
        "nobody\n",
        "0\u{660}",
        "1000:1000:0",
        "0,0",
    ] {
        let done = place.call(&["exec", "--user", user, &id, "id", "-u"]);
        assert_eq!(done.out, "", "{user:?}");
        assert!(done.bad().contains("numbers"), "{user:?}");
    }
    for gid in ["", "x", "-1", "4294967295", "0x1", "1,2"] {
        place.call(&["exec", "--additional-gids", gid, &id, "true"]).bad();
    }
    assert_eq!(place.call(&["exec", "-u", "2147483647:7", &id, "id"]).good().trim(), "uid=2147483647 gid=7");
    place.delete(&id);
}

#[test]
fn cve_2021_43784_what_is_too_long_for_a_message_is_refused() {
    if !can_run("cve_2021_43784_what_is_too_long_for_a_message_is_refused") {
        return;
    }
    let place = Place::new("netlink");
    for length in [16, 255, 4096, 65_531, 65_536, 131_073] {
        for (host, container) in [("x".repeat(length), "eth0".to_owned()), ("lo".to_owned(), "x".repeat(length))] {
            let mut config = config(&["true"]);
            config["linux"]["netDevices"] = json!({ host: { "name": container } });
            place.run(&config).bad();
        }
    }
    let many: serde_json::Map<String, Value> = (0..20_000).map(|n| (format!("no{n}"), json!({}))).collect();
    let mut config = config(&["true"]);
    config["linux"]["netDevices"] = many.into();
    place.run(&config).bad();
    // runc's: id maps whose text did not fit into 16 bits, so that what came after them was read as something else.
    let map = |count: u32| {
        (0..count).map(|n| json!({ "containerID": n, "hostID": 100_000 + n, "size": 1 })).collect::<Vec<_>>()
    };
    for count in [340, 341, 5_000, 60_000] {
        let mut config = crate::bundles::config(&["cat", "/proc/self/uid_map"]);
        push(&mut config, "/linux/namespaces", json!({ "type": "user" }));
        config["linux"]["uidMappings"] = map(count).into();
        config["linux"]["gidMappings"] = map(count).into();
        let done = place.run(&config);
        if done.ok() {
            // Adjoining lines may have been made one.
            assert!(done.out.split_whitespace().count() >= 3, "{}", done.out);
        } else {
            done.bad();
        }
    }
}

#[test]
fn cve_2023_25809_control_groups_cannot_be_written_to_or_seen() {
    if !can_run("cve_2023_25809_control_groups_cannot_be_written_to_or_seen") {
        return;
    }
    let place = Place::new("cgroup");
    let neighbour = start(&place, &config(&["sleep", "1000"]));
    let attack = format!(
        "mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null && echo MADE; \
         for f in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/*/release_agent \
         /sys/fs/cgroup/release_agent /sys/fs/cgroup/devices/devices.allow /sys/fs/cgroup/memory/memory.limit_in_bytes; \
         do [ -e $f ] && (: >>$f) 2>/dev/null && echo WRITABLE $f; done; \
         find /sys/fs/cgroup -name '*{neighbour}*'; ls -d /sys/fs/cgroup/*/system.slice 2>/dev/null; echo tried"
    );
    for own_namespace in [true, false] {
        let mut config = config(&["sh", "-c", &attack]);
        all_capabilities(&mut config);
        if !own_namespace {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "cgroup");
        }
        let said = place.run(&config).good();
        assert_eq!(said, "tried\n", "own namespace: {own_namespace}");
    }
    place.delete(&neighbour);
}

#[test]
fn a_container_is_never_left_frozen() {
    if !can_run("a_container_is_never_left_frozen") {
        return;
    }
    let place = Place::new("frozen");
    let started = || start_listening(&place);
    let status = |id: &str| place.status(id).unwrap();
    let stops = |id: &str| wait_until(10, || place.status(id).is_none_or(|status| status == "stopped"));

    let id = started();
    place.call(&["pause", &id]).good();
    assert_eq!(status(&id), "paused");
    // What fails leaves it as it was; and what worked is not undone.
    for signal in ["NOPE", "65", "-9", ""] {
        place.call(&["kill", &id, signal]).bad();
    }
    assert_eq!(status(&id), "paused");
    place.call(&["pause", &id]).bad();
    place.call(&["exec", &id, "true"]).bad();
    place.call(&["kill", &id, "TERM"]).good();
    assert_eq!(status(&id), "paused");
    place.call(&["resume", &id]).good();
    assert!(stops(&id), "a signal to a paused container is lost");
    place.delete(&id);

    for kill in [&["kill", "ID", "KILL"][..], &["kill", "--all", "ID", "9"], &["delete", "--force", "ID"]] {
        let id = started();
        place.call(&["pause", &id]).good();
        let words: Vec<&str> = kill.iter().map(|word| if *word == "ID" { id.as_str() } else { *word }).collect();
        place.call(&words).good();
        assert!(stops(&id), "{kill:?} leaves it frozen");
        place.delete(&id);
    }

    // Paused before it was started: it is paused, cannot be started so, and can go on.
    for (then, expected) in [("resume", "created"), ("delete", "")] {
        let config = config(&["sleep", "1000"]);
        let id = id_of(&config);
        let bundle = place.bundle(&format!("bundle-{id}"), &config);
        place.create(&bundle, &id).good();
        place.call(&["pause", &id]).good();
        assert_eq!(status(&id), "paused");
        let said = place.call(&["start", &id]).bad();
        assert!(said.contains("paused"), "{said}");
        if then == "resume" {
            place.call(&["resume", &id]).good();
            assert_eq!(status(&id), expected);
            place.call(&["start", &id]).good();
            assert_eq!(status(&id), "running");
        }
        place.delete(&id);
    }
}

#[test]
fn a_container_whose_groups_are_gone_can_still_be_ended() {
    if !can_run("a_container_whose_groups_are_gone_can_still_be_ended") {
        return;
    }
    let place = Place::new("no-groups");
    for end in [
        &["kill", "ID", "KILL"][..],
        &["kill", "--all", "ID", "KILL"],
        &["kill", "--all", "ID"],
        &["delete", "--force", "ID"],
    ] {
        let id = start_listening(&place);
        for group in groups(&id) {
            let above = Path::new(&group).parent().unwrap().join("cgroup.procs");
            let gone = || {
                for pid in std::fs::read_to_string(format!("{group}/cgroup.procs")).unwrap_or_default().lines() {
                    // It makes processes all the time, which end.
                    let _ = std::fs::write(&above, pid);
                }
                std::fs::remove_dir(&group).is_ok() || !Path::new(&group).exists()
            };
            assert!(wait_until(5, gone), "{group}");
        }
        assert!(groups(&id).is_empty());
        assert_eq!(place.status(&id).as_deref(), Some("running"));
        assert!(place.call(&["list"]).good().contains(&id));
        for verb in ["pause", "resume"] {
            place.call(&[verb, &id]).bad();
        }
        let words: Vec<&str> = end.iter().map(|word| if *word == "ID" { id.as_str() } else { *word }).collect();
        place.call(&words).good();
        let ended = || place.status(&id).is_none_or(|status| status == "stopped");
        assert!(wait_until(5, ended), "{end:?} did nothing and said that it did");
        place.delete(&id);
    }
}

#[test]
fn a_failure_is_one_line_and_a_log_that_callers_can_read() {
    if !can_run("a_failure_is_one_line_and_a_log_that_callers_can_read") {
        return;
    }
    let place = Place::new("errors");
    let long = "x".repeat(100_000);
    type Change<'a> = (&'a str, Value);
    let changes: [Change; 16] = [
        ("/process/cwd", json!("/bin/sh/\n\u{1b}[31m\u{7}red\r\nlevel=info")),
        ("/process/cwd", json!("relative")),
        ("/process/cwd", json!(format!("/{long}"))),
        ("/process/args/0", json!("no\nsuch\u{1b}]0;title\u{7}program")),
        ("/process/args/0", json!(long)),
        ("/process/args/0", json!(format!("/{}", "y/".repeat(3000)))),
        ("/process/args", json!([])),
        ("/hostname", json!("a\nb".repeat(40))),
        ("/root/path", json!("no\nsuch\"root\\")),
        ("/mounts/0/destination", json!("/bin/busybox/\n\u{85}x")),
        ("/mounts/0/options", json!(["no\nsuch=option"])),
        ("/mounts/0/type", json!("no\nsuch")),
        ("/linux/sysctl", json!({ "net.\n": "x" })),
        ("/linux/cgroupsPath", json!("/a\nb")),
        ("/ociVersion", json!("9.9\n9")),
        (
            "/hooks",
            json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", "echo one; echo two; exit 3"] }] }),
        ),
    ];
    for (at, value) in changes {
        let mut config = config(&["true"]);
        match config.pointer_mut(at) {
            Some(there) => *there = value.clone(),
            None => match at.rsplit_once('/').unwrap() {
                ("", name) => config[name] = value.clone(),
                (section, name) => config.pointer_mut(section).unwrap()[name] = value.clone(),
            },
        }
        let id = id_of(&config);
        let bundle = place.bundle(&format!("bundle-{id}"), &config);
        for format in ["json", "text"] {
            let log = place.path(&format!("{id}.{format}"));
            let flags = ["--log", log.to_str().unwrap(), "--log-format", format];
            let words = [&flags[..], &["create", "--bundle", bundle.to_str().unwrap(), &id]].concat();
            let shown: String = value.to_string().chars().take(80).collect();
            println!("{at} {shown}");
            place.call(&words).bad();
            let text = std::fs::read_to_string(&log).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(text.len() < 16_384, "a reader's buffer is not endless: {} bytes", text.len());
            if format == "json" {
                let line: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(line["level"], "error");
                assert!(
                    line["msg"].as_str().unwrap().len() > 20 && line["time"].as_str().unwrap().len() >= 20,
                    "{line}"
                );
            }
            place.assert_nothing_left(&id);
        }
    }
}

#[test]
fn steps_that_are_told_do_not_disturb_a_reader_of_the_log() {
    if !can_run("steps_that_are_told_do_not_disturb_a_reader_of_the_log") {
        return;
    }
    let place = Place::new("debug");
    let config = config(&["true"]);
    let (id, log) = (id_of(&config), place.path("log"));
    let bundle = place.bundle("bundle", &config);
    let flags = ["--debug", "--log", log.to_str().unwrap(), "--log-format", "json"];
    place.call(&[&flags[..], &["create", "-b", bundle.to_str().unwrap(), &id]].concat()).good();
    place.call(&[&flags[..], &["start", &id]].concat()).good();
    place.call(&[&flags[..], &["pause", "nobody"]].concat()).bad();
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<&str> = lines.iter().filter_map(|line| line["step"].as_str()).collect();
    for step in ["claim-id", "make-cgroup", "clone-namespaces", "pivot-root", "record-init", "start", "exec"] {
        assert!(steps.contains(&step), "{step}: {steps:?}");
    }
    let errors: Vec<&Value> = lines.iter().filter(|line| line["level"] == "error").collect();
    assert!(errors.len() == 1 && errors[0]["msg"].as_str().unwrap().contains("does not exist"), "{errors:?}");
    place.delete(&id);
    // Without a log they are told on standard error, one a line.
    let done = place.call(&["--debug", "list"]);
    assert!(done.ok(), "{}", done.err);
}

#[test]
fn hooks_receive_the_state_in_the_specification_s_shape() {
    if !can_run("hooks_receive_the_state_in_the_specification_s_shape") {
        return;
    }
    let place = Place::new("hooks");
    let root = own_root(&place);
    let mut config = config_in(&root, &["true"]);
    let id = id_of(&config);
    let out = place.path("out");
    std::fs::create_dir(&out).unwrap();
    push(&mut config, "/mounts", json!({ "destination": "/out", "source": out, "options": ["rbind", "rw"] }));
    let hook = |kind: &str, dir: &str| {
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat >{dir}/{kind}")] ,
        "env": ["PATH=/usr/bin:/bin"] }])
    };
    let host = out.to_str().unwrap();
    config["hooks"] = json!({
        "prestart": hook("prestart", host), "createRuntime": hook("createRuntime", host),
        "createContainer": hook("createContainer", host), "startContainer": hook("startContainer", "/out"),
        "poststart": hook("poststart", host), "poststop": hook("poststop", host),
    });
    let id_again = start(&place, &config);
    assert_eq!(id, id_again);
    let stopped = || place.status(&id).as_deref() == Some("stopped");
    assert!(wait_until(5, stopped));
    place.delete(&id);
    let statuses = [
        ("prestart", "creating", true),
        ("createRuntime", "creating", true),
        ("createContainer", "creating", true),
        ("startContainer", "created", true),
        ("poststart", "running", true),
        ("poststop", "stopped", false),
    ];
    for (kind, status, has_pid) in statuses {
        let text = std::fs::read_to_string(out.join(kind)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let state: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(state["ociVersion"], "1.0.2", "{kind}");
        assert_eq!((state["id"].as_str(), state["status"].as_str()), (Some(id.as_str()), Some(status)), "{kind}");
        assert_eq!(state["bundle"].as_str().unwrap(), place.path(&format!("bundle-{id}")).to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"]["id"], id, "{kind}");
        assert_eq!(state["pid"].as_i64().is_some_and(|pid| pid > 0), has_pid, "{kind}: {state}");
    }
}

#[test]
fn names_that_lead_elsewhere_or_are_too_long_are_refused() {
    if !can_run("names_that_lead_elsewhere_or_are_too_long_are_refused") {
        return;
    }
    let place = Place::new("names");
    let before = place.outside_now();
    let good = config(&["true"]);
    let bundle = place.bundle("bundle", &good);
    let long = "x".repeat(4096);
    for id in
        ["", ".", "..", "../outside/x", "/x", "a/b", ".start", "a b", "a\nb", "ä", "a:b", &long, &"x".repeat(256), "-"]
    {
        for verb in ["create", "run", "state", "start", "kill", "pause", "resume", "ps", "exec", "update", "events"] {
            let words = match verb {
                "create" | "run" => vec![verb, "--bundle", bundle.to_str().unwrap(), "--", id],
                "exec" => vec![verb, "--", id, "true"],
                "update" => vec![verb, "--pids-limit", "5", "--", id],
                _ => vec![verb, "--", id],
            };
            if id == "-" && matches!(verb, "create" | "run") {
                continue;
            }
            let done = place.call(&words);
            assert!(!done.ok(), "{verb} {id:?}: {}{}", done.out, done.err);
        }
        assert_eq!(place.call(&["delete", "--", id]).status.code(), Some(1), "{id:?}");
    }
    let changes = [
        ("/linux/cgroupsPath", json!("/../../x")),
        ("/linux/cgroupsPath", json!("/a/../../x")),
        ("/linux/cgroupsPath", json!("/")),
        ("/linux/cgroupsPath", json!("..")),
        ("/linux/cgroupsPath", json!("/a\0b")),
        ("/linux/cgroupsPath", json!(format!("/{long}"))),
        ("/linux/cgroupsPath", json!(format!("/{}", "a/".repeat(2500)))),
        ("/process/env", json!(["A=\0B"])),
        ("/process/args", json!(["true\0x"])),
        ("/process/args", json!(["true", "\0"])),
        ("/process/cwd", json!("/\0")),
        ("/process/cwd", json!(format!("/{long}"))),
        ("/hostname", json!("a\0b")),
        ("/hostname", json!("h".repeat(65))),
        ("/root/path", json!("\0")),
        ("/root/path", json!(long)),
        ("/root/path", json!("/")),
        ("/root/path", json!("../../../../../../../../../..")),
        ("/root/path", json!("")),
        ("/mounts/1/destination", json!("/dev\0")),
        ("/mounts/1/destination", json!(format!("/{long}"))),
        ("/mounts/1/destination", json!(format!("/{}", "d/".repeat(2048)))),
        ("/mounts/1/type", json!("tmp\0fs")),
        ("/mounts/1/options", json!(["size=\0"])),
        ("/linux/maskedPaths", json!([format!("/{long}")])),
        ("/linux/maskedPaths", json!(["/a\0"])),
        ("/linux/readonlyPaths", json!(["/a\0"])),
    ];
    for (at, value) in changes {
        let mut config = config(&["true"]);
        match config.pointer_mut(at) {
            Some(there) => *there = value.clone(),
            None => config["linux"]["cgroupsPath"] = value.clone(),
        }
        let shown: String = value.to_string().chars().take(60).collect();
        println!("{at} {shown}");
        let said = place.run(&config).bad();
        assert!(said.len() > 40, "{said}");
    }
    // A variable without `=`, twice the same, and a megabyte are all the program's own affair.
    let mut config = config(&["sh", "-c", "env | wc -c"]);
    config["process"]["env"] =
        json!(["PATH=/bin", "NOTHING", "A=1", "A=2", "=", "", format!("B={}", "b".repeat(100_000))]);
    assert!(place.run(&config).good().trim().parse::<u32>().unwrap() > 100_000);
    assert_eq!(place.outside_now(), before);
}

#[test]
fn numbers_beyond_everything_are_refused() {
    if !can_run("numbers_beyond_everything_are_refused") {
        return;
    }
    let place = Place::new("numbers");
    let good = config(&["true"]);
    let id = id_of(&good);
    let bundle = place.bundle("bundle", &good);
    let bundle = bundle.to_str().unwrap();
    let running = start(&place, &config(&["sleep", "1000"]));
    for count in
        ["4294967295", "4294967294", "4294967293", "4294967292", "2147483647", "1000", "5", "-1", "4294967296", "x"]
    {
        place.call(&["create", "--preserve-fds", count, "-b", bundle, &id]).bad();
        place.call(&["exec", "--preserve-fds", count, &running, "true"]).bad();
        place.assert_nothing_left(&id);
    }
    for count in ["4294967295", "4294967293", "7"] {
        let mut command = place.command(&["create", "-b", bundle, &id]);
        command.env("LISTEN_FDS", count).env_remove("LISTEN_PID");
        place.spawn_command(command, "create with LISTEN_FDS").end().bad();
        let mut command = place.command(&["create", "--preserve-fds", "4294967290", "-b", bundle, &id]);
        command.env("LISTEN_FDS", count).env_remove("LISTEN_PID");
        place.spawn_command(command, "create with LISTEN_FDS and --preserve-fds").end().bad();
        place.assert_nothing_left(&id);
    }
    place.delete(&running);
    // A hook that may take for ever, nearly.
    for timeout in [i64::MAX, i64::MAX / 1000, 1 << 40] {
        let mut config = config(&["true"]);
        config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/true", "timeout": timeout }] });
        place.run(&config).good();
    }
    for timeout in [0, -1, i64::MIN] {
        let mut config = config(&["true"]);
        config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/true", "timeout": timeout }] });
        place.run(&config).bad();
    }
}

#[test]
fn what_is_no_bundle_is_refused_and_nothing_waits_for_it() {
    if !can_run("what_is_no_bundle_is_refused_and_nothing_waits_for_it") {
        return;
    }
    let place = Place::new("bundles");
    let good = config(&["true"]);
    let id = id_of(&good);
    let kinds: [(&str, &str); 9] = [
        ("a pipe", "mkfifo config.json"),
        ("a directory", "mkdir config.json"),
        ("a device", "ln -s /dev/zero config.json"),
        ("a terminal", "ln -s /dev/ptmx config.json"),
        ("nothing", "true"),
        ("a dangling link", "ln -s nowhere config.json"),
        ("a loop", "ln -s config.json config.json"),
        ("an empty file", ": >config.json"),
        ("a file without end", "truncate -s 1T config.json"),
    ];
    for (n, (what, make)) in kinds.iter().enumerate() {
        let dir = place.path(&format!("kind-{n}"));
        std::fs::create_dir(&dir).unwrap();
        assert!(Command::new("sh").args(["-ec", make]).current_dir(&dir).status().unwrap().success());
        println!("{what}");
        place.create(&dir, &id).bad();
    }
    let dir = place.path("socket");
    std::fs::create_dir(&dir).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.join("config.json")).unwrap();
    place.create(&dir, &id).bad();
    for text in ["", "{", "null", "[]", "7", "\"x\"", "{}", "{\"ociVersion\":\"1.0.0\"}", "\u{feff}{}"] {
        let dir = place.raw_bundle("text", text.as_bytes());
        place.create(&dir, &id).bad();
    }
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    for bytes in [b"\xff\xfe{}".to_vec(), vec![0; 4096], deep, [b"{\"x\":".repeat(50_000), b"1".to_vec()].concat()] {
        let dir = place.raw_bundle("bytes", &bytes);
        place.create(&dir, &id).bad();
    }
    // The root: a link to one is one; the host's own, a file, a pipe and nothing are none.
    let roots: [(&str, PathBuf, bool); 7] = [
        ("a link", busybox_root().to_owned(), true),
        ("the host's", "/".into(), false),
        ("the host's by a magic link", "/proc/self/root".into(), false),
        ("the host's by a process", "/proc/1/root/".into(), false),
        ("a file", "/etc/passwd".into(), false),
        ("a device", "/dev/null".into(), false),
        ("nothing", "/no/such/root".into(), false),
    ];
    for (what, target, works) in roots {
        link(place.path("rootfs"), &target);
        let mut config = config(&["true"]);
        config["root"]["path"] = json!(place.path("rootfs"));
        let done = place.run(&config);
        assert_eq!(done.ok(), works, "{what}: {}", done.err);
        if !works {
            done.bad();
        }
    }
    let mut config = good.clone();
    config["root"]["path"] = json!("pipe");
    let dir = place.bundle("piped", &config);
    assert!(Command::new("mkfifo").arg(dir.join("pipe")).status().unwrap().success());
    place.create(&dir, &id).bad();
    place.assert_nothing_left(&id);
}

#[test]
fn a_container_whose_bundle_is_gone_is_like_any_other() {
    if !can_run("a_container_whose_bundle_is_gone_is_like_any_other") {
        return;
    }
    let place = Place::new("vanished");
    for when in ["before start", "after start"] {
        let mut config = config(&["sleep", "1000"]);
        let id = id_of(&config);
        config["hooks"] = json!({ "poststop": [{ "path": "/bin/true" }] });
        let bundle = place.bundle(&format!("bundle-{id}"), &config);
        place.create(&bundle, &id).good();
        if when == "before start" {
            std::fs::remove_dir_all(&bundle).unwrap();
        }
        place.call(&["start", &id]).good();
        let _ = std::fs::remove_dir_all(&bundle);
        assert_eq!(place.status(&id).as_deref(), Some("running"));
        assert!(place.call(&["list"]).good().contains(&id));
        place.call(&["exec", &id, "true"]).good();
        place.call(&["update", "--pids-limit", "50", &id]).good();
        place.call(&["kill", &id, "KILL"]).good();
        assert!(wait_until(5, || place.status(&id).as_deref() == Some("stopped")));
        place.call(&["delete", &id]).good();
        place.assert_nothing_left(&id);
    }
}

#[test]
fn a_container_that_fills_its_streams_holds_nobody_up() {
    if !can_run("a_container_that_fills_its_streams_holds_nobody_up") {
        return;
    }
    let place = Place::new("full");
    let config = config(&["sh", "-c", "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done"]);
    let id = id_of(&config);
    let bundle = place.bundle("bundle", &config);
    // A pipe that nobody reads, and a device that is always full.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut create = place.command(&["create", "--bundle", bundle.to_str().unwrap(), &id]);
    assert!(create.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap().success());
    drop(create);
    place.call(&["start", &id]).good();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(place.status(&id).as_deref(), Some("running"));
    place.call(&["exec", &id, "true"]).good();
    place.call(&["pause", &id]).good();
    place.call(&["resume", &id]).good();
    place.delete(&id);
    drop(reader);
    let mut create = place.command(&["run", "--bundle", bundle.to_str().unwrap(), &id]);
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut running = create.stdout(full()).stderr(full()).spawn().unwrap();
    assert!(wait_until(10, || place.status(&id).as_deref() == Some("running")));
    place.call(&["kill", &id, "KILL"]).good();
    assert!(wait_until(10, || running.try_wait().unwrap().is_some()));
    place.assert_nothing_left(&id);
    // Errors that cannot be written are no reason to say that all is well.
    let status = place.command(&["state", "nobody"]).stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_hostile_console_socket_is_an_error_and_nothing_is_left() {
    if !can_run("a_hostile_console_socket_is_an_error_and_nothing_is_left") {
        return;
    }
    let place = Place::new("socket");
    let mut config = config(&["sleep", "1000"]);
    config["process"]["terminal"] = json!(true);
    let id = id_of(&config);
    let bundle = place.bundle("bundle", &config);
    let datagram = place.path("datagram");
    let _datagram = std::os::unix::net::UnixDatagram::bind(&datagram).unwrap();
    let closed = place.path("closed");
    drop(std::os::unix::net::UnixListener::bind(&closed).unwrap());
    let file = place.path("file");
    std::fs::write(&file, "untouched").unwrap();
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let long = PathBuf::from(format!("/{}", "x".repeat(4096)));
    link(place.path("loop"), &place.path("loop"));
    for socket in
        [&datagram, &closed, &file, &pipe, &long, &place.path("loop"), &place.path("nothing"), &place.outside()]
    {
        let words = ["create", "-b", bundle.to_str().unwrap(), "--console-socket", socket.to_str().unwrap(), &id];
        place.call(&words).bad();
        place.assert_nothing_left(&id);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "untouched");
    // One that nobody accepts at, and one whose owner hangs up at once: the terminal is gone, the container is not harmed.
    let mute = place.path("mute");
    let listener = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    let words = ["create", "-b", bundle.to_str().unwrap(), "--console-socket", mute.to_str().unwrap(), &id];
    place.call(&words).good();
    let _ = listener.accept().map(drop);
    assert_eq!(place.status(&id).as_deref(), Some("created"));
    let words = ["exec", "--detach", "--tty", "--console-socket", file.to_str().unwrap(), &id, "true"];
    place.call(&["start", &id]).good();
    place.call(&words).bad();
    place.delete(&id);
}

#[test]
fn files_that_a_caller_names_are_written_and_never_followed_or_half_written() {
    if !can_run("files_that_a_caller_names_are_written_and_never_followed_or_half_written") {
        return;
    }
    let place = Place::new("pid-file");
    let config = config(&["sleep", "1000"]);
    let id = id_of(&config);
    let bundle = place.bundle("bundle", &config);
    let before = place.outside_now();
    // In a directory that others can write to, they see the name of the draft coming.
    let dir = place.path("shared");
    std::fs::create_dir(&dir).unwrap();
    link(dir.join(".pid"), &place.outside().join("secret"));
    link(dir.join("pid"), &place.outside().join("secret"));
    let pid_file = dir.join("pid");
    place.call(&["create", "-b", bundle.to_str().unwrap(), "--pid-file", pid_file.to_str().unwrap(), &id]).good();
    assert_eq!(place.outside_now(), before);
    let pid: u32 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(Path::new("/proc").join(pid.to_string()).exists());
    assert!(!std::fs::symlink_metadata(&pid_file).unwrap().is_symlink());
    place.delete(&id);
    for bad in ["", "/", "/no/such/dir/pid", "/proc/pid", ".."] {
        let done = place.call(&["create", "-b", bundle.to_str().unwrap(), "--pid-file", bad, &id]);
        if bad.is_empty() {
            done.good();
            place.delete(&id);
        } else {
            done.bad();
            place.assert_nothing_left(&id);
        }
    }
}

#[test]
fn a_name_that_is_taken_is_not_used_twice() {
    if !can_run("a_name_that_is_taken_is_not_used_twice") {
        return;
    }
    let place = Place::new("taken");
    // One control group for two containers: the end of one would be the end of the other.
    let path = format!("/{}", unique("shared-group"));
    let mut first = config(&["sleep", "1000"]);
    first["linux"]["cgroupsPath"] = json!(path);
    let mut second = config(&["sleep", "1000"]);
    second["linux"]["cgroupsPath"] = json!(path);
    let one = start(&place, &first);
    place.run(&second).bad();
    assert_eq!(place.status(&one).as_deref(), Some("running"));
    let bundle = place.path(&format!("bundle-{one}"));
    let said = place.create(&bundle, &one).bad();
    assert!(said.contains("already exists") || said.contains("in use"), "{said}");
    assert_eq!(place.status(&one).as_deref(), Some("running"));
    place.delete(&one);
    assert!(groups(&path[1..]).is_empty());
}
