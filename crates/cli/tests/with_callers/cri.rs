//! Kubernetes with our runtime: containerd's service for kubelets, called as a kubelet calls it, and `mycontainer` as
//! the handler that a RuntimeClass names. The settings are those of docs/kubernetes.md.

use crate::callers::containerd::{SOCKET, assert_empty, start};
use crate::callers::kubelet::{Stream, call, field};
use crate::callers::{Place, Rows, Shared, has_callers};
use crate::common::{unique, wait_until};
use std::sync::Arc;

static NODE: Shared<Node> = Shared::new();

/// A machine with containerd and no kubelet but this one.
struct Node {
    place: Place,
}

impl Node {
    /// That which all tests of this file share; `None` where this test cannot run.
    fn get(test: &str) -> Option<Arc<Node>> {
        let needed = ["containerd", "ctr", "containerd-shim-runc-v2", "protoc", "curl", "iptables"];
        has_callers(test, &needed).then(|| {
            NODE.get(|| {
                let place = Place::new("cri");
                start(&place);
                Node { place }
            })
        })
    }

    fn try_call(&self, method: &str, request: &str) -> Result<String, String> {
        call(&self.place, SOCKET, method, request)
    }

    #[track_caller]
    fn call(&self, method: &str, request: &str) -> String {
        self.try_call(method, request).unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    /// A pod with these namespaces.
    #[track_caller]
    fn pod(&self, namespaces: &str) -> Pod<'_> {
        self.pod_with(namespaces, "")
    }

    /// As [`Node::pod`], with more of a security context.
    #[track_caller]
    fn pod_with(&self, namespaces: &str, context: &str) -> Pod<'_> {
        let name = unique("pod");
        let config = format!(
            r#"metadata {{ name: "{name}" uid: "{name}-uid" namespace: "default" }} hostname: "{}"
               log_directory: "{}" labels {{ key: "app" value: "test" }}
               linux {{ cgroup_parent: "/pods/{name}"
                        security_context {{ namespace_options {{ {namespaces} }} seccomp {{ profile_type: RuntimeDefault }} {context} }} }}"#,
            if namespaces.contains("network: NODE") { "" } else { "in-the-pod" },
            self.place.path(&name),
        );
        let request = format!("config {{ {config} }} runtime_handler: \"mycontainer\"");
        let id = field(&self.call("RunPodSandbox", &request), "pod_sandbox_id");
        Pod { node: self, name, id, config }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_empty(&self.place, "k8s.io", "pods/*");
        }
    }
}

struct Pod<'a> {
    node: &'a Node,
    name: String,
    id: String,
    config: String,
}

impl Pod<'_> {
    /// Creates and starts a container that runs a script. `more` is more of its ContainerConfig.
    #[track_caller]
    fn start(&self, more: &str, script: &str) -> Container<'_> {
        let name = unique("container");
        let script = script.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let config = format!(
            r#"metadata {{ name: "{name}" }} image {{ image: "localhost/box:1" }} log_path: "{name}.log"
               command: "sh" command: "-c" args: "{script}" {more}"#
        );
        let request =
            format!(r#"pod_sandbox_id: "{}" config {{ {config} }} sandbox_config {{ {} }}"#, self.id, self.config);
        let id = field(&self.node.call("CreateContainer", &request), "container_id");
        let container = Container { pod: self, name, id };
        assert_eq!(container.status("state"), "", "CONTAINER_CREATED is 0, and left out");
        container.call("StartContainer", "");
        container
    }

    /// What a script in a container of this pod prints, to its end, which must be 0.
    #[track_caller]
    fn sh(&self, more: &str, script: &str) -> String {
        let said = self.said(more, script);
        assert!(!said.ends_with(']'), "{script}: {said}");
        said
    }

    /// As [`Pod::sh`], with the exit code in brackets if it is another.
    #[track_caller]
    fn said(&self, more: &str, script: &str) -> String {
        let container = self.start(more, script);
        assert!(wait_until(20, || container.status("state") == "CONTAINER_EXITED"), "it does not end");
        let code = container.status("exit_code");
        container.text() + &if code.is_empty() { String::new() } else { format!("[{code}]") }
    }

    fn status(&self, name: &str) -> String {
        field(&self.node.call("PodSandboxStatus", &format!("pod_sandbox_id: {:?}", self.id)), name)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        let request = format!("pod_sandbox_id: {:?}", self.id);
        let stopped = self.node.try_call("StopPodSandbox", &request);
        let removed = self.node.try_call("RemovePodSandbox", &request);
        if !std::thread::panicking() {
            assert_eq!((stopped, removed), (Ok(String::new()), Ok(String::new())));
            let groups = format!("find /sys/fs/cgroup -type d -name {}", self.id);
            self.node.place.until_none("control groups", &groups);
            // The pod's own group is the kubelet's to remove.
            self.node.place.sh(&format!("find /sys/fs/cgroup -type d -name {} -exec rmdir {{}} +", self.name));
        }
    }
}

struct Container<'a> {
    pod: &'a Pod<'a>,
    name: String,
    id: String,
}

impl Container<'_> {
    #[track_caller]
    fn call(&self, method: &str, more: &str) -> String {
        self.pod.node.call(method, &format!("container_id: {:?} {more}", self.id))
    }

    /// A field of its status.
    #[track_caller]
    fn status(&self, name: &str) -> String {
        field(&self.call("ContainerStatus", ""), name)
    }

    /// Exit code, standard output and standard error of a script in it.
    #[track_caller]
    fn exec(&self, script: &str) -> (String, String, String) {
        let answer = self.call("ExecSync", &format!("cmd: \"sh\" cmd: \"-c\" cmd: {script:?} timeout: 30"));
        (field(&answer, "exit_code"), field(&answer, "stdout"), field(&answer, "stderr"))
    }

    fn log_file(&self) -> String {
        self.pod.node.place.path(&format!("{}/{}.log", self.pod.name, self.name))
    }

    fn log(&self) -> String {
        self.pod.node.place.read(&self.log_file())
    }

    /// The log without times and names of streams.
    fn text(&self) -> String {
        self.log().lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(|text| format!("{text}\n")).collect()
    }

    #[track_caller]
    fn until_logged(&self, text: &str) {
        assert!(wait_until(15, || self.log().contains(text)), "{text:?} is not in the log: {:?}", self.log());
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let removed = self.pod.node.try_call("RemoveContainer", &format!("container_id: {:?}", self.id));
        if !std::thread::panicking() {
            assert_eq!(removed, Ok(String::new()));
            let groups = format!("find /sys/fs/cgroup -type d -name {}", self.id);
            self.pod.node.place.until_none("control groups", &groups);
        }
    }
}

const ON_NODE: &str = "network: NODE pid: CONTAINER";

#[test]
fn a_container_lives_and_ends() {
    let Some(node) = Node::get("a_container_lives_and_ends") else { return };
    assert_eq!(field(&node.call("Version", ""), "runtime_name"), "containerd");
    let pod = node.pod(ON_NODE);
    assert_eq!(pod.status("runtime_handler"), "mycontainer");
    let more = r#"working_dir: "/tmp" envs { key: "A" value: "b c" }
                  linux { resources { cpu_period: 100000 cpu_quota: 50000 cpu_shares: 512 memory_limit_in_bytes: 67108864
                                      oom_score_adj: 999 } }"#;
    let script = "trap 'echo got TERM; exit 4' TERM; pwd; echo $A; echo err >&2; cat /proc/self/oom_score_adj
        while :; do sleep 0.1; done";
    let container = pod.start(more, script);
    container.until_logged("999");
    assert_eq!(container.status("state"), "CONTAINER_RUNNING");
    let list = node.call("ListContainers", &format!("filter {{ pod_sandbox_id: {:?} }}", pod.id));
    assert!(list.contains(&container.id) && list.contains("CONTAINER_RUNNING"), "{list}");

    // A line of the log: time, stream, F for a full line, text.
    let log = container.log();
    for line in ["stdout F /tmp", "stdout F b c", "stderr F err"] {
        assert!(
            log.lines().any(|logged| logged.split_once(' ').is_some_and(|(_, rest)| rest == line)),
            "{line}: {log}"
        );
    }
    let answer = container.exec("echo out; echo err >&2; exit 9");
    assert_eq!(answer, ("9".into(), "out\n".into(), "err\n".into()));
    let missing = node.try_call("ExecSync", &format!("container_id: {:?} cmd: \"nonesuch\"", container.id));
    assert!(missing.as_ref().is_err_and(|error| error.contains("not found")), "{missing:?}");
    let late =
        node.try_call("ExecSync", &format!("container_id: {:?} cmd: \"sleep\" cmd: \"50\" timeout: 1", container.id));
    assert!(
        late.as_ref().is_err_and(|error| error.contains("deadline exceeded") || error.contains("timeout")),
        "{late:?}"
    );
    assert_eq!(container.exec("pgrep sleep | wc -l").0, "");

    let limit = |v1: &str, v2: &str| node.place.limit(&container.id, v1, v2);
    let quota =
        |v1: &str, v2: &str| assert_eq!(limit("cpu.cfs_quota_us", "cpu.max"), if node.place.is_v2() { v2 } else { v1 });
    assert_eq!(limit("memory.limit_in_bytes", "memory.max"), "67108864");
    quota("50000", "50000 100000");
    container.call(
        "UpdateContainerResources",
        "linux { cpu_period: 100000 cpu_quota: 80000 memory_limit_in_bytes: 134217728 cpuset_cpus: \"0\" }",
    );
    assert_eq!(limit("memory.limit_in_bytes", "memory.max"), "134217728");
    assert_eq!(limit("cpuset.cpus", "cpuset.cpus"), "0");
    quota("80000", "80000 100000");
    let stats = container.call("ContainerStats", "");
    assert!(field(&stats, "value").parse::<u64>().is_ok_and(|value| value > 0), "{stats}");

    // The kubelet rotates a log by renaming it.
    node.place.sh(&format!("mv {0} {0}.1", container.log_file()));
    container.call("ReopenContainerLog", "");
    container.call("StopContainer", "timeout: 10");
    container.until_logged("got TERM");
    assert!(!container.log().contains("b c"), "{}", container.log());
    assert_eq!((container.status("state"), container.status("exit_code")), ("CONTAINER_EXITED".into(), "4".into()));
    assert_eq!(container.status("reason"), "Error");

    // Deaf to SIGTERM: killed when the time is over.
    let deaf = pod.start("", "trap '' TERM; echo up; while :; do sleep 0.1; done");
    deaf.until_logged("up");
    deaf.call("StopContainer", "timeout: 1");
    assert_eq!(deaf.status("exit_code"), "137");
}

#[test]
fn a_command_that_cannot_be_run_is_told() {
    let Some(node) = Node::get("a_command_that_cannot_be_run_is_told") else { return };
    let pod = node.pod(ON_NODE);
    for (command, text) in
        [("nonesuch", "not found"), ("/bin/nonesuch", "no such file"), ("/etc/passwd", "permission denied")]
    {
        let config = format!(
            r#"metadata {{ name: "{}" }} image {{ image: "localhost/box:1" }} command: "{command}""#,
            unique("bad")
        );
        let request =
            format!(r#"pod_sandbox_id: "{}" config {{ {config} }} sandbox_config {{ {} }}"#, pod.id, pod.config);
        let id = field(&node.call("CreateContainer", &request), "container_id");
        let said = node.try_call("StartContainer", &format!("container_id: {id:?}")).unwrap_err().to_lowercase();
        assert!(said.contains(text) && said.contains("oci runtime create failed"), "{command}: {said}");
        let status = node.call("ContainerStatus", &format!("container_id: {id:?}"));
        assert_eq!(
            (field(&status, "reason"), field(&status, "exit_code")),
            ("StartError".into(), "128".into()),
            "{status}"
        );
        node.call("RemoveContainer", &format!("container_id: {id:?}"));
    }
}

#[test]
fn pods_have_a_network() {
    let Some(node) = Node::get("pods_have_a_network") else { return };
    if !crate::common::need(
        "pods_have_a_network",
        std::path::Path::new("/usr/lib/cni/bridge").exists(),
        "it needs the CNI plugins",
    ) {
        return;
    }
    let (first, second) = (node.pod("pid: CONTAINER"), node.pod("pid: CONTAINER"));
    let address = first.status("ip");
    assert!(address.starts_with("10.22."), "{address}");
    let server = first.start("", "echo from the first pod >/index.html; exec httpd -f -p 8000 -h /");
    // In the same pod by lo, from another over the bridge.
    let get = |host: &str| {
        format!("for n in 1 2 3 4 5 6 7 8 9; do wget -q -O- http://{host}:8000/ && break; sleep 0.2; done")
    };
    assert_eq!(first.sh("", &get("127.0.0.1")), "from the first pod\n");
    assert_eq!(second.sh("", &get(&address)), "from the first pod\n");
    assert_eq!(
        first.sh("", "hostname; ip -4 -o addr show eth0 | awk '{print $4}'"),
        format!("in-the-pod\n{address}/16\n")
    );
    drop(server);
}

#[test]
fn containers_of_a_pod_share() {
    let Some(node) = Node::get("containers_of_a_pod_share") else { return };
    let pod = node.pod("network: NODE pid: POD");
    let shared = "linux { security_context { namespace_options { network: NODE pid: POD } } }";
    let first = pod.start(shared, "echo shared >/dev/shm/file; exec sleep 1234");
    let own = "linux { security_context { namespace_options { network: NODE pid: CONTAINER } } }";
    let out = pod
        .sh(shared, "until [ -e /dev/shm/file ]; do sleep 0.1; done; cat /dev/shm/file; ps -o args | grep -c '^sleep'");
    assert_eq!(out, "shared\n2\n", "the sleeper and the pause");
    assert_eq!(pod.sh(own, "echo $$; ps -o args | grep -c '^sleep'; true"), "1\n0\n");
    let target = format!(
        "linux {{ security_context {{ namespace_options {{ network: NODE pid: TARGET target_id: {:?} }} }} }}",
        first.id
    );
    assert!(pod.sh(&target, "ps -o args").contains("sleep 1234"));
    let host = "linux { security_context { namespace_options { network: NODE pid: NODE } } }";
    let seen = node.pod("network: NODE pid: NODE").sh(host, "ps -o args");
    assert!(seen.contains("containerd -c"), "{seen}");
}

#[test]
fn is_as_the_security_context_says() {
    let Some(node) = Node::get("is_as_the_security_context_says") else { return };
    let pod = node.pod(ON_NODE);
    let bounding = node.place.sh("grep CapBnd /proc/self/status | cut -f2");
    let status = |name: &str| format!("grep {name} /proc/self/status | cut -f2");
    let mounted = node.place.file("mounted/file", "from the node\n");
    let dir = mounted.trim_end_matches("/file");
    let mut rows = Rows::default();
    for (context, script, expected) in [
        (
            "run_as_user { value: 12 } run_as_group { value: 34 } supplemental_groups: 56",
            "id -u; id -g; id -G",
            "12\n34\n34 56\n",
        ),
        ("run_as_username: \"ann\"", "id -u; id -G", "1000\n100 44\n"),
        ("readonly_rootfs: true", "touch /x 2>&1; touch /dev/shm/x", "touch: /x: Read-only file system\n"),
        ("", &status("CapEff"), "00000000a80425fb\n"),
        (
            "capabilities { drop_capabilities: \"ALL\" add_capabilities: \"NET_ADMIN\" }",
            &status("CapBnd"),
            "0000000000001000\n",
        ),
        ("no_new_privs: true", &status("NoNewPrivs"), "1\n"),
        ("seccomp { profile_type: RuntimeDefault }", &status("Seccomp:"), "2\n"),
        ("seccomp { profile_type: Unconfined }", &status("Seccomp:"), "0\n"),
        (
            "masked_paths: \"/proc/version\" readonly_paths: \"/proc/sys\"",
            "wc -c </proc/version; echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward || echo no",
            "0\nno\n",
        ),
        (
            "privileged: true",
            &format!("mount -t tmpfs none /home && echo mounted; [ -c /dev/kmsg ] && {}", status("CapEff")),
            &format!("mounted\n{bounding}"),
        ),
    ] {
        // A privileged container is for a privileged pod, and a kubelet passes the paths to mask.
        let privileged = context.contains("privileged");
        let pod = if privileged { &node.pod_with(ON_NODE, "privileged: true") } else { &pod };
        let more = format!("linux {{ security_context {{ namespace_options {{ {ON_NODE} }} {context} }} }}");
        rows.same(format!("{context} {script}"), pod.said(&more, script), expected);
    }
    // As a distribution's root is, so that later mounts may come through.
    node.place.sh(&format!("mount --bind {dir} {dir}; mount --make-shared {dir}"));
    let mounts = format!(
        r#"mounts {{ container_path: "/read-only" host_path: "{dir}" readonly: true }}
           mounts {{ container_path: "/there" host_path: "{dir}" propagation: PROPAGATION_HOST_TO_CONTAINER }}
           mounts {{ container_path: "/etc/one-file" host_path: "{mounted}" }}
           devices {{ container_path: "/dev/nought" host_path: "/dev/zero" permissions: "rw" }}"#
    );
    let script = "cat /read-only/file /etc/one-file; touch /read-only/x 2>/dev/null || echo no; touch /there/x; head -c 3 /dev/nought | wc -c";
    assert_eq!(pod.sh(&mounts, script), "from the node\nfrom the node\nno\n3\n");
}

#[test]
fn is_killed_for_want_of_memory() {
    let Some(node) = Node::get("is_killed_for_want_of_memory") else { return };
    let pod = node.pod(ON_NODE);
    let greedy = pod.start("linux { resources { memory_limit_in_bytes: 16777216 } }", "exec tail /dev/zero");
    assert!(wait_until(15, || greedy.status("state") == "CONTAINER_EXITED"));
    assert_eq!((greedy.status("reason"), greedy.status("exit_code")), ("OOMKilled".into(), "137".into()));
}

#[test]
fn execs_and_attaches_by_stream() {
    let Some(node) = Node::get("execs_and_attaches_by_stream") else { return };
    let pod = node.pod(ON_NODE);
    let container = pod.start("tty: true stdin: true", "echo main; read -r line; echo \"read $line\"; exec sleep 1000");
    let open = |method: &str, more: &str| Stream::open(&node.place, &field(&container.call(method, more), "url"));

    let mut stream = open("Exec", "cmd: \"sh\" stdin: true stdout: true tty: true");
    stream.send(4, r#"{"Width":111,"Height":33}"#);
    stream.send(0, "tty; until [ \"$(stty size)\" = '33 111' ]; do sleep 0.1; done; echo new-size-$((6*7))\r");
    stream.expect(1, "/dev/pts/");
    stream.expect(1, "new-size-42");
    stream.send(0, "exit 3\r");
    stream.end();
    assert!(stream.seen[3].contains(r#""message":"3""#), "{:?}", stream.seen);

    let mut stream = open("Exec", "cmd: \"sh\" cmd: \"-c\" cmd: \"echo out; echo err >&2\" stdout: true stderr: true");
    stream.end();
    assert_eq!((stream.seen[1].as_str(), stream.seen[2].as_str()), ("out\n", "err\n"));
    assert!(stream.seen[3].contains("Success"), "{:?}", stream.seen);

    let mut stream = open("Attach", "stdin: true stdout: true tty: true");
    stream.send(0, "typed\r");
    stream.expect(1, "read typed");
}
