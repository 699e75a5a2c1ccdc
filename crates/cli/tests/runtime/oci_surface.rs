//! The OCI runtime's command line as callers know it: verbs, flags, texts, exit codes, logs; and what it says of itself.

use crate::common::{need, stderr, stdout, tool};
use crate::oci::{Config, Runtime};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A verb, what stands beside the flags, and its flags: `--name` is a switch, `--name=VALUE` takes a value.
/// (`checkpoint` and `restore` have tests of their own.)
const SURFACE: &[(&str, &[&str], &[&str])] = &[
    (
        "create",
        &["ID"],
        &[
            "--bundle=/none",
            "-b=/none",
            "--config=/none",
            "--console-socket=/none",
            "--pid-file=/none",
            "--pidfd-socket=/none",
            "--no-pivot",
            "--no-new-keyring",
            "--preserve-fds=0",
        ],
    ),
    (
        "run",
        &["ID"],
        &[
            "--bundle=/none",
            "-b=/none",
            "--config=/none",
            "--console-socket=/none",
            "--pid-file=/none",
            "--pidfd-socket=/none",
            "--no-pivot",
            "--no-new-keyring",
            "--preserve-fds=0",
            "--detach",
            "-d",
            "--keep",
            "--no-subreaper",
        ],
    ),
    ("start", &["ID"], &[]),
    ("state", &["ID"], &[]),
    ("kill", &["ID", "9"], &["--all", "-a", "--regex", "-r"]),
    ("delete", &["ID"], &["--force", "-f", "--regex", "-r"]),
    ("pause", &["ID"], &[]),
    ("resume", &["ID"], &[]),
    ("list", &[], &["--quiet", "-q", "--format=json", "-f=json", "--format=table"]),
    ("ps", &["ID"], &["--format=json", "-f=table"]),
    (
        "exec",
        &["ID", "true"],
        &[
            "--cwd=/",
            "--env=A=1",
            "-e=A=1",
            "--user=0:0",
            "-u=0",
            "--additional-gids=1",
            "-g=1",
            "--tty",
            "-t",
            "--detach",
            "-d",
            "--console-socket=/none",
            "--pid-file=/none",
            "--pidfd-socket=/none",
            "--process-label=x",
            "--apparmor=x",
            "--no-new-privs",
            "--cap=CAP_KILL",
            "-c=CAP_KILL",
            "--preserve-fds=0",
            "--ignore-paused",
            "--cgroup=x",
        ],
    ),
    ("exec", &["ID"], &["--process=/none", "-p=/none"]),
    (
        "update",
        &["ID"],
        &[
            "--resources=/none",
            "-r=/none",
            "--memory=1",
            "--memory-reservation=1",
            "--memory-swap=1",
            "--cpu-period=1",
            "--cpu-quota=1",
            "--cpu-burst=1",
            "--cpu-share=1",
            "--cpu-rt-period=1",
            "--cpu-rt-runtime=1",
            "--cpu-idle=1",
            "--cpuset-cpus=0",
            "--cpuset-mems=0",
            "--pids-limit=1",
            "--blkio-weight=10",
            "--l3-cache-schema=L3:0=f",
            "--mem-bw-schema=MB:0=10",
        ],
    ),
    ("events", &["ID"], &["--stats", "--interval=1s"]),
    ("mounts", &["add", "ID", "/dev/null"], &[]),
    ("spec", &[], &["--bundle=/none", "-b=/none", "--rootless"]),
    ("features", &[], &[]),
];

const GLOBAL: &[&str] = &[
    "--log=/dev/null",
    "--log-format=json",
    "--log-format=text",
    "--log-level=debug",
    "--log-level=error",
    "--debug=false",
    "--systemd-cgroup=false",
    "--systemd-cgroup",
    "--cgroup-manager=cgroupfs",
    "--cgroup-manager=systemd",
    "--cgroup-manager=disabled",
    "--rootless=true",
    "--rootless=false",
    "--rootless=auto",
];

/// In a directory that is not there, so that nothing is found or made.
fn say(words: &[String]) -> Output {
    Command::new(tool()).arg("runtime").args(words).current_dir("/proc/self").output().unwrap()
}

/// As one word, and where a value is taken, as two.
fn spellings(flag: &str) -> Vec<Vec<String>> {
    match flag.split_once('=') {
        None => vec![vec![flag.to_owned()]],
        Some((name, value)) if !name.starts_with("--") => vec![vec![name.to_owned(), value.to_owned()]],
        Some((_, "true" | "false")) => vec![vec![flag.to_owned()]],
        Some(("--debug" | "--systemd-cgroup", _)) => vec![vec![flag.to_owned()]],
        Some((name, value)) => vec![vec![flag.to_owned()], vec![name.to_owned(), value.to_owned()]],
    }
}

#[test]
fn every_flag_is_known_before_and_after_the_operands() {
    let root = || ["--root".to_owned(), "/no/such/root".to_owned()];
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (verb, operands, flags) in SURFACE {
        for flag in flags.iter().chain(GLOBAL) {
            for words in spellings(flag) {
                let is_global = GLOBAL.contains(flag);
                if *verb == "spec" && flag.starts_with("--rootless=") {
                    continue; // There it is a switch, as runc's is.
                }
                let mut lines = vec![[&root()[..], &owned(&[verb]), &words, &owned(operands)].concat()];
                // After the command of exec come its own words, so a flag goes before it; the id is the first operand.
                let (first, rest) = operands.split_at(operands.len().min(1));
                lines.push([&root()[..], &owned(&[verb]), &owned(first), &words, &owned(rest)].concat());
                if is_global {
                    lines.push([&words[..], &root(), &owned(&[verb]), &owned(operands)].concat());
                }
                for line in lines {
                    let said = stderr(&say(&line));
                    let lacks =
                        ["there is no flag", "is a switch", "one too many", "missing argument", "there is no verb"];
                    assert!(!lacks.iter().any(|text| said.contains(text)), "{line:?}: {said}");
                    if operands.first() == Some(&"ID")
                        && !["create", "run"].contains(verb)
                        && !line.contains(&"--force".to_owned())
                    {
                        let forced =
                            *verb == "delete" || line.iter().any(|word| word.contains("regex") || word == "-r");
                        assert!(
                            forced || said.contains("does not exist") || said.contains("/none"),
                            "{line:?}: {said}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_known_is_an_error() {
    for (line, expected) in [
        ("crate x", "there is no verb \"crate\""),
        ("create --bundel /b x", "there is no flag --bundel"),
        ("--rot /r list", "there is no flag --rot"),
        ("kill -z x", "there is no flag -z"),
        ("start --force x", "there is no flag --force"),
        ("create", "the id of a container"),
        ("create a b", "\"b\" is one too many"),
        ("create --bundle", "--bundle"),
        ("list x", "\"x\""),
        ("list --quiet=maybe", "a switch"),
        ("list --format xml", "table or json"),
        ("features x", "\"x\""),
        ("--log-format xml list", "text or json"),
        ("--log-level loud list", "debug, info"),
        ("--cgroup-manager none list", "cgroupfs, systemd or disabled"),
        ("--rootless maybe list", "true, false or auto"),
        ("create --preserve-fds x y", "--preserve-fds"),
        ("kill x", "does not exist"),
        ("kill x NOPE", "there is no signal"),
        ("kill x 9 9", "takes a signal"),
    ] {
        let words: Vec<String> =
            ["--root", "/no/such/root"].into_iter().chain(line.split(' ')).map(str::to_owned).collect();
        let output = say(&words);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(said.starts_with("mycontainer-runtime: ") && said.contains(expected), "{line}: {said}");
        assert_eq!(stdout(&output), "", "{line}");
    }
}

#[test]
fn a_link_to_the_binary_is_the_runtime() {
    let scratch = crate::common::Scratch::new("link");
    let link = scratch.path("mycontainer-runtime");
    std::os::unix::fs::symlink(tool(), &link).unwrap();
    let output = Command::new(&link).arg("--version").output().unwrap();
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("mycontainer-runtime version "), "{text}");
    assert_eq!(lines[1], "spec: 1.3.0");
    for feature in ["+SYSTEMD", "+SELINUX", "+APPARMOR", "+CAP", "+SECCOMP", "+EBPF", "+CRIU"] {
        assert!(lines[2].split(' ').any(|word| word == feature), "{text}");
    }
    assert_eq!(stdout(&Command::new(&link).arg("-v").output().unwrap()), text);
}

#[test]
fn help_names_every_verb_and_flag() {
    let help = |words: &[&str]| stdout(&Command::new(tool()).arg("runtime").args(words).output().unwrap());
    let overview = help(&["--help"]);
    assert_eq!(overview, help(&[]));
    for (verb, _, flags) in SURFACE {
        assert!(overview.lines().any(|line| line.trim_start().starts_with(verb)), "{verb}: {overview}");
        let text = help(&[verb, "--help"]);
        assert_eq!(text, help(&["help", verb]), "{verb}");
        for flag in *flags {
            let name = flag.split('=').next().unwrap();
            assert!(text.contains(name), "{verb} {name}: {text}");
        }
    }
}

#[test]
fn the_log_is_what_callers_parse() {
    let Some(runtime) = Runtime::new("log") else { return };
    let bundle = runtime.bundle(&Config::args(&["nothing"]));
    let bundle = bundle.to_str().unwrap();
    let log = runtime.scratch.path("log.json");
    let id = runtime.id();
    let said = runtime.fails(&["--log", &log, "--log-format", "json", "create", "--bundle", bundle, &id]);
    runtime.fails(&["--log", &log, "--log-format=json", "state", &id]);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "one line an error: {text}");
    let message = lines[0]["msg"].as_str().unwrap();
    assert_eq!(said, format!("mycontainer-runtime: {message}\n"), "the same as on standard error");
    assert!(message.contains("exec: \"nothing\": executable file not found in $PATH"), "{message}");
    for line in &lines {
        assert_eq!(line["level"], "error");
        let time = line["time"].as_str().unwrap();
        assert!(time.len() >= 20 && time.as_bytes()[10] == b'T' && time.ends_with('Z'), "{time}");
    }
    assert!(lines[1]["msg"].as_str().unwrap().contains("does not exist"));

    let log = runtime.scratch.path("log.text");
    runtime.fails(&["--log", &log, "state", &id]);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("time=\"") && text.contains(" level=error msg=\"") && text.lines().count() == 1, "{text}");

    // A warning does not reach standard error when there is a log; what the runtime does goes there on demand.
    let hook = json!({ "path": "/bin/false" });
    let warned = runtime.bundle(&Config::sh("true").set("/hooks/poststop", json!([hook])));
    let log = runtime.scratch.path("log.warn");
    let output = runtime.run_bundle(&warned, &["--log", &log, "--log-format", "json"]);
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    let line: Value = serde_json::from_str(std::fs::read_to_string(&log).unwrap().trim_end()).unwrap();
    assert!(line["level"] == "warning" && line["msg"].as_str().unwrap().contains("poststop hook"), "{line}");
    // A log that cannot be written to is no reason to fail.
    assert_eq!(runtime.ok(&["--log", "/no/such/dir/log", "list", "-q"]), "");
}

#[test]
fn debug_tells_the_steps() {
    let Some(runtime) = Runtime::new("debug") else { return };
    let bundle = runtime.bundle(&Config::sh("true"));
    let output = runtime.run_bundle(&bundle, &["--debug"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for step in ["clone3", "pivot_root", "exec"] {
        assert!(stderr(&output).contains(step), "no {step}: {}", stderr(&output));
    }
    let log = runtime.scratch.path("log");
    let output = runtime.run_bundle(&bundle, &["--debug", "--log", &log, "--log-format", "json"]);
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.lines().count() > 5, "{text}");
    for line in text.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["level"], "debug", "{line}");
    }
}

#[test]
fn groups_by_systemd_are_an_error_where_there_is_none() {
    let Some(runtime) = Runtime::new("systemd") else { return };
    if Path::new("/run/systemd/private").exists() || Path::new("/run/dbus/system_bus_socket").exists() {
        return;
    }
    let bundle = runtime.bundle(&Config::sh("true"));
    for flags in [&["--systemd-cgroup"][..], &["--cgroup-manager", "systemd"]] {
        let said = stderr(&runtime.run_bundle(&bundle, flags));
        assert!(said.contains("systemd"), "{flags:?}: {said}");
    }
}

#[test]
fn features_is_what_the_specification_describes() {
    let output = Command::new(tool()).args(["runtime", "features"]).output().unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let read: oci_spec::runtime::Features = serde_json::from_value(printed.clone()).unwrap();
    // Nothing but what the specification's types know: reading drops the rest.
    assert_eq!(sorted(serde_json::to_value(&read).unwrap()), sorted(printed.clone()));
    let has = |pointer: &str, words: &[&str]| {
        let list = printed.pointer(pointer).unwrap().as_array().unwrap();
        for word in words {
            assert!(list.contains(&json!(word)), "{pointer}: {word}");
        }
    };
    has("/hooks", &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]);
    has("/linux/namespaces", &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]);
    has("/linux/capabilities", &["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]);
    has(
        "/mountOptions",
        &["rro", "rnosuid", "idmap", "ridmap", "tmpcopyup", "dest-nofollow", "copy-symlink", "rslave"],
    );
    has("/linux/seccomp/actions", &["SCMP_ACT_NOTIFY"]);
    for enabled in ["apparmor", "selinux", "intelRdt", "netDevices", "seccomp"] {
        assert_eq!(printed["linux"][enabled]["enabled"], true, "{enabled}");
    }
    assert_eq!(printed["linux"]["intelRdt"], json!({ "enabled": true, "schemata": true, "monitoring": true }));
    assert_eq!(printed["linux"]["mountExtensions"]["idmap"]["enabled"], true);
}

/// Lists in one order: sets have none.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(sorted).collect();
            list.sort_by_key(Value::to_string);
            Value::Array(list)
        }
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, sorted(value))).collect()),
        other => other,
    }
}

#[test]
fn what_features_names_can_be_used() {
    let Some(runtime) = Runtime::new("features in use") else { return };
    let features: Value = serde_json::from_str(&runtime.ok(&["features"])).unwrap();
    let list =
        |pointer: &str| -> Vec<String> { serde_json::from_value(features.pointer(pointer).unwrap().clone()).unwrap() };
    for version in ["ociVersionMin", "ociVersionMax"] {
        assert_eq!(runtime.run_ok(&Config::sh("echo ran").set("/ociVersion", features[version].clone())), "ran\n");
    }
    let volume = runtime.scratch.path("volume");
    std::fs::create_dir(&volume).unwrap();
    // Those that need something beside them have tests of their own.
    let apart = ["remount", "idmap", "ridmap", "tmpcopyup"];
    let options = list("/mountOptions").into_iter().filter(|option| !apart.contains(&option.as_str()));
    let mut config = Config::sh("echo ran")
        .capabilities(&list("/linux/capabilities").iter().map(String::as_str).collect::<Vec<_>>());
    for option in options {
        config = config.mount(&format!("/mnt/{option}"), "bind", &volume, &format!("bind,{option}"));
    }
    let rules: Vec<Value> = list("/linux/seccomp/operators")
        .iter()
        .enumerate()
        .map(|(at, op)| {
            json!({
                "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
                "args": [{ "index": 0, "value": 77 + at, "valueTwo": 77 + at, "op": op }],
            })
        })
        .collect();
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": list("/linux/seccomp/archs"),
        "flags": list("/linux/seccomp/supportedFlags"),
        "syscalls": rules,
    });
    assert_eq!(runtime.run_ok(&config.set("/linux/seccomp", seccomp)), "ran\n");
    for action in list("/linux/seccomp/actions").iter().filter(|action| *action != "SCMP_ACT_NOTIFY") {
        let seccomp =
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["acct"], "action": action }] });
        assert_eq!(runtime.run_ok(&Config::sh("echo ran").set("/linux/seccomp", seccomp)), "ran\n", "{action}");
    }
    for mode in list("/linux/memoryPolicy/modes") {
        let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode.as_str()) { "" } else { "0" };
        let output =
            runtime.run(&Config::sh("echo ran").set("/linux/memoryPolicy", json!({ "mode": mode, "nodes": nodes })));
        let lacks = stderr(&output).contains("this host");
        if need(&mode, !lacks, "this kernel does not know it") {
            assert_eq!(stdout(&output), "ran\n", "{mode}: {}", stderr(&output));
        }
    }
}

#[test]
fn spec_writes_a_configuration_that_runs() {
    let Some(runtime) = Runtime::new("spec") else { return };
    let bundle = runtime.bundle(&Config::sh(""));
    let path = bundle.join("config.json");
    let dir = bundle.to_str().unwrap();
    for flags in [&[][..], &["--rootless"]] {
        std::fs::remove_file(&path).unwrap();
        runtime.ok(&[&["spec", "--bundle", dir], flags].concat());
        let written: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let read: oci_spec::runtime::Spec = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(
            sorted(without_nulls(serde_json::to_value(&read).unwrap())),
            sorted(without_nulls(written.clone())),
            "{flags:?}"
        );
        assert_eq!(written["ociVersion"], "1.3.0");
        // What is there is not overwritten.
        let said = runtime.fails(&["spec", "-b", dir]);
        assert!(said.contains("config.json") && said.contains("exists"), "{said}");
        let config = Config(written)
            .set("/process/terminal", json!(false))
            .set("/process/args", json!(["sh", "-c", "id -u; echo $TERM"]));
        let config = config.set("/process/env", json!(["PATH=/bin", "TERM=xterm"]));
        crate::oci::write_config(&bundle, &config, &runtime.tag);
        let output = runtime.run_bundle(&bundle, &[]);
        assert_eq!(stdout(&output), "0\nxterm\n", "{flags:?}: {}", stderr(&output));
    }
    // The current directory, when none is named.
    std::fs::remove_file(&path).unwrap();
    let mut command = runtime.command(&["spec"]);
    command.current_dir(&bundle);
    assert!(crate::oci::finish(command, "spec").status.success() && path.exists());
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Where the distribution has the specification's JSON schema.
const SCHEMA: &str = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema";

/// What the specification's JSON schema finds wrong with a document; none when it cannot be asked.
fn judged(schema: &str, document: &Value) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oci/schema.py");
    let mut command = Command::new("python3");
    command.args([script, &format!("{SCHEMA}/{schema}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().ok()?;
    child.stdin.take().unwrap().write_all(document.to_string().as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| stdout(&output))
}

#[test]
fn spec_and_state_are_what_the_specifications_schema_describes() {
    let Some(runtime) = Runtime::new("schema") else { return };
    let empty = judged("config-schema.json", &json!({}));
    let why = "golang-github-opencontainers-specs-dev or python3-jsonschema is not there";
    if !need("schema", empty.is_some(), why) {
        return;
    }
    assert!(empty.unwrap().contains("'ociVersion' is a required property"), "it judges");
    for flags in [&[][..], &["--rootless"]] {
        let dir = crate::common::Scratch::under(&runtime.scratch.0, "spec");
        runtime.ok(&[&["spec", "--bundle", dir.0.to_str().unwrap()], flags].concat());
        let written = serde_json::from_str(&std::fs::read_to_string(dir.path("config.json")).unwrap()).unwrap();
        assert_eq!(judged("config-schema.json", &written).unwrap(), "", "{flags:?}");
    }
    let container = runtime.create(&Config::sh("true").set("/annotations", json!({ "a": "b" })));
    assert_eq!(judged("state-schema.json", &container.state()).unwrap(), "");
    container.start();
    container.wait();
    assert_eq!(judged("state-schema.json", &container.state()).unwrap(), "");
}

#[test]
fn every_test_that_the_conformance_table_names_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(top.join("docs/conformance.md")).unwrap();
    let mut named = 0;
    let rows = || text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Section"));
    let quoted = rows().flat_map(|row| row.split('`').skip(1).step_by(2));
    for name in quoted.filter(|word| word.contains("::")) {
        let (file, test) = name.rsplit_once("::").unwrap();
        let path = if file.contains('/') {
            format!("crates/{file}.rs")
        } else {
            format!("crates/cli/tests/runtime/{file}.rs")
        };
        let source = std::fs::read_to_string(top.join(&path)).unwrap_or_else(|e| panic!("{name}: {path}: {e}"));
        assert!(
            source.contains(&format!("#[test]\nfn {test}()"))
                || source.contains(&format!("    #[test]\n    fn {test}()")),
            "{name}"
        );
        named += 1;
    }
    assert!(named > 50, "only {named} names were found");
    // No row without an answer.
    for row in rows() {
        assert!(row.contains("::") || row.contains("not met") || row.contains("does not apply"), "{row}");
    }
}
