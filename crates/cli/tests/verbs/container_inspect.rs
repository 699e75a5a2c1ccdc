//! `inspect` of containers: the fields of Docker's that scripts ask for, of one that runs and of one that does not.

use crate::common::host::Host;
use crate::common::{code, stderr, stdout};
use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use serde_json::{Value, json};

fn image() -> TestImage {
    TestImage::busybox()
        .env("A=image")
        .user("ann")
        .label("of", "image")
        .working_dir("/tmp")
        .volume("/kept")
        .port("80/tcp")
        .stop_signal("SIGINT")
        .cmd(&["sh"])
}

fn check(shown: &Value, expected: &[(&str, Value)]) {
    for (pointer, value) in expected {
        assert_eq!(shown.pointer(pointer), Some(value), "{pointer} of {shown:#}");
    }
}

#[test]
fn one_that_was_created() {
    if !has("one_that_was_created", &[]) {
        return;
    }
    let peers = machine(image());
    let flags = ["create", "--name", "made", "-l", "a=b", "-e", "B=own", "-w", "/srv"];
    let id = peers.ours_ok(&[&flags[..], &["./layout", "echo", "hi"]].concat()).trim_end().to_owned();
    let text = peers.ours_ok(&["inspect", "made"]);
    assert!(text.starts_with("[\n    {\n        \"Id\": \""), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    check(
        &shown[0],
        &[
            ("/Id", json!(id)),
            ("/Name", json!("/made")),
            ("/Path", json!("echo")),
            ("/Args", json!(["hi"])),
            ("/Image", json!(image().id())),
            ("/State/Status", json!("created")),
            ("/State/Running", json!(false)),
            ("/State/Pid", json!(0)),
            ("/State/ExitCode", json!(0)),
            ("/State/StartedAt", json!("0001-01-01T00:00:00Z")),
            ("/Config/Hostname", json!(id[..8])),
            ("/Config/User", json!("ann")),
            ("/Config/Env", json!(["PATH=/usr/bin:/bin", "A=image", "B=own"])),
            ("/Config/Cmd", json!(["echo", "hi"])),
            ("/Config/Entrypoint", json!(null)),
            ("/Config/WorkingDir", json!("/srv")),
            ("/Config/Labels", json!({ "a": "b", "of": "image" })),
            ("/Config/ExposedPorts", json!({ "80/tcp": {} })),
            ("/Config/Volumes", json!({ "/kept": {} })),
            ("/Config/StopSignal", json!("SIGINT")),
            ("/Config/Image", json!("./layout")),
            ("/Mounts/0/Type", json!("volume")),
            ("/Mounts/0/Destination", json!("/kept")),
            ("/Mounts/0/RW", json!(true)),
            ("/NetworkSettings/IPAddress", json!("")),
            ("/NetworkSettings/Ports", json!({})),
        ],
    );
    assert!(shown[0]["Created"].as_str().unwrap().starts_with("20"), "{shown:#}");
    // What the image wants kept is a volume with a name of its own, which is there already.
    assert_eq!(shown[0]["Mounts"].as_array().unwrap().len(), 1);
    assert_eq!(peers.ours_ok(&["volume", "ls", "-q"]).trim_end(), shown[0]["Mounts"][0]["Name"]);
    for (words, expected) in [
        (&["inspect", "-f", "{{.Name}} {{.State.Status}}", &id[..10]][..], "/made created\n".to_owned()),
        (&["container", "inspect", "-f", "{{.Id}}", "made"], format!("{id}\n")),
        (&["inspect", "--type", "container", "-f", "{{index .Config.Labels \"a\"}}", "made"], "b\n".into()),
        (&["inspect", "--type", "image", "-f", "{{.Id}}", &image().id()[7..19]], image().id() + "\n"),
        (&["inspect", "-f", "{{.Id}}", "made", &image().id()[7..19]], format!("{id}\n{}\n", image().id())),
    ] {
        assert_eq!(peers.ours_ok(words), expected, "{words:?}");
    }
    assert!(peers.ours_ok(&["container", "inspect", "-f", "json", "made"]).starts_with("{\"Id\":\""));
    for (words, said) in [
        (&["inspect", "--type", "image", "made"][..], "there is no image \"made\""),
        (&["image", "inspect", "made"], "there is no image \"made\""),
        (&["inspect", "--type", "container", &image().id()[7..19]], "there is no container"),
        (&["container", "inspect", &image().id()[7..19]], "there is no container"),
    ] {
        let output = peers.ours(words);
        assert_eq!((stdout(&output).as_str(), code(output.status)), ("[]\n", 1), "{words:?}");
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
    }
    let said = peers.ours_fails(1, &["inspect", "-f", "{{.State.Health}}", "made"]);
    assert!(said.contains("Health"), "{said}");
    peers.ours_fails(125, &["inspect", "--type", "volume", "made"]);
}

#[test]
fn one_that_runs() {
    if !has("one_that_runs", &[]) {
        return;
    }
    let peers = machine(image());
    std::fs::create_dir(peers.path("mine")).unwrap();
    let mine = peers.path("mine").display().to_string();
    let volume = format!("{mine}:/mine:ro");
    let flags = [
        "-h",
        "box",
        "-u",
        "0",
        "-v",
        &volume,
        "--tmpfs",
        "/scratch",
        "-m",
        "64m",
        "--pids-limit",
        "100",
        "--cpus",
        "0.5",
        "--read-only",
    ];
    let guest = Guest::start(&peers, "runs", &flags, "./layout", "echo ready; sleep 1000");
    let shown: Value = serde_json::from_str(&peers.ours_ok(&["inspect", "runs"])).unwrap();
    let (shown, pid) = (&shown[0], guest.first_process());
    let source = format!("/var/lib/mycontainer/containers/{}/volume-0", shown["Id"].as_str().unwrap());
    check(
        shown,
        &[
            ("/Name", json!("/runs")),
            ("/Path", json!("sh")),
            ("/State/Status", json!("running")),
            ("/State/Running", json!(true)),
            ("/State/Paused", json!(false)),
            ("/State/Pid", json!(pid)),
            ("/State/StartedAt", shown["Created"].clone()),
            ("/State/FinishedAt", json!("0001-01-01T00:00:00Z")),
            ("/Config/Hostname", json!("box")),
            ("/Config/User", json!("0")),
            ("/Config/Tty", json!(false)),
            ("/HostConfig/Binds", json!([volume])),
            ("/HostConfig/NetworkMode", json!("none")),
            ("/HostConfig/Memory", json!(64 << 20)),
            ("/HostConfig/NanoCpus", json!(500_000_000)),
            ("/HostConfig/PidsLimit", json!(100)),
            ("/HostConfig/ReadonlyRootfs", json!(true)),
            ("/HostConfig/Init", json!(false)),
            ("/HostConfig/Privileged", json!(false)),
            ("/HostConfig/Tmpfs", json!({ "/scratch": "" })),
            (
                "/Mounts/0",
                json!({ "Type": "bind", "Name": "", "Source": mine, "Destination": "/mine", "Mode": "ro", "RW": false,
            "Propagation": "rprivate" }),
            ),
            ("/Mounts/1/Type", json!("tmpfs")),
            (
                "/Mounts/2",
                json!({ "Type": "volume", "Name": "", "Driver": "local", "Source": source, "Destination": "/kept", "Mode": "", "RW": true,
            "Propagation": "" }),
            ),
            ("/NetworkSettings/IPAddress", json!("")),
            ("/NetworkSettings/Networks/none/IPAddress", json!("")),
        ],
    );
    // What it says of a volume of the image is where that is.
    assert!(peers.path(&source.replacen("/var", "state", 1)).is_dir(), "{source}");
}

#[test]
fn volumes_are_where_it_says() {
    if !has("volumes_are_where_it_says", &[]) {
        return;
    }
    let peers = machine(image());
    let script = "echo a >/named/file; echo b >/aa/file; echo c >/kept/file; echo ready; sleep 1000";
    let flags = ["-u", "0", "-v", "vol:/named", "-v", "/aa"];
    let _guest = Guest::start(&peers, "runs", &flags, "./layout", script);
    let shown: Value = serde_json::from_str(&peers.ours_ok(&["inspect", "runs"])).unwrap();
    for (destination, name, content) in [("/named", "vol", "a\n"), ("/aa", "", "b\n"), ("/kept", "", "c\n")] {
        let mounts = shown[0]["Mounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["Destination"] == destination).unwrap();
        assert_eq!((&mount["Type"], &mount["Name"]), (&json!("volume"), &json!(name)), "{mount}");
        let source = mount["Source"].as_str().unwrap().replacen("/var", "state", 1);
        assert_eq!(std::fs::read_to_string(peers.path(&source).join("file")).unwrap(), content, "{mount}");
    }
    assert_eq!(shown[0]["HostConfig"]["Binds"], json!(["vol:/named"]));
    assert_eq!(peers.ours_ok(&["ps", "--format", "{{.Mounts}}"]), "vol\n");
}

#[test]
fn its_address_is_the_one_that_it_has() {
    let Some(host) = Host::new("its_address_is_the_one_that_it_has", "") else { return };
    let mut box_ = host.start(&[], "read x; true");
    let ask = |format: &str| host.sh(&format!("{} inspect -f '{format}' {}", crate::common::tool(), &box_.id));
    let address = box_.address.clone();
    assert_eq!(ask("{{.NetworkSettings.IPAddress}}/{{.NetworkSettings.IPPrefixLen}}"), format!("{address}/16\n"));
    assert_eq!(ask("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"), format!("{address}\n"));
    assert_eq!(ask("{{.NetworkSettings.Gateway}}"), "172.17.0.1\n");
    let mac = ask("{{.NetworkSettings.MacAddress}}");
    host.net(&format!("ping -c1 -W1 {address}; ip neigh show {address} | grep -q {mac}"));
    box_.end_ok();
}
