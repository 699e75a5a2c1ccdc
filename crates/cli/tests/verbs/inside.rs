//! What a container sees: namespaces, privileges, system call filter, /proc, /sys, /dev, mounts, limits of processes.

use crate::common::{
    Clean, Scratch, busybox_root, can_run, host_ok, in_private_mounts, need, run, run_ok, sh, sh_ok, stderr, stdout,
    tool,
};
use std::fs;
use std::path::Path;
use std::process::Command;

// --- namespaces ----------------------------------------------------------------------------------------------------

#[test]
fn the_command_is_pid_1_and_alone() {
    if !can_run("the_command_is_pid_1_and_alone") {
        return;
    }
    let _clean = Clean::watch();
    let output = run_ok(&["--network", "none", "host", "ps", "-e"]);
    let lines: Vec<Vec<&str>> = output.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines.len(), lines[1][0], lines[1][3]), (2, "1", "ps"), "{output}");
    // It leads a session of its own: the terminal that the tool was started from is not its.
    assert_eq!(sh_ok(&[], "cut -d' ' -f1,4-7 /proc/1/stat"), "1 0 1 1 0\n");
    assert_eq!(
        sh_ok(&[], "readlink /proc/1/root; readlink /proc/1/cwd; umask; ls -d /../bin"),
        "/\n/\n0022\n/../bin\n"
    );
}

#[test]
fn its_namespaces_are_its_own() {
    if !can_run("its_namespaces_are_its_own") {
        return;
    }
    let _clean = Clean::watch();
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let inside = |flags: &[&str]| {
        let output = sh_ok(flags, "for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done");
        output.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let outside: Vec<String> =
        kinds.map(|kind| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()).into();
    let (one, host_network) = (inside(&[]), inside(&["--network", "host"]));
    for (n, kind) in kinds.iter().enumerate() {
        assert_ne!(one[n], outside[n], "{kind}");
        assert_eq!(host_network[n] == outside[n], *kind == "net", "{kind} with --network host");
    }
    assert_eq!(sh_ok(&[], "ls /sys/class/net; cat /sys/class/net/lo/flags"), "lo\n0x9\n", "lo, up");
}

// --- privileges ----------------------------------------------------------------------------------------------------

const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

/// The capabilities that this test has itself: a container cannot be given more.
fn ours() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).unwrap();
    u64::from_str_radix(line, 16).unwrap()
}

fn status(flags: &[&str]) -> String {
    sh_ok(flags, "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status | tr '\\t' ' '")
}

#[test]
fn privileges_are_dockers_default() {
    if !can_run("privileges_are_dockers_default") {
        return;
    }
    let _clean = Clean::watch();
    let expected = "CapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\n\
                    CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n";
    assert_eq!(status(&[]), expected);
    assert_eq!(status(&["--security-opt", "no-new-privileges"]), expected.replace("NoNewPrivs: 0", "NoNewPrivs: 1"));
    assert_eq!(status(&["--security-opt", "seccomp=unconfined"]), expected.replace("Seccomp: 2", "Seccomp: 0"));
}

#[test]
fn capabilities_are_added_and_dropped() {
    if !can_run("capabilities_are_added_and_dropped") {
        return;
    }
    let _clean = Clean::watch();
    let all = (1 << 41) - 1;
    let cases: &[(&[&str], u64)] = &[
        (&["--cap-add", "NET_ADMIN"], DEFAULT_CAPABILITIES | 1 << 12),
        (&["--cap-add", "cap_sys_ptrace", "--cap-drop=CAP_CHOWN"], (DEFAULT_CAPABILITIES | 1 << 19) & !1),
        (&["--cap-drop", "ALL"], 0),
        (&["--cap-drop", "all", "--cap-add", "CHOWN"], 1),
        (&["--cap-add", "ALL"], all),
        (&["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"], all & !(1 << 21)),
        (&["--privileged"], all),
    ];
    for (flags, expected) in cases {
        let expected = expected & ours();
        let told = status(flags);
        for set in ["CapPrm", "CapEff"] {
            assert!(told.contains(&format!("{set}: {expected:016x}")), "{flags:?}: {expected:016x} in {told}");
        }
        assert!(
            told.contains("CapInh: 0000000000000000") && told.contains("CapAmb: 0000000000000000"),
            "{flags:?}: {told}"
        );
    }
    assert!(status(&["--privileged"]).contains("Seccomp: 0"));
    // A capability is what it can do.
    assert!(sh_ok(&[], "chown 7 /tmp/x 2>&1; touch /t1 && chown 7 /t1 && stat -c %u /t1; rm /t1").ends_with("7\n"));
    assert_eq!(sh(&["--cap-drop", "CHOWN"], "touch /t2; chown 7 /t2; r=$?; rm /t2; exit $r").status.code(), Some(1));
    assert_ne!(sh(&[], "hostname x").status.code(), Some(0));
    assert_eq!(sh(&["--cap-add", "SYS_ADMIN"], "mount -t tmpfs t /home && umount /home").status.code(), Some(0));
}

/// Perl makes system calls by number: prints the errno of each.
fn errnos(flags: &[&str], calls: &str) -> String {
    let script = format!("for my $c ({calls}) {{ $! = 0; syscall($c->[0], @$c[1..$#$c]); print int($!), ' '; }}");
    run_ok(&[&["--network", "none"], flags, &["host", "perl", "-e", &script]].concat())
}

#[test]
fn the_default_filter_refuses_what_a_container_has_no_need_of() {
    if !can_run("the_default_filter_refuses_what_a_container_has_no_need_of")
        || !need("default filter", cfg!(target_arch = "x86_64"), "its numbers are those of x86-64")
        || !need("default filter", Path::new("/usr/bin/perl").exists(), "it needs perl")
    {
        return;
    }
    let _clean = Clean::watch();
    // keyctl, add_key, unshare(user), mount, bpf, kexec_load, init_module, io_uring_setup, userfaultfd, setns, swapon,
    // open_by_handle_at, perf_event_open, pivot_root, clone3
    let calls = "[250,0,-3,0],[248,0,0,0,0,0],[272,0x10000000],[165,0,0,0,0,0],[321,0,0,0],[246,0,0,0,0],[175,0,0,0],\
                 [425,1,0],[323,0],[308,0,0],[167,0,0],[304,0,0,0],[298,0,0,0,0,0],[155,0,0],[435,0,0]";
    assert_eq!(errnos(&[], calls), "1 1 1 1 1 1 1 1 1 1 1 1 1 1 38 ");
    // Without it the kernel itself answers to the first three, and to clone3: the test can tell.
    let answers =
        errnos(&["--security-opt", "seccomp=unconfined"], "[250,0,-3,0],[248,0,0,0,0,0],[272,0x10000000],[435,0,0]");
    let answers: Vec<&str> = answers.split(' ').collect();
    assert!(answers[0] != "1" && answers[1] != "1" && answers[2] == "0" && answers[3] == "22", "{answers:?}");
}

#[test]
fn a_profile_from_a_file_is_loaded() {
    if !can_run("a_profile_from_a_file_is_loaded") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("profile");
    let profile = |errno: &str| {
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
                {{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"{errno}}}]}}"#
        );
        format!("seccomp={}", scratch.file("profile.json", text, 0o644))
    };
    let script = "mkdir /tmp/x 2>&1; touch /tmp/y && echo made";
    let output = sh_ok(&["--tmpfs", "/tmp", "--security-opt", &profile("")], script);
    assert_eq!(output, "mkdir: can't create directory '/tmp/x': Operation not permitted\nmade\n");
    let output = sh_ok(&["--tmpfs", "/tmp", "--security-opt", &profile(r#","errnoRet":28"#)], script);
    assert_eq!(output, "mkdir: can't create directory '/tmp/x': No space left on device\nmade\n");
    // With every combination of privileges that changes when it is loaded.
    for flags in
        [&["--security-opt", "no-new-privileges"][..], &["--privileged"], &["-u", "ann"], &["--cap-drop", "ALL"]]
    {
        let filter = profile("");
        let output = sh_ok(&[&["--tmpfs", "/tmp", "--security-opt", &filter], flags].concat(), script);
        assert!(output.contains("not permitted"), "{flags:?}: {output}");
    }
}

#[test]
fn no_new_privileges_makes_set_user_id_programs_plain() {
    if !can_run("no_new_privileges_makes_set_user_id_programs_plain") {
        return;
    }
    let _clean = Clean::watch();
    // Not in /tmp, which may be mounted nosuid and nodev.
    let scratch = Scratch::under(Path::new("/opt"), "setuid");
    // Not busybox's: that gives the rights up by itself.
    scratch.file("id", fs::read("/usr/bin/id").unwrap(), 0o4755);
    let volume = format!("{}:/x", scratch.0.display());
    assert_eq!(host_ok(&["-v", &volume, "-u", "1000"], "/x/id -u"), "0\n");
    let flags = ["-v", &volume, "-u", "1000", "--security-opt", "no-new-privileges"];
    assert_eq!(host_ok(&flags, "/x/id -u"), "1000\n");
}

// --- /proc and /sys ------------------------------------------------------------------------------------------------

#[test]
fn what_shows_the_hosts_kernel_is_masked() {
    if !can_run("what_shows_the_hosts_kernel_is_masked") {
        return;
    }
    let _clean = Clean::watch();
    let masked = "/proc/asound /proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list \
                  /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap";
    let script = format!(
        "for p in {masked}; do if [ -d $p ]; then ls -A $p; else head -c 10 $p 2>/dev/null; fi; done; \
         [ -f /proc/keys -o -c /proc/keys ] && echo there"
    );
    for root in [busybox_root().to_str().unwrap(), "host"] {
        assert_eq!(run_ok(&["--network", "none", root, "sh", "-c", &script]), "there\n", "{root}");
    }
    assert!(!sh_ok(&["--privileged"], "head -c 10 /proc/interrupts").is_empty(), "without masks there is something");
    // With all capabilities, yet not privileged: the masks cannot be taken off by a remount of /proc... only by force.
    let output = sh_ok(&["--cap-add", "SYS_PTRACE"], "cat /proc/keys /proc/timer_list | wc -c");
    assert_eq!(output, "0\n");
}

#[test]
fn what_changes_the_hosts_kernel_is_read_only() {
    if !can_run("what_changes_the_hosts_kernel_is_read_only") {
        return;
    }
    let _clean = Clean::watch();
    let script = r#"for path do true > "$path"; done 2>&1 | grep -o 'ead-only file system'"#;
    let paths = ["/proc/sys/kernel/hostname", "/proc/sys/vm/swappiness", "/sys/kernel/x", "/sys/fs/cgroup/x"];
    let root = busybox_root().to_str().unwrap();
    let output = run_ok(&[&["--network", "none", root, "sh", "-c", script, "sh"], &paths[..]].concat());
    assert_eq!(output, "ead-only file system\n".repeat(paths.len()));
    let mounts = sh_ok(&[], "cut -d' ' -f2,4 /proc/self/mounts");
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] {
        let sealed = format!("{path} ro,nosuid,nodev,noexec");
        assert!(!Path::new(path).exists() || mounts.lines().any(|line| line.starts_with(&sealed)), "{path}: {mounts}");
    }
    let output = sh_ok(&["--privileged"], "cat /proc/sys/kernel/hostname > /proc/sys/kernel/hostname && echo written");
    assert_eq!(output, "written\n");
}

// --- /dev ----------------------------------------------------------------------------------------------------------

#[test]
fn dev_holds_the_usual_and_nothing_else() {
    if !can_run("dev_holds_the_usual_and_nothing_else") {
        return;
    }
    let _clean = Clean::watch();
    let nodes =
        sh_ok(&[], "cd /dev; for n in *; do if [ -c $n -a ! -L $n ]; then stat -c '%n %t:%T %a %u:%g' $n; fi; done");
    let expected = "full 1:7 666 0:0\nnull 1:3 666 0:0\nrandom 1:8 666 0:0\ntty 5:0 666 0:0\nurandom 1:9 666 0:0\nzero 1:5 666 0:0\n";
    assert_eq!(nodes, expected);
    assert_eq!(
        sh_ok(&[], "ls /dev | tr '\\n' ' '"),
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
    );
    let links = sh_ok(&[], "cd /dev; for n in fd stdin stdout stderr ptmx; do readlink $n; done");
    assert_eq!(links, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n");
    let use_them = "echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; head -c 3 /dev/random | wc -c; \
                    echo x 2>&1 > /dev/full | grep -o 'No space'; echo out > /dev/stdout; exec 3<>/dev/ptmx; ls /dev/pts; \
                    echo x > /dev/shm/y; cat /dev/shm/y; stat -c %a /dev/shm /dev/pts/ptmx";
    assert_eq!(sh_ok(&[], use_them), "3\n3\n3\nNo space\nout\n0\nptmx\nx\n1777\n666\n");
}

#[test]
fn other_devices_can_be_made_but_not_used() {
    if !can_run("other_devices_can_be_made_but_not_used") {
        return;
    }
    let _clean = Clean::watch();
    for (name, numbers) in
        [("a memory", "c 1 1"), ("a disk", "b 7 0"), ("the kernel's log", "c 1 11"), ("a console", "c 5 1")]
    {
        let script =
            format!("mknod /node {numbers} && echo made; dd if=/node of=/dev/null count=1 2>&1; echo x 2>&1 > /node");
        let output = stdout(&sh(&["--ephemeral"], &script));
        assert_eq!(output.matches("Operation not permitted").count(), 2, "{name}: {output}");
        assert!(output.starts_with("made\n"), "{name}: {output}");
    }
    let output = sh(&["--cap-drop", "MKNOD"], "mknod /dev/node c 1 3");
    assert!(stderr(&output).contains("Operation not permitted"), "{}", stderr(&output));
    // A device that came with the root or a volume is no way round.
    let scratch = Scratch::under(Path::new("/opt"), "nodes");
    let made = Command::new("mknod").args([&scratch.path("mem"), "c", "1", "1"]).status().unwrap();
    assert!(made.success());
    let output = sh(&["-v", &format!("{}:/x", scratch.0.display())], "head -c 1 /x/mem");
    assert!(stderr(&output).contains("Operation not permitted"), "{}", stderr(&output));
}

#[test]
fn a_device_is_given_with_the_access_asked_for() {
    if !can_run("a_device_is_given_with_the_access_asked_for") {
        return;
    }
    let _clean = Clean::watch();
    // Major and minor of the host's memory of the kernel's messages, made anew: /dev may differ between hosts.
    let scratch = Scratch::new("device");
    let node = scratch.path("kmsg");
    assert!(Command::new("mknod").args(["-m", "640", &node, "c", "1", "11"]).status().unwrap().success());
    let both = "exec 3< /dev/mine && echo read; (exec 4>> /dev/mine) && echo write; stat -c '%t:%T %a' /dev/mine";
    let ask = |device: &str| {
        let output = sh(&["--cap-add", "SYSLOG", "--device", device], both);
        (stdout(&output), stderr(&output))
    };
    assert_eq!(ask(&format!("{node}:/dev/mine")).0, "read\nwrite\n1:b 640\n");
    assert_eq!(ask(&format!("{node}:/dev/mine:r")).0, "read\n1:b 640\n");
    assert!(ask(&format!("{node}:/dev/mine:w")).1.contains("Operation not permitted"));
    // All of a directory.
    let output = sh_ok(&["--device", &format!("{}:/dev/dir", scratch.0.display())], "ls /dev/dir");
    assert_eq!(output, "kmsg\n");
    // All of the host's with --privileged.
    assert!(sh_ok(&["--privileged"], "ls /dev").lines().count() > 20);
    assert_eq!(sh(&["--privileged"], "head -c 0 /dev/kmsg").status.code(), Some(0));
}

// --- files ---------------------------------------------------------------------------------------------------------

#[test]
fn volumes_show_the_hosts_files() {
    if !can_run("volumes_show_the_hosts_files") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("volumes");
    scratch.file("dir/file", "content\n", 0o644);
    let (dir, file) = (scratch.path("dir"), scratch.path("dir/file"));
    let rw = format!("{dir}:/made/for/it");
    assert_eq!(sh_ok(&["--ephemeral", "-v", &rw], "cat /made/for/it/file; echo new > /made/for/it/new"), "content\n");
    assert_eq!(fs::read_to_string(scratch.path("dir/new")).unwrap(), "new\n");
    for volume in [format!("{dir}:/v:ro"), format!("{dir}:/v:rw,readonly")] {
        let output = sh(&["--ephemeral", "-v", &volume], "cat /v/file; touch /v/x || touch /v/file");
        assert!(
            stdout(&output) == "content\n" && stderr(&output).matches("ead-only").count() == 2,
            "{}",
            stderr(&output)
        );
    }
    let one = format!("{file}:/etc/one/file:ro");
    assert_eq!(sh_ok(&["--ephemeral", "-v", &one], "cat /etc/one/file; ls /etc/one"), "content\nfile\n");
    // Over a file of the container's, and over one of ours.
    let over = format!("{file}:/etc/hosts");
    assert_eq!(sh_ok(&["-v", &over], "cat /etc/hosts"), "content\n");
    // What is mounted deeper comes later, in whatever order it was asked for.
    let deep = format!("{dir}:/t/a/b");
    assert_eq!(
        sh_ok(&["--ephemeral", "-v", &deep, "--tmpfs", "/t"], "cat /t/a/b/file; stat -f -c %T /t"),
        "content\ntmpfs\n"
    );
    // Relative to where the tool was started.
    let mut command = Command::new(tool());
    command.args([
        "run",
        "--rm",
        "--network",
        "none",
        "--ephemeral",
        "-v",
        "./dir:/v",
        busybox_root().to_str().unwrap(),
        "cat",
        "/v/file",
    ]);
    assert_eq!(stdout(&command.current_dir(&scratch.0).output().unwrap()), "content\n");
    // By --mount.
    let mount = format!("type=bind,source={dir},target=/m,readonly");
    let output = sh(&["--ephemeral", "--mount", &mount], "cat /m/file; touch /m/x");
    assert!(stdout(&output) == "content\n" && stderr(&output).contains("ead-only"), "{}", stderr(&output));
}

#[test]
fn a_volume_does_not_leave_the_root_through_a_link() {
    if !can_run("a_volume_does_not_leave_the_root_through_a_link") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("links");
    crate::common::make_busybox_root(&scratch.0);
    let outside = Scratch::new("outside");
    std::os::unix::fs::symlink(&outside.0, scratch.0.join("absolute")).unwrap();
    std::os::unix::fs::symlink(format!("../../../../../..{}", outside.0.display()), scratch.0.join("climbing"))
        .unwrap();
    for link in ["absolute", "climbing"] {
        let target = format!("/{link}/made");
        let output = run(&["--network", "none", "--tmpfs", &target, scratch.0.to_str().unwrap(), "ls", "-d", &target]);
        assert_eq!(stdout(&output), format!("{target}\n"), "{}", stderr(&output));
        assert_eq!(fs::read_dir(&outside.0).unwrap().count(), 0, "{link} led out");
    }
}

#[test]
fn read_only_volumes_are_so_all_the_way_down_and_private_unless_asked() {
    if !can_run("read_only_volumes_are_so_all_the_way_down_and_private_unless_asked") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("propagation");
    let root = busybox_root().to_str().unwrap();
    // A mount below the source is shown, read-only with it; `bind` leaves it out.
    let script = r#"cd "$1"; mkdir a; mount -t tmpfs t a; mkdir a/sub; mount -t tmpfs t a/sub; echo x > a/sub/file
        for o in ro ro,bind; do "$0" run --rm --network none --ephemeral -v "$1/a:/a:$o" "$2" sh -c \
            'cat /a/sub/file; touch /a/sub/y 2>&1 | grep -o ead-only; true'; done 2>&1"#;
    let output = in_private_mounts(script, &[scratch.0.to_str().unwrap(), root]);
    assert_eq!(
        stdout(&output),
        "x\nead-only\ncat: can't open '/a/sub/file': No such file or directory\nead-only\n",
        "{}",
        stderr(&output)
    );
    // A mount that the host makes later, and one that the container makes.
    let script = r#"cd "$1"; mkdir b; mount -t tmpfs t b; mount --make-shared b; mkdir b/in b/out; mkfifo go ready
        "$0" run --rm --network none --ephemeral -i --cap-add SYS_ADMIN -v "$1/b:/b:$3" "$2" sh -c \
            'mount -t tmpfs t /b/out; touch /b/out/file; echo ready; read x; ls /b/in' < go > out &
        exec 3> go; until grep -q ready out; do sleep 0.02; done
        mount -t tmpfs t b/in; touch b/in/file; echo outside: $(ls b/out); echo >&3; wait; echo inside: $(cat out)"#;
    for (word, outside, inside) in [
        ("rprivate", "", ""),
        ("rslave", "", " file"),
        ("rshared", " file", " file"),
        ("rw", "", ""),
        ("slave", "", " file"),
    ] {
        let scratch = Scratch::new("propagation");
        let output = in_private_mounts(script, &[scratch.0.to_str().unwrap(), root, word]);
        assert_eq!(
            stdout(&output),
            format!("outside:{outside}\ninside: ready{inside}\n"),
            "{word}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_tmpfs_has_dockers_options_or_those_asked_for() {
    if !can_run("a_tmpfs_has_dockers_options_or_those_asked_for") {
        return;
    }
    let _clean = Clean::watch();
    let options = |flags: &[&str]| {
        let output = sh_ok(flags, "grep ' /home ' /proc/self/mounts | cut -d' ' -f3,4; stat -c %a /home");
        output.replace(",inode64", "")
    };
    assert_eq!(options(&["--tmpfs", "/home"]), "tmpfs rw,nosuid,nodev,noexec,relatime\n1777\n");
    assert_eq!(
        options(&["--tmpfs", "/home:size=1m,mode=700,exec"]),
        "tmpfs rw,nosuid,nodev,relatime,size=1024k,mode=700\n700\n"
    );
    let mount = "type=tmpfs,dst=/home,tmpfs-size=64k,tmpfs-mode=750";
    assert_eq!(options(&["--mount", mount]), "tmpfs rw,nosuid,nodev,noexec,relatime,size=64k,mode=750\n750\n");
    assert!(options(&["--mount", "type=tmpfs,dst=/home,readonly"]).starts_with("tmpfs ro,"));
    // The size holds, and nothing of it is in the root.
    let output = sh(&["--tmpfs", "/home:size=64k"], "head -c 100000 /dev/zero > /home/x; stat -c %s /home/x");
    assert_eq!(stdout(&output), "65536\n", "{}", stderr(&output));
    assert_eq!(fs::read_dir(busybox_root().join("home")).unwrap().count(), 0);
}

#[test]
fn the_size_of_shared_memory() {
    if !can_run("the_size_of_shared_memory") {
        return;
    }
    let _clean = Clean::watch();
    let size =
        |flags: &[&str]| sh_ok(flags, "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2").trim().to_owned();
    assert_eq!(size(&[]), "65536");
    assert_eq!(size(&["--shm-size", "1m"]), "1024");
    assert_eq!(size(&["--shm-size=1g"]), "1048576");
}

// --- limits of processes, kernel parameters, names -----------------------------------------------------------------

#[test]
fn resource_limits_are_set() {
    if !can_run("resource_limits_are_set") {
        return;
    }
    let _clean = Clean::watch();
    // Lower ones only: to raise a hard limit needs CAP_SYS_RESOURCE, which not every root has.
    let flags =
        ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "nproc=50", "--ulimit", "stack=1048576"];
    let output =
        sh_ok(&flags, "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc; ulimit -Hs; grep processes /proc/self/limits");
    assert!(output.starts_with("100\n200\n0\n0\n1024\n"), "{output}");
    assert_eq!(output.split_whitespace().skip(7).take(2).collect::<Vec<_>>(), ["50", "50"], "{output}");
    assert_eq!(sh_ok(&flags, "sh -c 'for n in 10 20 99; do eval \"exec $n</dev/null\"; done; echo open'"), "open\n");
    assert_ne!(sh(&flags, "eval 'exec 150</dev/null'").status.code(), Some(0));
}

#[test]
fn kernel_parameters_of_its_own_are_set_and_the_hosts_refused() {
    if !can_run("kernel_parameters_of_its_own_are_set_and_the_hosts_refused") {
        return;
    }
    let _clean = Clean::watch();
    for (name, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net/ipv4/ip_unprivileged_port_start", "80"),
        ("kernel.shmmax", "123456"),
        ("kernel.shmall", "4321"),
        ("kernel.msgmax", "4096"),
        ("fs.mqueue.msg_max", "20"),
    ] {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let before = fs::read_to_string(&path).unwrap_or_default();
        let output = sh_ok(&["--sysctl", &format!("{name}={value}")], &format!("cat {path}"));
        assert_eq!(output.trim(), value, "{name}");
        assert_eq!(fs::read_to_string(&path).unwrap_or_default(), before, "{name} of the host");
    }
    for name in [
        "kernel.panic",
        "vm.swappiness",
        "kernel.hostname",
        "fs.file-max",
        "kernel.core_pattern",
        "kernel.shmmax.x",
        "../x",
    ] {
        let output = sh(&["--sysctl", &format!("{name}=1")], "true");
        assert_eq!(output.status.code(), Some(125), "{name}");
        assert!(stderr(&output).contains(name), "{name}: {}", stderr(&output));
    }
    let words = ["--network", "host", "--sysctl", "net.ipv4.ip_forward=1", busybox_root().to_str().unwrap(), "true"];
    assert_eq!(run(&words).status.code(), Some(125), "with the host's network it would be the host's");
    let output = sh(&["--sysctl", "net.ipv4.no_such_thing=1"], "true");
    assert!(
        output.status.code() == Some(125) && stderr(&output).contains("net.ipv4.no_such_thing"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn names_and_resolver_are_its_own() {
    if !can_run("names_and_resolver_are_its_own") {
        return;
    }
    let _clean = Clean::watch();
    let flags =
        ["--add-host", "db:10.1.2.3", "--add-host", "six=[fd00::1]", "--dns", "192.0.2.53", "--dns", "2001:db8::53"];
    let output = sh_ok(&flags, "cat /etc/hosts; cat /etc/resolv.conf");
    for line in
        ["127.0.0.1\tlocalhost", "10.1.2.3\tdb", "fd00::1\tsix", "nameserver 192.0.2.53", "nameserver 2001:db8::53"]
    {
        assert!(output.lines().any(|known| known == line), "{line:?} in {output}");
    }
    assert_eq!(output.matches("nameserver").count(), 2, "in place of the host's: {output}");
    // They are the container's to change, and only its.
    assert!(sh_ok(&[], "echo '1.1.1.1 x' >> /etc/hosts; tail -n 1 /etc/hosts").contains("1.1.1.1 x"));
    assert!(!sh_ok(&[], "cat /etc/hosts").contains("1.1.1.1"));
    let host = fs::read_to_string("/etc/hosts").unwrap();
    assert!(!host_ok(&["--add-host", "db:10.1.2.3"], "cat /etc/hosts; echo x >> /etc/hosts").is_empty());
    assert_eq!(fs::read_to_string("/etc/hosts").unwrap(), host);
}

// --- no way out ----------------------------------------------------------------------------------------------------

#[test]
fn no_descriptor_of_the_tool_or_its_caller_gets_in() {
    if !can_run("no_descriptor_of_the_tool_or_its_caller_gets_in") {
        return;
    }
    let _clean = Clean::watch();
    let root = busybox_root().to_str().unwrap();
    let script = r#"exec 5</etc/passwd 7</ 9>/dev/null; exec "$0" run --rm --network none "$@""#;
    let with_open_files = |words: &[&str]| {
        let mut command = Command::new("sh");
        stdout(&command.args(["-c", script, tool()]).args(words).output().unwrap())
    };
    // The fourth is the directory that ls reads.
    assert_eq!(with_open_files(&[root, "ls", "/proc/self/fd"]), "0\n1\n2\n3\n");
    let output = with_open_files(&[
        "--init",
        "host",
        "sh",
        "-c",
        "cd /proc/1/fd; for n in *; do readlink $n; done; ls /proc/self/fd",
    ]);
    for link in output.lines().filter(|line| line.parse::<u32>().is_err()) {
        assert!(
            link == "/dev/null" || link.starts_with("pipe:[") || link == "anon_inode:[signalfd]",
            "{link} in {output}"
        );
    }
    assert!(output.ends_with("\n0\n1\n2\n3\n"), "{output}");
}

#[test]
fn the_tool_cannot_be_overwritten_from_inside() {
    if !can_run("the_tool_cannot_be_overwritten_from_inside") {
        return;
    }
    let _clean = Clean::watch();
    let before = fs::read(tool()).unwrap();
    let script = "echo x > /proc/1/exe; exec 3< /proc/1/exe; echo x > /proc/self/fd/3; mount -o remount,bind,rw /proc/1/exe; \
                  exec 3<>/proc/1/exe";
    for flags in [&["--init"][..], &["--init", "--privileged"]] {
        let output = run(&[&["--network", "none"], flags, &["host", "sh", "-c", script]].concat());
        assert_ne!(output.status.code(), Some(0), "{flags:?}");
        assert!(fs::read(tool()).unwrap() == before, "{flags:?}: the tool was changed");
    }
}
