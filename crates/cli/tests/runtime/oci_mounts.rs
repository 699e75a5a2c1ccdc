//! The configuration's section `mounts`, seen from inside, and the verb `mounts` for a container that runs.

use crate::common::{Scratch, stderr, stdout};
use crate::oci::{Config, Runtime};
use serde_json::{Value, json};
use std::process::Command;

/// A script that prints the attributes and propagation of what is mounted at a path: `rw,nosuid shared:1`.
fn attributes(path: &str) -> String {
    format!("grep ' {path} ' /proc/self/mountinfo | tail -1 | cut -d' ' -f6- | sed 's/ - .*//'")
}

/// A directory of the host with a file in it.
fn volume(runtime: &Runtime, name: &str) -> String {
    runtime.scratch.file(&format!("{name}/file"), "content\n", 0o644);
    runtime.scratch.path(name)
}

#[test]
fn file_systems_of_every_usual_type() {
    let Some(runtime) = Runtime::new("mount types") else { return };
    for (kind, options, script, expected) in [
        ("tmpfs", "size=1m,mode=711", "stat -c '%a' /mnt; df -k /mnt | tail -1 | awk '{print $2}'", "711\n1024\n"),
        ("proc", "", "head -c 5 /mnt/self/comm", "head\n"),
        ("sysfs", "", "ls /mnt/class/net", "lo\n"),
        ("devpts", "newinstance,ptmxmode=0666", "ls /mnt", "ptmx\n"),
        ("mqueue", "", "echo; stat -f -c %t /mnt", "\n19800202\n"),
        ("ramfs", "", "touch /mnt/x; ls /mnt", "x\n"),
    ] {
        let said = runtime.run_ok(&Config::sh(script).mount("/mnt", kind, kind, options));
        assert_eq!(said, expected, "{kind}");
    }
    // An image of a file system.
    let image = runtime.scratch.path("image");
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", &image, "2m"])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if crate::common::need("an image", made, "mke2fs is not there") {
        let looped = Command::new("losetup").args(["--find", "--show", &image]).output().unwrap();
        if looped.status.success() {
            let device = stdout(&looped).trim().to_owned();
            let said = runtime.run(
                &Config::sh("ls -d /mnt/lost+found")
                    .push("/linux/resources/devices", json!({ "allow": true, "type": "b", "access": "rwm" }))
                    .mount("/mnt", "ext4", &device, "ro"),
            );
            assert!(Command::new("losetup").args(["-d", &device]).status().unwrap().success());
            assert_eq!(stdout(&said), "/mnt/lost+found\n", "{}", stderr(&said));
        }
    }
}

#[test]
fn a_bind_shows_a_directory_or_file_of_the_host() {
    let Some(runtime) = Runtime::new("binds") else { return };
    let volume = volume(&runtime, "volume");
    let file = format!("{volume}/file");
    for (kind, source, options, script) in [
        ("bind", volume.as_str(), "", "cat /mnt/file"),
        ("bind", &volume, "rbind", "cat /mnt/file"),
        ("none", &volume, "bind", "cat /mnt/file"),
        ("none", &volume, "rbind,ro", "cat /mnt/file"),
        ("bind", &file, "", "cat /mnt"),
        ("", &volume, "bind", "cat /mnt/file"),
    ] {
        let target = if source == file { "/new/deep/file" } else { "/mnt" };
        let config = Config::sh(&script.replace("/mnt", target)).mount(target, kind, source, options);
        assert_eq!(runtime.run_ok(&config), "content\n", "{kind} {source} {options}");
    }
    // A source that is relative is below the bundle.
    let bundle = runtime.bundle(&Config::sh("cat /mnt/x").mount("/mnt", "bind", "data", "bind"));
    std::fs::create_dir(bundle.join("data")).unwrap();
    std::fs::write(bundle.join("data/x"), "of the bundle\n").unwrap();
    assert_eq!(stdout(&runtime.run_bundle(&bundle, &[])), "of the bundle\n");
    // A destination that is relative is below the root.
    assert_eq!(runtime.run_ok(&Config::sh("cat /mnt/file").mount("mnt", "bind", &volume, "bind")), "content\n");
}

#[test]
fn mounts_are_made_in_the_order_of_the_list() {
    let Some(runtime) = Runtime::new("mount order") else { return };
    let volume = volume(&runtime, "volume");
    let config = Config::sh("ls /mnt /mnt/sub | tr '\\n' ' '");
    let inner_last = config.clone().mount("/mnt", "tmpfs", "tmpfs", "").mount("/mnt/sub", "bind", &volume, "bind");
    assert_eq!(runtime.run_ok(&inner_last), "/mnt: sub  /mnt/sub: file ");
    let outer_last = config.mount("/mnt/sub", "bind", &volume, "bind").mount("/mnt", "tmpfs", "tmpfs", "");
    let output = runtime.run(&outer_last);
    assert_eq!(stdout(&output), "/mnt: ", "{}", stderr(&output));
}

#[test]
fn options_become_attributes() {
    let Some(runtime) = Runtime::new("mount attributes") else { return };
    let volume = volume(&runtime, "volume");
    for (options, expected) in [
        ("ro", "ro"),
        ("rw,ro,rw", "rw"),
        ("nosuid,nodev,noexec", "nosuid,nodev,noexec"),
        ("nosuid,suid", "!nosuid"),
        ("nodev,dev,noexec,exec", "!nodev !noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("strictatime", "!relatime !noatime"),
        ("noatime,relatime", "relatime"),
        ("nosymfollow", "nosymfollow"),
        ("rro", "ro"),
        ("rnosuid,rnodev,rnoexec", "nosuid,nodev,noexec"),
        ("defaults,silent,loud", "rw"),
    ] {
        for (kind, source, bind) in [("tmpfs", "tmpfs", ""), ("bind", volume.as_str(), "rbind,")] {
            let config = Config::sh(&attributes("/mnt")).mount("/mnt", kind, source, &format!("{bind}{options}"));
            let said = runtime.run_ok(&config);
            for word in expected.split(' ') {
                match word.strip_prefix('!') {
                    None => assert!(said.contains(word), "{kind} {options}: {said}"),
                    Some(word) => assert!(!said.contains(word), "{kind} {options}: {said}"),
                }
            }
        }
    }
    for option in ["iversion", "acl"] {
        assert!(runtime.run_fails(&Config::sh("true").mount("/mnt", "tmpfs", "tmpfs", option)).contains(option));
    }
}

/// In mounts of its own: a shared tmpfs at `$3` with another in `sub`; then `run` of the bundle `$4`.
const NESTED: &str = r#"
    mount -t tmpfs tmpfs "$3"; mount --make-shared "$3"; mkdir "$3/sub"
    mount -t tmpfs tmpfs "$3/sub"; touch "$3/sub/below"
    "$0" runtime --root "$1" run -b "$4" "$2""#;

#[test]
fn what_is_recursive_reaches_the_mounts_below() {
    let Some(runtime) = Runtime::new("recursive attributes") else { return };
    let place = Scratch::under(&runtime.scratch.0, "nested");
    let volume = place.0.to_str().unwrap();
    let run = |options: &str| {
        let show = format!("{}; {}; ls /mnt/sub", attributes("/mnt"), attributes("/mnt/sub"));
        let bundle = runtime.bundle(&Config::sh(&show).mount("/mnt", "bind", volume, options));
        let words = [&runtime.scratch.path("records"), &runtime.id(), volume, bundle.to_str().unwrap()];
        let output = crate::common::in_private_mounts(NESTED, &words);
        assert!(output.status.success(), "{options}: {}", stderr(&output));
        let text = stdout(&output);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines
    };
    let lines = run("bind");
    assert_eq!(lines.len(), 1, "without rbind there is nothing below: {lines:?}");
    for (options, top, below) in [
        ("rbind", "rw", "rw"),
        ("rbind,ro", "ro", "rw"),
        ("rbind,rro", "ro", "ro"),
        ("rbind,rro,rw", "rw", "ro"),
        ("rbind,nosuid", "nosuid", "rw"),
        ("rbind,rnosuid,rnodev,rnoexec,rnoatime", "nosuid,nodev,noexec,noatime", "nosuid,nodev,noexec,noatime"),
        ("rbind,rshared", "shared:", "shared:"),
        ("rbind,rslave", "master:", "master:"),
        ("rbind,slave", "master:", "rw"),
        ("rbind,runbindable", "unbindable", "unbindable"),
    ] {
        let lines = run(options);
        assert!(lines[0].contains(top) && lines[1].contains(below) && lines[2] == "below", "{options}: {lines:?}");
    }
    for options in ["rbind", "rbind,rprivate", "rbind,private"] {
        assert!(!run(options)[0].contains(':'), "{options}");
    }
}

#[test]
fn a_tmpfs_can_begin_with_what_the_root_has_there() {
    let Some(runtime) = Runtime::new("tmpcopyup") else { return };
    let config = |options: &str| {
        Config::sh("cat /home/here 2>/dev/null; readlink /home/link; stat -c '%a %u' /home/dir; touch /home/new; :")
            .mount("/home", "tmpfs", "tmpfs", options)
    };
    let bundle = runtime.bundle(&config("tmpcopyup"));
    let home = bundle.join("rootfs/home");
    std::fs::write(home.join("here"), "copied\n").unwrap();
    std::os::unix::fs::symlink("here", home.join("link")).unwrap();
    std::fs::create_dir(home.join("dir")).unwrap();
    std::os::unix::fs::chown(home.join("dir"), Some(7), None).unwrap();
    std::fs::set_permissions(home.join("dir"), std::os::unix::fs::PermissionsExt::from_mode(0o710)).unwrap();
    let output = runtime.run_bundle(&bundle, &[]);
    assert_eq!(stdout(&output), "copied\nhere\n710 7\n", "{}", stderr(&output));
    assert!(!home.join("new").exists(), "what it writes is not the root's");
    crate::oci::write_config(&bundle, &config(""), &runtime.tag);
    assert_eq!(stdout(&runtime.run_bundle(&bundle, &[])), "");
}

#[test]
fn symlinks_at_source_and_target() {
    let Some(runtime) = Runtime::new("mount symlinks") else { return };
    let volume = volume(&runtime, "volume");
    let link = runtime.scratch.path("link");
    std::os::unix::fs::symlink(&volume, &link).unwrap();
    let script = "readlink /home/target; cat /home/target/file /var/file 2>/dev/null; :";
    let run = |source: &str, options: &str, target_is_link: bool| {
        let config = Config::sh(script).mount("/home/target", "bind", source, options);
        let bundle = runtime.bundle(&config);
        if target_is_link {
            std::os::unix::fs::symlink("/var", bundle.join("rootfs/home/target")).unwrap();
        }
        let output = runtime.run_bundle(&bundle, &[]);
        stdout(&output) + &stderr(&output)
    };
    assert_eq!(run(&link, "bind", false), "content\n", "a source is followed");
    assert_eq!(run(&link, "bind,copy-symlink", false), format!("{volume}\n"), "or made anew");
    assert_eq!(run(&volume, "bind,copy-symlink", false), "content\n", "what is no link is bound");
    assert_eq!(run(&volume, "bind", true), "/var\ncontent\ncontent\n", "a target is followed inside the root");
    // Mounted on the link itself, which cannot be followed any more; /var stays as it was.
    let source = runtime.scratch.file("single", "single\n", 0o644);
    let said = run(&source, "bind,dest-nofollow", true);
    assert!(!said.contains("content") && !said.contains("/var\n"), "{said}");
    assert!(!run(&link, "bind,src-nofollow", false).contains("content"), "the link itself is bound");
}

#[test]
fn owners_are_shifted() {
    let Some(runtime) = Runtime::new("idmap") else { return };
    let volume = volume(&runtime, "volume");
    let owner = |path: &str, id| std::os::unix::fs::chown(path, Some(id), Some(id)).unwrap();
    owner(&format!("{volume}/file"), 1000);
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }, { "containerID": 1000, "hostID": 5000, "size": 1 }]);
    let mount = |options: &str, with_map: bool| {
        let mut mount = json!({ "destination": "/mnt", "type": "bind", "source": volume, "options": options.split(',').collect::<Vec<_>>() });
        if with_map {
            mount["uidMappings"] = map.clone();
            mount["gidMappings"] = map.clone();
        }
        mount
    };
    let script = "stat -c '%u %g' /mnt/file; touch /mnt/new 2>/dev/null; :";
    for (options, with_map, expected) in [
        ("bind", false, "1000 1000\n"),
        ("bind", true, "5000 5000\n"),
        ("bind,idmap", true, "5000 5000\n"),
        ("rbind,ridmap", true, "5000 5000\n"),
    ] {
        assert_eq!(
            runtime.run_ok(&Config::sh(script).push("/mounts", mount(options, with_map))),
            expected,
            "{options}"
        );
    }
    // By the container's own mapping: its root writes as the host's.
    let config = Config::sh("stat -c '%u %g' /mnt/file; touch /mnt/own && stat -c %u /mnt/own").user_namespace();
    let said = runtime.run_ok(&config.clone().push("/mounts", mount("bind,idmap", false)));
    assert_eq!(said, "1000 1000\n0\n");
    let made = std::fs::metadata(format!("{volume}/own")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 0);
    assert!(
        runtime
            .run_ok(
                &config
                    .set("/process/args", json!(["stat", "-c", "%u", "/mnt/file"]))
                    .push("/mounts", mount("bind", false))
            )
            .contains("65534")
    );
    let mut half = mount("bind", true);
    half.as_object_mut().unwrap().remove("gidMappings");
    assert!(runtime.run_fails(&Config::sh("true").push("/mounts", half)).contains("gidMappings"));
    let mut tmpfs = mount("idmap", true);
    tmpfs["type"] = json!("tmpfs");
    assert!(runtime.run_fails(&Config::sh("true").push("/mounts", tmpfs)).contains("tmpfs"));
}

#[test]
fn a_mount_gets_other_attributes_later_in_the_list() {
    let Some(runtime) = Runtime::new("remount") else { return };
    let volume = volume(&runtime, "volume");
    for options in ["remount,bind,ro", "remount,ro"] {
        let config = Config::sh(&attributes("/mnt"))
            .mount("/mnt", "bind", &volume, "bind")
            .mount("/mnt", "none", "none", options);
        let said = runtime.run_ok(&config);
        assert!(said.starts_with("ro"), "{options}: {said}");
    }
}

#[test]
fn control_groups_are_seen_with_and_without_a_namespace() {
    let Some(runtime) = Runtime::new("cgroup mounts") else { return };
    let script = "test -f /sys/fs/cgroup/cgroup.procs && dir=/sys/fs/cgroup || dir=/sys/fs/cgroup/pids
        cat $dir/cgroup.procs | head -1; cat $dir/pids.max 2>/dev/null || echo 17; mkdir $dir/sub 2>&1 | grep -o 'Read-only'; :";
    let config = Config::sh(script).set("/linux/resources/pids/limit", json!(17)).mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        "nosuid,noexec,nodev,relatime,ro",
    );
    assert_eq!(runtime.run_ok(&config), "1\n17\nRead-only\n", "its own group is the top");
    let output = runtime.run(&config.without_namespace("cgroup"));
    // On v1 the container's own groups are bound; on v2 the host's tree is, read-only.
    assert!(stdout(&output).ends_with("17\nRead-only\n"), "{}{}", stdout(&output), stderr(&output));
    let writable = Config::sh("for d in /sys/fs/cgroup /sys/fs/cgroup/pids; do mkdir $d/sub && rmdir $d/sub && echo made; done 2>/dev/null; :")
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev");
    assert!(runtime.run_ok(&writable).contains("made"), "without ro it may be written to");
}

#[test]
fn a_running_container_is_given_mounts_and_loses_them() {
    let Some(runtime) = Runtime::new("mounts verb") else { return };
    let volume = volume(&runtime, "volume");
    let container = runtime.start(&Config::sh("echo ready; exec sleep 1000"));
    container.expect("ready");
    let list = json!([
        { "destination": "/mnt", "type": "bind", "source": volume, "options": ["bind", "ro"] },
        { "destination": "/new/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"] },
    ]);
    let file = runtime.scratch.file("list.json", list.to_string(), 0o600);
    let verb = |what: &str, id: &str| runtime.output(&["mounts", what, id, &file]);
    assert!(verb("add", &container.id).status.success());
    let script = format!("cat /mnt/file; touch /mnt/x 2>&1; touch /new/tmp/x && echo wrote; {}", attributes("/mnt"));
    let said = container.ok(&["exec"], &["sh", "-c", &script]);
    assert!(said.starts_with("content\ntouch: /mnt/x: Read-only file system\nwrote\nro"), "{said}");
    assert!(verb("remove", &container.id).status.success());
    assert_eq!(container.ok(&["exec"], &["sh", "-c", "ls /mnt /new/tmp | grep . ; :"]), "/mnt:\n/new/tmp:\n");
    let again = verb("remove", &container.id);
    assert!(stderr(&again).contains("/mnt"), "{}", stderr(&again));
    for (words, expected) in [
        (vec!["mounts", "change", &container.id, &file], "add or remove"),
        (vec!["mounts", "add", &container.id], "file"),
        (vec!["mounts", "add", &container.id, "/none"], "/none"),
    ] {
        assert!(runtime.fails(&words).contains(expected), "{words:?}");
    }
    let shifted: Value =
        json!([{ "destination": "/mnt", "type": "bind", "source": volume, "options": ["bind", "idmap"] }]);
    let file = runtime.scratch.file("shifted.json", shifted.to_string(), 0o600);
    let said = runtime.fails(&["mounts", "add", &container.id, &file]);
    assert!(said.contains("owners") || said.contains("Mappings"), "{said}");
    container.ok(&["kill"], &["KILL"]);
    container.wait();
    let nothing = runtime.scratch.file("nothing.json", "[]", 0o600);
    assert!(runtime.fails(&["mounts", "add", &container.id, &nothing]).contains("not running"));
}
