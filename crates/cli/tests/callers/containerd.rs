//! A containerd in a place of its own, with two images: `localhost/box:1`, which is busybox, and a pause for pods.

use super::Place;

/// Its socket.
pub const SOCKET: &str = "/run/containerd.sock";

/// As docs/kubernetes.md has it, and paths of the place's own.
const SETTINGS: &str = r#"version = 2
root = "DIR/containerd"
state = "/run/containerd-state"
[grpc]
address = "/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
# A root without CAP_SYS_RESOURCE cannot make itself less likely to be killed.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "DIR/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.mycontainer]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.mycontainer.options]
BinaryName = "RUNTIME"
"#;

const NETWORK: &str = r#"{
  "cniVersion": "0.4.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}]
}"#;

/// Packs the place's root file system as an image that `docker load` and containerd take. `$1` is its name, `$2` its
/// command.
const PACK: &str = r#"
mkdir -p image
[ -e image/layer.tar ] || tar -C root -cf image/layer.tar .
sum=$(sha256sum <image/layer.tar | cut -d' ' -f1)
cat >image/config.json <<END
{"architecture":"$(dpkg --print-architecture 2>/dev/null || echo amd64)","os":"linux",
 "config":{"Env":["PATH=/usr/bin:/bin"],"Cmd":$2},
 "rootfs":{"type":"layers","diff_ids":["sha256:$sum"]}}
END
echo "[{\"Config\":\"config.json\",\"RepoTags\":[\"localhost/$1:1\"],\"Layers\":[\"layer.tar\"]}]" >image/manifest.json
tar -C image -cf "$1.tar" .
for namespace in default k8s.io; do ctr -a /run/containerd.sock -n $namespace image import "$1.tar"; done
"#;

/// Starts it, with the runtime under test as `mycontainer`.
pub fn start(place: &Place) {
    let settings = SETTINGS.replace("DIR", &place.path("")).replace("RUNTIME", &place.runtime());
    place.file("containerd.toml", settings);
    place.file("cni/10-pods.conflist", NETWORK);
    serve(place);
    place.ok(&["sh", "-ec", PACK, "sh", "box", r#"["sh"]"#]);
    place.ok(&["sh", "-ec", PACK, "sh", "pause", r#"["sleep","2147483647"]"#]);
}

/// Starts it once more, where it was before.
pub fn serve(place: &Place) {
    let settings = place.path("containerd.toml");
    place.serve("containerd", &["containerd", "-c", &settings], &format!("ctr -a {SOCKET} version"));
}

/// Ends it by a signal, and nothing else: what it started runs on.
pub fn end(place: &Place, signal: &str) {
    place.sh(&format!("kill -{signal} $(pidof containerd); while pidof containerd; do sleep 0.05; done >/dev/null"));
}

/// Asserts that no container has left anything.
pub fn assert_empty(place: &Place, namespace: &str, groups: &str) {
    place.until_none("containers", &format!("ctr -a {SOCKET} -n {namespace} container ls -q"));
    place.until_none(
        "tasks",
        "find /run/containerd-state/io.containerd.runtime.v2.task -mindepth 2 2>/dev/null || true",
    );
    place.until_none(
        "states of the runtime",
        "find /run/containerd/runc /run/containerd-state/runc -mindepth 2 ! -name .start ! -name .stage ! -path '*/.seccomp*' 2>/dev/null || true",
    );
    place.until_none("control groups", &format!("find /sys/fs/cgroup -type d -path '*/{groups}/*'"));
    place.until_none("shims", "ps -eo args | grep [c]ontainerd-shim || true");
    place.until_none("mounts", "grep /rootfs /proc/self/mounts || true");
}
