//! `inspect`: JSON as Docker's scripts expect it; Podman is asked whether it sees the same.

use crate::common::{stderr, stdout};
use crate::fixtures::image::{Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::{formats, has};
use serde_json::{Value, json};

fn image() -> TestImage {
    TestImage::busybox()
        .layer(Layer::new().file("x", "x\n", 0o644))
        .env("A=b")
        .entrypoint(&["/bin/sh", "-c"])
        .cmd(&["echo it runs"])
        .working_dir("/tmp")
        .user("ann")
        .volume("/volume")
        .port("80/tcp")
        .stop_signal("SIGINT")
        .label("its.name", "value")
        .healthcheck(json!({ "Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000 }))
}

#[test]
fn it_is_what_podman_sees() {
    if !has("it_is_what_podman_sees", &["podman"]) {
        return;
    }
    let (peers, image) = (Peers::new(), image());
    formats::write_docker_archive(&peers.path("image"), &["localhost/app:1", "localhost/other:2"], &image);
    peers.ours_ok(&["load", "-q", "-i", "image"]);
    peers.ok(&["podman", "load", "-q", "-i", "image"]);
    let ours: Value = serde_json::from_str(&peers.ours_ok(&["inspect", "localhost/app:1"])).unwrap();
    let podmans: Value = serde_json::from_str(&peers.ok(&["podman", "image", "inspect", "localhost/app:1"])).unwrap();
    let (ours, podmans) = (&ours[0], &podmans[0]);
    assert_eq!(ours["Id"], image.id());
    assert_eq!(podmans["Id"], image.id()[7..]);
    for field in ["Os", "Architecture", "RootFS"] {
        assert_eq!(ours[field], podmans[field], "{field}");
    }
    for field in ["Env", "Entrypoint", "Cmd", "WorkingDir", "User", "Volumes", "ExposedPorts", "StopSignal", "Labels"] {
        assert_eq!(ours["Config"][field], podmans["Config"][field], "{field}");
    }
    assert_eq!(ours["RepoTags"], json!(["localhost/app:1", "localhost/other:2"]));
    assert_eq!(ours["Config"]["Healthcheck"]["Test"], json!(["CMD-SHELL", "true"]));
}

#[test]
fn templates_and_what_is_missing() {
    if !has("templates_and_what_is_missing", &[]) {
        return;
    }
    let (peers, image) = (Peers::new(), image());
    formats::write_docker_archive(&peers.path("image"), &["localhost/app:1"], &image);
    formats::write_docker_archive(&peers.path("bare"), &["localhost/bare:1"], &TestImage::scratch());
    peers.ours_ok(&["load", "-q", "-i", "image"]);
    peers.ours_ok(&["load", "-q", "-i", "bare"]);
    for (format, expected) in [
        ("{{.Id}}", image.id()),
        ("{{.Config.User}} {{.Config.WorkingDir}}", "ann /tmp".into()),
        ("{{json .Config.Cmd}} {{.Config.Cmd}}", "[\"echo it runs\"] [echo it runs]".into()),
        ("{{index .Config.Labels \"its.name\"}}", "value".into()),
        ("{{range .Config.Env}}{{.}};{{end}}", "PATH=/usr/bin:/bin;A=b;".into()),
        ("{{index .RepoTags 0}}", "localhost/app:1".into()),
        ("{{len .RootFS.Layers}}", "2".into()),
        ("{{range $p, $_ := .Config.ExposedPorts}}{{$p}}{{end}}", "80/tcp".into()),
        (
            "{{.Architecture}}/{{.Os}}",
            format!("{}/linux", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
        ),
    ] {
        assert_eq!(
            peers.ours_ok(&["image", "inspect", "-f", format, "localhost/app:1"]),
            format!("{expected}\n"),
            "{format}"
        );
    }
    assert_eq!(peers.ours_ok(&["inspect", "-f", "{{json .Config.Cmd}}{{.Config.User}}", "localhost/bare:1"]), "null\n");
    let both = peers.ours_ok(&["inspect", "localhost/app:1", "localhost/bare:1"]);
    assert_eq!(serde_json::from_str::<Value>(&both).unwrap().as_array().map(Vec::len), Some(2));
    assert!(both.starts_with("[\n    {\n        \"Id\": \"sha256:"), "{both}");
    assert!(peers.ours_ok(&["inspect", "-f", "json", "localhost/app:1"]).starts_with("{\"Id\":"));

    let output = peers.ours(&["inspect", "nothing"]);
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("[]\n", Some(1)));
    let said = stderr(&output);
    assert!(said.starts_with("mycontainer: there is no container and no image \"nothing\"\n  hint: "), "{said}");
    let said = peers.ours_fails(1, &["image", "inspect", "nothing"]);
    assert!(said.starts_with("mycontainer: there is no image \"nothing\"\n  hint: "), "{said}");
    let output = peers.ours(&["inspect", "-f", "{{.Id}}", "nothing", "localhost/app:1"]);
    assert_eq!((stdout(&output), output.status.code()), (image.id() + "\n", Some(1)));
    let said = peers.ours_fails(1, &["inspect", "-f", "{{.Nonsense}}", "localhost/app:1"]);
    assert!(said.contains("Nonsense"), "{said}");
    peers.ours_fails(125, &["inspect", "-f", "{{", "localhost/app:1"]);
    peers.ours_fails(125, &["inspect"]);
}
