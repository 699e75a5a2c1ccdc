//! Volumes and the containers that have them: those that nobody named, those of others, and whose files they are.

use crate::common::{code, stderr, stdout};
use crate::fixtures::guest::machine;
use crate::fixtures::has;
use crate::fixtures::image::{Layer, TestImage};
use crate::fixtures::peers::Peers;
use serde_json::{Value, json};

fn image() -> TestImage {
    TestImage::busybox()
        .layer(Layer::new().dir("data", 0o755).file("data/first", "the image's\n", 0o644))
        .volume("/data")
}

fn place(name: &str) -> Option<Peers> {
    has(name, &[]).then(|| machine(image()))
}

#[track_caller]
fn mounts(peers: &Peers, name: &str) -> Vec<Value> {
    let shown: Value = serde_json::from_str(&peers.ours_ok(&["inspect", name])).unwrap();
    shown[0]["Mounts"].as_array().unwrap().clone()
}

/// The names of all volumes.
#[track_caller]
fn volumes(peers: &Peers) -> Vec<String> {
    peers.ours_ok(&["volume", "ls", "-q"]).lines().map(str::to_owned).collect()
}

#[test]
fn one_without_a_name_goes_with_its_container_when_asked() {
    let Some(peers) = place("one_without_a_name_goes_with_its_container_when_asked") else { return };
    let flags = ["create", "--name", "one", "-v", "/more", "-v", "named:/named"];
    peers.ours_ok(&[&flags[..], &["./layout", "sh", "-c", "cat /data/first; touch /data/x /more/y"]].concat());
    // One that does not run shows them all the same.
    let shown = mounts(&peers, "one");
    let of = |target: &str| shown.iter().find(|mount| mount["Destination"] == target).unwrap().clone();
    let (data, more) = (of("/data"), of("/more"));
    assert_eq!(shown.len(), 3, "{shown:#?}");
    for mount in [&data, &more] {
        let name = mount["Name"].as_str().unwrap();
        assert_eq!((&mount["Type"], &mount["Driver"], &mount["RW"]), (&json!("volume"), &json!("local"), &json!(true)));
        assert_eq!(mount["Source"], format!("/var/lib/mycontainer/volumes/{name}/_data"));
        let said = peers.ours_fails(1, &["volume", "rm", name]);
        assert!(said.contains("is used by container one"), "{said}");
    }
    assert_eq!(volumes(&peers).len(), 2);
    assert_eq!(peers.ours_ok(&["start", "-a", "one"]), "the image's\n");
    assert_eq!(volumes(&peers).len(), 3);
    peers.ours_ok(&["volume", "prune", "-a", "-f"]);
    assert_eq!(volumes(&peers).len(), 3, "a container has them");
    assert_eq!(mounts(&peers, "one"), shown);
    // `rm` alone leaves them; with -v those go that nobody named.
    peers.ours_ok(&["rm", "one"]);
    assert_eq!(volumes(&peers).len(), 3);
    assert_eq!(peers.ours_ok(&["volume", "prune", "-f"]).matches("Deleted").count(), 1);
    assert_eq!(volumes(&peers), ["named"]);
    peers.ours_ok(&["run", "--network=none", "--name", "two", "-v", "/more", "-v", "named:/n", "./layout", "true"]);
    assert_eq!(volumes(&peers).len(), 3);
    peers.ours_ok(&["rm", "-v", "two"]);
    assert_eq!(volumes(&peers), ["named"]);
    // One that goes when it ends leaves none, in front and in the background.
    peers.ours_ok(&["run", "--rm", "--network=none", "-v", "/more", "./layout", "touch", "/more/x"]);
    peers.ours_ok(&["run", "--rm", "-d", "--network=none", "--name", "bg", "-v", "/more", "./layout", "sleep", "1000"]);
    assert_eq!(mounts(&peers, "bg").len(), 2);
    peers.ours_ok(&["exec", "bg", "touch", "/more/x", "/data/x"]);
    peers.ours_ok(&["rm", "-f", "bg"]);
    assert_eq!(volumes(&peers), ["named"]);
    assert_eq!(peers.names("lib/mycontainer/containers"), [""; 0]);
}

#[test]
fn a_failed_create_leaves_none() {
    let Some(peers) = place("a_failed_create_leaves_none") else { return };
    peers.ours_ok(&["create", "--name", "taken", "./layout"]);
    let before = volumes(&peers);
    for flags in
        [&["--name", "taken"][..], &["--security-opt", "seccomp=/no/such"], &["--cidfile", "/no/such/dir/file"]]
    {
        peers.ours_fails(125, &[&["create", "-v", "/more"], flags, &["./layout"]].concat());
        assert_eq!(volumes(&peers), before, "{flags:?}");
    }
    // Whatever a kill leaves belongs to a container.
    let words = |n: u32| ["create", "--name", &format!("k{n}"), "-v", "/more", "./layout"].map(str::to_owned).to_vec();
    peers.killed(40, words, |n, _| {
        let known: Vec<String> = mounts_of_all(&peers);
        let stray: Vec<String> = volumes(&peers).into_iter().filter(|name| !known.contains(name)).collect();
        assert!(stray.is_empty(), "round {n}: {stray:?} of {known:?}");
    });
}

fn mounts_of_all(peers: &Peers) -> Vec<String> {
    let ids = peers.ours_ok(&["ps", "-aq", "--no-trunc"]);
    ids.lines().flat_map(|id| mounts(peers, id)).filter_map(|mount| Some(mount["Name"].as_str()?.to_owned())).collect()
}

#[test]
fn a_container_has_those_of_others() {
    let Some(peers) = place("a_container_has_those_of_others") else { return };
    peers.sh("mkdir host; echo host >host/file");
    let host = format!("{}:/host", peers.path("host").display());
    let flags = ["-v", &host, "-v", "named:/named", "--tmpfs", "/memory", "-v", "ro:/ro:ro"];
    peers.ours_ok(&[&["create", "--name", "first"], &flags[..], &["./layout", "sleep", "1000"]].concat());
    peers.ours_ok(&["start", "first"]);
    peers.ours_ok(&["exec", "first", "sh", "-c", "echo own >/data/own; echo named >/named/file"]);
    let look =
        "cat /host/file /named/file /data/own /data/first; grep -c ' /memory ' /proc/mounts; touch /ro/x /named/y";
    let shown = "host\nnamed\nown\nthe image's\n0\n";
    let run = |flags: &[&str], script: &str| {
        peers.ours(&[&["run", "--rm", "--network=none"], flags, &["./layout", "sh", "-c", script]].concat())
    };
    for running in [true, false] {
        let output = run(&["--volumes-from", "first"], look);
        assert_eq!(stdout(&output), shown, "{running} {}", stderr(&output));
        assert!(
            stderr(&output).contains("/ro/x: Read-only") && !stderr(&output).contains("/named/y"),
            "{}",
            stderr(&output)
        );
        let output = run(&["--volumes-from=first:ro"], look);
        assert!(stderr(&output).contains("/named/y: Read-only"), "{}", stderr(&output));
        if running {
            peers.ours_ok(&["stop", "-t", "0", "first"]);
        }
    }
    // What the person puts there wins; of two others the later.
    assert_eq!(stdout(&run(&["--volumes-from", "first", "-v", "mine:/named"], "ls /named")), "");
    peers.ours_ok(&["create", "--name", "second", "-v", "else:/named", "./layout"]);
    let flags = ["--volumes-from", "first", "--volumes-from", "second"];
    assert_eq!(stdout(&run(&flags, "ls /named; cat /host/file")), "host\n");
    // It is written down: the other may go, and what it had is used still.
    peers.ours_ok(&["create", "--name", "heir", "--volumes-from", "first", "./layout", "cat", "/data/own"]);
    let from = peers.ours_ok(&["inspect", "-f", "{{json .HostConfig.VolumesFrom}}", "heir"]);
    assert_eq!(from, "[\"first\"]\n");
    let name = |of: &str| {
        let data = mounts(&peers, of).into_iter().find(|mount| mount["Destination"] == "/data").unwrap();
        data["Name"].as_str().unwrap().to_owned()
    };
    assert_eq!(name("heir"), name("first"));
    peers.ours_ok(&["rm", "-v", "first"]);
    assert_eq!(peers.ours_ok(&["start", "-a", "heir"]), "own\n");
    let last = name("heir");
    assert!(volumes(&peers).contains(&last));
    peers.ours_ok(&["rm", "-v", "heir"]);
    assert!(!volumes(&peers).contains(&last));
    // The directories of one that goes cannot be had.
    peers.ours_ok(&["run", "--rm", "-d", "--network=none", "--name", "goes", "./layout", "sleep", "1000"]);
    for (from, why) in [("goes", "has no name"), ("nobody", "there is no container"), ("second:x", "write CONTAINER")] {
        let output = run(&["--volumes-from", from], "true");
        assert!(code(output.status) == 125 && stderr(&output).contains(why), "{from}: {}", stderr(&output));
    }
    peers.ours_ok(&["rm", "-f", "goes", "second"]);
}

#[test]
fn files_become_the_users() {
    let Some(peers) = place("files_become_the_users") else { return };
    let make = "mkdir -p host/deep/er outside; touch host/deep/er/file outside/secret; \
                ln -s ../outside host/dir; ln -s ../../outside/secret host/deep/link; chown -R 7:7 host outside";
    peers.sh(make);
    let host = peers.path("host").display().to_string();
    let look = "cd host; stat -c '%u:%g %n' . deep deep/er/file deep/link dir ../outside ../outside/secret";
    for (flag, value) in [
        ("-v", format!("{host}:/h:U")),
        ("-v", format!("{host}:/h:ro,U,z")),
        ("--mount", format!("type=bind,src={host},dst=/h,chown=true,relabel=private")),
    ] {
        peers.sh("chown -hR 7:7 host");
        peers.ours_ok(&["run", "--rm", "--network=none", "-u", "ann", flag, &value, "./layout", "true"]);
        assert_eq!(
            peers.sh(look),
            "1000:100 .\n1000:100 deep\n1000:100 deep/er/file\n1000:100 deep/link\n1000:100 dir\n7:7 ../outside\n\
             7:7 ../outside/secret\n",
            "{value}"
        );
    }
    // A volume, at each start anew; and a file.
    let flags = ["create", "--name", "own", "-u", "ann", "-v", "vol:/data:U", "./layout"];
    peers.ours_ok(&[&flags[..], &["sh", "-c", "stat -c %u:%g /data /data/first; echo >/data/mine"]].concat());
    assert_eq!(peers.ours_ok(&["start", "-a", "own"]), "1000:100\n1000:100\n");
    peers.sh("chown -R 7:7 /var/lib/mycontainer/volumes/vol/_data");
    assert_eq!(peers.ours_ok(&["start", "-a", "own"]), "1000:100\n1000:100\n");
    peers.ours_ok(&["rm", "own"]);
    let file = format!("{host}/deep/er/file:/f:U");
    assert_eq!(peers.ours_run(&["-v", &file, "-u", "5", "./layout", "stat", "-c", "%u:%g", "/f"]), "5:0\n");
    // The first that is labelled by --mount.
    peers.ours_ok(&[
        "run",
        "--rm",
        "--network=none",
        "--mount",
        "src=told,dst=/t,volume-label=a=b",
        "./layout",
        "true",
    ]);
    assert_eq!(peers.ours_ok(&["volume", "inspect", "-f", "{{.Labels.a}}", "told"]), "b\n");
}
