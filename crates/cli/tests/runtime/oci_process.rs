//! The configuration's section `process`, seen from inside.

use crate::common::{pty, stderr, stdout};
use crate::oci::{Config, Runtime};
use serde_json::{Value, json};
use std::os::unix::net::UnixListener;

fn table(runtime: &Runtime, cases: &[(&str, Value, &str, &str)]) {
    for (pointer, value, script, expected) in cases {
        let said = runtime.run_ok(&Config::sh(script).set(pointer, value.clone()));
        assert_eq!(said.trim_end(), *expected, "{pointer}: {value}");
    }
}

fn refused(runtime: &Runtime, cases: &[(&str, Value, &str)]) {
    for (pointer, value, expected) in cases {
        let said = runtime.run_fails(&Config::sh("echo it ran").set(pointer, value.clone()));
        assert!(said.contains(expected), "{pointer}: {value}: {said}");
    }
}

#[test]
fn program_environment_and_directory() {
    let Some(runtime) = Runtime::new("process") else { return };
    table(
        &runtime,
        &[
            (
                "/process/env",
                json!(["PATH=/bin", "A=1", "B=a=b", "C="]),
                "env | grep -v -e PWD -e SHLVL -e MCTEST | sort",
                "A=1\nB=a=b\nC=\nPATH=/bin",
            ),
            ("/process/cwd", json!("/etc"), "pwd", "/etc"),
            ("/process/cwd", json!("/made/here"), "pwd", "/made/here"),
            ("/process/args", json!(["echo", "a b", "", "$HOME"]), "", "a b  $HOME"),
            ("/process/args", json!(["/bin/echo", "by path"]), "", "by path"),
            ("/process/args", json!(["./bin/echo", "by relative path"]), "", "by relative path"),
        ],
    );
    // Without PATH the usual directories are searched; a PATH that is there is the one that counts.
    assert_eq!(runtime.run_ok(&Config::args(&["echo", "found"]).set("/process/env", json!([]))), "found\n");
    let elsewhere = Config::args(&["echo", "found"]).set("/process/env", json!(["PATH=/etc:/tmp"]));
    assert!(runtime.run_fails(&elsewhere).contains("executable file not found in $PATH"));
}

#[test]
fn user_groups_and_mask() {
    let Some(runtime) = Runtime::new("user") else { return };
    table(
        &runtime,
        &[
            ("/process/user", json!({ "uid": 0, "gid": 0 }), "id -u; id -g; id -G; umask", "0\n0\n0\n0022"),
            ("/process/user", json!({ "uid": 1000, "gid": 100 }), "id -u; id -g; id -G", "1000\n100\n100"),
            ("/process/user", json!({ "uid": 5, "gid": 6, "additionalGids": [7, 8] }), "id -G", "6 7 8"),
            (
                "/process/user",
                json!({ "uid": 0, "gid": 0, "umask": 0o77 }),
                "umask; touch /tmp/x; stat -c %a /tmp/x",
                "0077\n600",
            ),
            ("/process/user", json!({ "uid": 4_000_000_000_u32, "gid": 0 }), "id -u", "4000000000"),
        ],
    );
    refused(
        &runtime,
        &[("/process/user/uid", json!(-1), "config.json"), ("/process/user/uid", json!("root"), "config.json")],
    );
}

#[test]
fn resource_limits() {
    let Some(runtime) = Runtime::new("rlimits") else { return };
    let limit = |kind: &str, soft: u64, hard: u64| json!({ "type": kind, "soft": soft, "hard": hard });
    let limits = "sed 's/  */ /g' /proc/self/limits | grep -e";
    table(
        &runtime,
        &[
            (
                "/process/rlimits",
                json!([limit("RLIMIT_NOFILE", 100, 200), limit("RLIMIT_CORE", 0, 0)]),
                "ulimit -n; ulimit -Hn; ulimit -c",
                "100\n200\n0",
            ),
            (
                "/process/rlimits",
                json!([limit("RLIMIT_FSIZE", 4096, u64::MAX)]),
                &format!("{limits} 'Max file size'"),
                "Max file size 4096 unlimited bytes",
            ),
            (
                "/process/rlimits",
                json!([limit("RLIMIT_MSGQUEUE", 1, 2)]),
                &format!("{limits} msgqueue"),
                "Max msgqueue size 1 2 bytes",
            ),
        ],
    );
    refused(
        &runtime,
        &[
            ("/process/rlimits", json!([limit("RLIMIT_NOTHING", 1, 1)]), "RLIMIT_NOTHING"),
            ("/process/rlimits", json!([limit("RLIMIT_NOFILE", 2, 1)]), "nofile"),
            ("/process/rlimits", json!([limit("RLIMIT_NOFILE", 1, 1), limit("RLIMIT_NOFILE", 2, 2)]), "twice"),
        ],
    );
}

#[test]
fn capabilities_are_those_of_the_sets() {
    let Some(runtime) = Runtime::new("capabilities") else { return };
    let shown = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | awk '{ print substr($2, 9) }' | tr '\\n' ' '";
    let sets = |value: Value| ("/process/capabilities", value);
    let cases = [
        (sets(json!({})), "00000000 00000000 00000000 00000000 00000000"),
        (sets(Value::Null), "00000000 00000000 00000000 00000000 00000000"),
        (sets(json!({ "bounding": ["CAP_CHOWN", "CAP_KILL"] })), "00000000 00000021 00000021 00000021 00000000"),
        (
            sets(json!({ "bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"] })),
            "00000000 00000001 00000001 00000001 00000000",
        ),
    ];
    for ((pointer, value), expected) in cases {
        // Root's program gets what the bounding set allows; the inheritable set stays empty. (CVE-2022-29162)
        let said = runtime.run_ok(&Config::sh(shown).set(pointer, value.clone()));
        assert_eq!(said.trim_end(), expected, "{value}");
    }
    let user = |value: Value| {
        Config::sh(shown).set("/process/user", json!({ "uid": 9, "gid": 9 })).set("/process/capabilities", value)
    };
    let all = json!(["CAP_CHOWN"]);
    let without_ambient = json!({ "bounding": all, "permitted": all, "effective": all, "inheritable": all });
    assert_eq!(
        runtime.run_ok(&user(without_ambient.clone())).trim_end(),
        "00000001 00000000 00000000 00000001 00000000"
    );
    let mut with_ambient = without_ambient;
    with_ambient["ambient"] = all;
    assert_eq!(runtime.run_ok(&user(with_ambient)).trim_end(), "00000001 00000001 00000001 00000001 00000001");
    refused(&runtime, &[("/process/capabilities/bounding", json!(["CAP_FLY"]), "CAP_FLY")]);
}

#[test]
fn set_uid_programs_give_nothing_when_privileges_are_not_to_be_gained() {
    let Some(runtime) = Runtime::new("no new privileges") else { return };
    for (set, expected) in [(false, 0), (true, 1)] {
        // busybox keeps its set-uid bit for ping, which needs root's right to a raw socket.
        let config = Config::args(&["/tmp/busybox", "ping", "-c", "1", "-W", "5", "127.0.0.1"])
            .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
            .capabilities(&["CAP_NET_RAW"])
            .set("/process/noNewPrivileges", json!(set));
        let bundle = runtime.bundle(&config);
        let program = bundle.join("rootfs/tmp/busybox");
        std::fs::copy("/bin/busybox", &program).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
        let output = runtime.run_bundle(&bundle, &[]);
        assert_eq!(output.status.code(), Some(expected), "{set}: {}{}", stdout(&output), stderr(&output));
    }
}

#[test]
fn the_out_of_memory_score_is_set_or_left_alone() {
    let Some(runtime) = Runtime::new("oom score") else { return };
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let script = "cat /proc/self/oom_score_adj";
    table(
        &runtime,
        &[("/process/oomScoreAdj", json!(500), script, "500"), ("/process/oomScoreAdj", json!(1000), script, "1000")],
    );
    assert_eq!(runtime.run_ok(&Config::sh(script)), own);
    refused(
        &runtime,
        &[("/process/oomScoreAdj", json!(1001), "1001"), ("/process/oomScoreAdj", json!(-1001), "-1001")],
    );
}

#[test]
fn scheduling_and_priorities() {
    let Some(runtime) = Runtime::new("scheduler") else { return };
    // Policy and real-time priority. [proc(5)]
    let shown = "awk '{ print $41, $40 }' /proc/self/stat";
    let nice = "cut -d' ' -f19 /proc/self/stat";
    table(
        &runtime,
        &[
            ("/process/scheduler", json!({ "policy": "SCHED_OTHER", "nice": 5 }), nice, "5"),
            ("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": -3 }), nice, "-3"),
            ("/process/scheduler", json!({ "policy": "SCHED_BATCH" }), shown, "3 0"),
            ("/process/scheduler", json!({ "policy": "SCHED_IDLE" }), shown, "5 0"),
            (
                "/process/ioPriority",
                json!({ "class": "IOPRIO_CLASS_BE", "priority": 3 }),
                "ionice -p $$",
                "best-effort: prio 3",
            ),
            ("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }), "ionice -p $$", "idle"),
        ],
    );
    refused(
        &runtime,
        &[
            ("/process/scheduler", json!({ "policy": "SCHED_FLY" }), "SCHED_FLY"),
            ("/process/scheduler", json!({ "policy": "SCHED_ISO" }), "SCHED_ISO"),
            ("/process/scheduler", json!({ "policy": "SCHED_OTHER", "nice": 20 }), "20"),
            ("/process/scheduler", json!({ "policy": "SCHED_FIFO", "priority": 0 }), "SCHED_FIFO"),
            ("/process/scheduler", json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_FLY"] }), "SCHED_FLAG_FLY"),
            ("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }), "8"),
            ("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_FLY", "priority": 1 }), "IOPRIO_CLASS_FLY"),
            ("/process/execCPUAffinity", json!({ "initial": "x" }), "x"),
            ("/process/execCPUAffinity", json!({ "final": "9999" }), "9999"),
        ],
    );
    // Flags by the specification's names; a real-time policy, for which a group of v1 needs a budget.
    let reset = json!({ "policy": "SCHED_FIFO", "priority": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
    let mut config = Config::args(&["awk", "{ print $41, $40 }", "/proc/self/stat"]).set("/process/scheduler", reset);
    if std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        config = config.set("/linux/resources/cpu", json!({ "realtimeRuntime": 10_000 }));
    }
    let output = runtime.run(&config);
    assert_eq!(stdout(&output), "1 7\n", "{}", stderr(&output));
}

#[test]
fn an_execs_processors_are_those_of_the_configuration() {
    let Some(runtime) = Runtime::new("exec affinity") else { return };
    let allowed = |text: &str| text.trim_end().rsplit('\t').next().unwrap().to_owned();
    let show = "grep Cpus_allowed_list /proc/self/status";
    let config = Config::sh(&format!("{show}; exec sleep 1000"))
        .set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" }));
    let container = runtime.start(&config);
    container.expect("\n");
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = allowed(own.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap());
    assert_eq!(allowed(&container.out()), own, "the first process is not meant");
    assert_eq!(allowed(&container.ok(&["exec"], &["sh", "-c", show])), "0");
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let Some(runtime) = Runtime::new("console socket") else { return };
    let path = runtime.scratch.path("console");
    let listener = UnixListener::bind(&path).unwrap();
    let script = "tty; stty size; stat -c %t:%T /dev/console; stat -c %t:%T $(tty); echo to-console >/dev/console; read line; echo got $line";
    let config = Config::sh(script)
        .set("/process/terminal", json!(true))
        .set("/process/consoleSize", json!({ "height": 12, "width": 34 }));
    let bundle = runtime.bundle(&config);
    let container = runtime.create_with(&bundle, &["--console-socket", &path]);
    let (said, master) = crate::oci::receive::fd(&listener);
    assert!(!said.is_empty());
    let mut terminal = crate::oci::receive::Terminal::new(master);
    container.start();
    terminal.expect("/dev/pts/0\r\n12 34\r\n88:0\r\n88:0\r\nto-console\r\n");
    terminal.send("typed\n");
    terminal.expect("got typed");
    container.wait();
    // What does not fit together is refused.
    let said = runtime.fails(&["create", "-b", bundle.to_str().unwrap(), &runtime.id()]);
    assert!(said.contains("console socket"), "{said}");
    let said = runtime.fails(&["create", "-b", bundle.to_str().unwrap(), "--console-socket", "/none", &runtime.id()]);
    assert!(said.contains("/none"), "{said}");
    let plain = runtime.bundle(&Config::sh("true").set("/process/consoleSize", json!({ "height": 1, "width": 1 })));
    let said = runtime.fails(&["create", "-b", plain.to_str().unwrap(), "--console-socket", &path, &runtime.id()]);
    assert!(said.contains("terminal is not set"), "{said}");
    assert!(runtime.run_bundle(&plain, &[]).status.success(), "a size without a terminal is not looked at");
}

#[test]
fn a_terminal_is_the_callers_when_run_attends_to_it() {
    let Some(runtime) = Runtime::new("run terminal") else { return };
    let config = Config::sh("tty; stty size; read line; echo got $line; exit 4").set("/process/terminal", json!(true));
    let bundle = runtime.bundle(&config);
    let (records, id) = (runtime.scratch.path("records"), runtime.id());
    let words = [crate::common::tool(), "runtime", "--root", &records, "run", "-b", bundle.to_str().unwrap(), &id];
    let mut session = pty::Session::of(&words, (30, 70), "");
    session.expect("/dev/pts/0");
    session.expect("30 70");
    session.send("typed\r");
    session.expect("got typed");
    assert_eq!(session.status(), 4);
}
