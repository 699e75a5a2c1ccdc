//! Races against the OCI runtime: directories that become links while a container is made, many creators at once, and
//! verbs that meet on one container.
//!
//! The swapped roots are tried for some seconds; `MYCONTAINER_RACE_ROUNDS=10000` tries them that many times.

use crate::bundles::{Place, config, config_in, id_of, in_parallel, push};
use crate::common::{can_run, make_busybox_root, unique, wait_until};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long the swapped roots are tried.
const TIME: Duration = Duration::from_secs(25);
/// At least so many rounds, however busy the machine.
const ROUNDS: usize = 60;

#[test]
fn cve_2021_30465_directories_swapped_for_links_lead_nowhere_outside() {
    // And CVE-2024-45310, CVE-2019-19921, CVE-2025-31133, CVE-2025-52565: whatever is looked at is something else by the
    // time it is used.
    if !can_run("cve_2021_30465_directories_swapped_for_links_lead_nowhere_outside") {
        return;
    }
    let place = Place::new("swap");
    let root = place.path("root");
    make_busybox_root(&root);
    for dir in ["pts", "shm", "mqueue", "a", "self", "sys", "fs/cgroup", "t", "up"] {
        std::fs::create_dir_all(place.outside().join(dir)).unwrap();
    }
    crate::common::give(&place.outside());
    let before = place.outside_now();
    // Each of these changes places with a link to the outside, over and over.
    let swapped = ["vol", "etc", "dev", "proc", "sys", "vol2/a", "vol2/file"];
    std::fs::create_dir_all(root.join("vol")).unwrap();
    std::fs::create_dir_all(root.join("vol2/a")).unwrap();
    std::fs::write(root.join("vol2/file"), "").unwrap();
    std::fs::create_dir(root.join("links")).unwrap();
    for (n, at) in swapped.iter().enumerate() {
        let target = if at.ends_with("file") { place.outside().join("secret") } else { place.outside() };
        std::os::unix::fs::symlink(target, root.join(format!("links/{n}"))).unwrap();
        assert!(root.join(at).exists());
    }
    let wanted = std::env::var("MYCONTAINER_RACE_ROUNDS").ok().map(|text| text.parse::<usize>().expect("a number"));
    let (done, rounds, made, refused) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let started = Instant::now();
    let one = |n: usize| {
        // Every third to its program, which tries to read and to write; the others up to the look for it.
        let program = if n.is_multiple_of(3) { "cat /vol/secret /etc/secret /vol2/file; echo x >/vol/w/y" } else { "" };
        let args: &[&str] = if program.is_empty() { &["/no/such/program"] } else { &["sh", "-c", program] };
        let mut config = config_in(&root, args);
        let bind = |at: String, from: &str| json!({ "destination": at, "source": from, "options": ["rbind", "ro"] });
        let tmpfs = |at: String, option: &str| json!({ "destination": at, "type": "tmpfs", "source": "x", "options": ["size=64k", option] });
        push(&mut config, "/mounts", bind(format!("/vol/dir-{n}/deep"), "/usr"));
        push(&mut config, "/mounts", bind(format!("/vol/file-{n}"), "/etc/passwd"));
        push(&mut config, "/mounts", bind(format!("/vol2/a/file-{n}"), "/etc/passwd"));
        push(&mut config, "/mounts", bind("/vol2/file".into(), "/etc/group"));
        push(&mut config, "/mounts", bind("/etc/resolv.conf".into(), "/etc/hostname"));
        push(&mut config, "/mounts", tmpfs(format!("/vol/tmpfs-{n}"), "mode=755"));
        push(&mut config, "/mounts", tmpfs("/vol2/a".into(), "tmpcopyup"));
        config["process"]["cwd"] = json!(format!("/vol/cwd-{n}/deep"));
        if crate::common::user_of_tool().is_none() {
            let path = format!("/vol/null-{n}");
            config["linux"]["devices"] = json!([{ "path": path, "type": "c", "major": 1, "minor": 3 }]);
        }
        if n.is_multiple_of(5) {
            // Without a /dev of its own.
            let list = config["mounts"].as_array_mut().unwrap();
            list.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        }
        push(&mut config, "/linux/maskedPaths", json!("/vol/masked"));
        push(&mut config, "/linux/readonlyPaths", json!("/etc"));
        let id = id_of(&config);
        let bundle = place.bundle(&format!("bundle-{id}"), &config);
        let ended = place.call(&["run", "--bundle", bundle.to_str().unwrap(), &id]);
        std::fs::remove_dir_all(&bundle).unwrap();
        assert!(!ended.out.contains("the host's"), "round {n}: {}", ended.out);
        let count = if ended.err.contains("mycontainer-runtime: ") && !ended.err.contains("no such file") {
            crate::bundles::assert_one_line(&ended.err);
            &refused
        } else {
            &made
        };
        count.fetch_add(1, Ordering::Relaxed);
        if n.is_multiple_of(64) {
            assert_eq!(place.outside_now(), before, "by round {n}");
            // What was made inside would fill the root. By descriptor, for we are raced as well.
            for dir in ["vol", "links/0", "vol2/a", "links/5"] {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let Ok(held) = openat(CWD, root.join(dir), flags, Mode::empty()) else { continue };
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
                entries.for_each(|entry| drop(std::fs::remove_dir_all(entry.path())));
            }
        }
    };
    let worker = || loop {
        let n = rounds.fetch_add(1, Ordering::Relaxed);
        let over = wanted.map_or_else(|| n >= ROUNDS && started.elapsed() > TIME, |wanted| n >= wanted);
        if over || done.load(Ordering::Relaxed) {
            return;
        }
        one(n);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0usize;
            while !done.load(Ordering::Relaxed) {
                // Mostly what is written to most. The kernel's own places are links for moments only, or nothing else were
                // ever tried.
                let (n, is_moment) =
                    if turn % 64 == 63 { (turn / 64 % swapped.len(), true) } else { ([0, 5, 6][turn % 3], false) };
                let link = root.join(format!("links/{n}"));
                let swap = || renameat_with(CWD, root.join(swapped[n]), CWD, &link, RenameFlags::EXCHANGE);
                let _ = swap();
                if is_moment {
                    std::thread::sleep(Duration::from_micros((turn % 7 * 100) as u64));
                    let _ = swap();
                    std::thread::sleep(Duration::from_millis(3));
                }
                turn += 1;
            }
        });
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(worker)).collect();
        let failed = workers.into_iter().map(|worker| worker.join().is_err()).fold(false, |any, failed| any | failed);
        done.store(true, Ordering::Relaxed);
        assert!(!failed, "a round failed");
    });
    let (made, refused) = (made.into_inner(), refused.into_inner());
    println!("{made} made, {refused} refused in {:?}", started.elapsed());
    assert_eq!(place.outside_now(), before);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(place.dir.0.to_str().unwrap()), "a mount shows on the host");
    // Both ways were taken, or the swapping missed the making.
    assert!(made > 0 && refused > 0, "{made} made, {refused} refused");
    assert!(place.call(&["list", "-q"]).good().is_empty());
}

#[test]
fn two_hundred_containers_made_at_once_are_all_there_and_all_go() {
    if !can_run("two_hundred_containers_made_at_once_are_all_there_and_all_go") {
        return;
    }
    const MANY: usize = 200;
    let place = Place::new("many");
    let ids = in_parallel(MANY, 16, |_| {
        let config = config(&["sleep", "1000"]);
        let id = id_of(&config);
        let bundle = place.bundle(&format!("bundle-{id}"), &config);
        place.create(&bundle, &id).good();
        id
    });
    let list: serde_json::Value = serde_json::from_str(&place.call(&["list", "-f", "json"]).good()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), MANY);
    assert!(list.as_array().unwrap().iter().all(|one| one["status"] == "created" && one["pid"].as_i64() > Some(0)));
    assert_eq!(place.sockets(), MANY);
    let each = |act: &(dyn Fn(&str) + Sync)| drop(in_parallel(MANY, 16, |n| act(&ids[n])));
    each(&|id| drop(place.call(&["start", id]).good()));
    assert_eq!(place.sockets(), 0);
    assert_eq!(place.call(&["list"]).good().matches(" running ").count(), MANY);
    each(&|id| drop(place.call(&["kill", id, "KILL"]).good()));
    assert!(wait_until(20, || place.call(&["list"]).good().matches(" stopped ").count() == MANY));
    each(&|id| drop(place.call(&["delete", id]).good()));
    assert!(place.call(&["list", "-q"]).good().is_empty());
    // All of their ids begin so.
    let prefix = format!("hostile-{}-", std::process::id());
    let of_this_test: Vec<String> =
        place.left(&prefix).into_iter().filter(|what| ids.iter().any(|id| what.contains(id))).collect();
    assert!(of_this_test.is_empty(), "{of_this_test:#?}");
}

#[test]
fn of_many_that_want_one_id_one_has_it() {
    if !can_run("of_many_that_want_one_id_one_has_it") {
        return;
    }
    let place = Place::new("one");
    let config = config(&["sleep", "1000"]);
    let id = id_of(&config);
    let bundle = place.bundle("bundle", &config);
    for _ in 0..8 {
        let ended = in_parallel(16, 16, |_| place.create(&bundle, &id));
        let (winners, losers): (Vec<_>, Vec<_>) = ended.into_iter().partition(crate::bundles::Done::ok);
        assert_eq!(winners.len(), 1);
        for loser in losers {
            assert!(loser.bad().contains("already exists"));
        }
        assert_eq!(place.status(&id).as_deref(), Some("created"));
        place.call(&["start", &id]).good();
        // Of many that start or delete it one does.
        let started = in_parallel(8, 8, |_| place.call(&["start", &id]).ok());
        assert!(!started.contains(&true), "it runs already");
        place.call(&["kill", &id, "KILL"]).good();
        assert!(wait_until(10, || place.status(&id).as_deref() == Some("stopped")));
        let deleted = in_parallel(8, 8, |_| place.call(&["delete", &id]).ok());
        assert_eq!(deleted.iter().filter(|one| **one).count(), 1);
        place.assert_nothing_left(&id);
    }
}

fn random(seed: &AtomicUsize) -> usize {
    let mut x = seed.load(Ordering::Relaxed) | 1;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    seed.store(x, Ordering::Relaxed);
    x
}

#[test]
fn a_delete_during_create_leaves_all_or_nothing() {
    if !can_run("a_delete_during_create_leaves_all_or_nothing") {
        return;
    }
    let place = Place::new("during");
    let seed = AtomicUsize::new(std::process::id() as usize);
    let outcomes = in_parallel(120, 4, |n| {
        let mut config = config(&["sleep", "1000"]);
        if n.is_multiple_of(3) {
            config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sleep", "args": ["sleep", "0.02"] }] });
        }
        let id = id_of(&config);
        let bundle = place.bundle(&format!("bundle-{id}"), &config);
        let create = place.spawn(&["create", "--bundle", bundle.to_str().unwrap(), &id]);
        std::thread::sleep(Duration::from_micros((random(&seed) % 60_000) as u64));
        let force = n.is_multiple_of(2);
        let words: &[&str] = if force { &["delete", "--force", &id] } else { &["delete", &id] };
        let deleted = place.call(words);
        let created = create.end();
        if !created.ok() && created.status.code().is_some() {
            crate::bundles::assert_one_line(&created.err);
        }
        if !force {
            // A plain one takes no container that is not stopped: at most the empty record of a tool that, for all that
            // can be seen, was killed after its first step; and that tool then makes another.
            created.good();
            assert_eq!(place.status(&id).as_deref(), Some("created"));
            place.call(&["start", &id]).good();
        }
        place.delete(&id);
        // And the id is free.
        place.create(&bundle, &id).good();
        place.delete(&id);
        deleted.ok()
    });
    assert!(outcomes.contains(&true));
    assert_eq!(place.sockets(), 0);
}

#[test]
fn verbs_that_meet_on_one_container_wait_for_each_other_or_say_why_not() {
    if !can_run("verbs_that_meet_on_one_container_wait_for_each_other_or_say_why_not") {
        return;
    }
    let place = Place::new("meet");
    let seed = AtomicUsize::new(std::process::id() as usize);
    for _ in 0..8 {
        let config = config(&["sleep", "1000"]);
        let id = id_of(&config);
        let bundle = place.bundle(&format!("bundle-{id}"), &config);
        place.create(&bundle, &id).good();
        let verbs: [&[&str]; 10] = [
            &["start", &id],
            &["kill", &id, "0"],
            &["state", &id],
            &["list"],
            &["pause", &id],
            &["resume", &id],
            &["update", "--pids-limit", "100", &id],
            &["exec", &id, "true"],
            &["ps", "--format", "json", &id],
            &["kill", "--all", &id, "CONT"],
        ];
        in_parallel(30, 6, |n| {
            let words = verbs[(random(&seed) >> 8) % verbs.len()];
            // A process that joins a group that is frozen meanwhile stops there, as it should; so it waits for resume.
            if words[0] == "exec" && n % 3 != 0 {
                return;
            }
            let ended = if words[0] == "exec" {
                let call = place.spawn(words);
                std::thread::sleep(Duration::from_millis(300));
                let _ = place.call(&["resume", &id]);
                call.end()
            } else {
                place.call(words)
            };
            if !ended.ok() && ended.status.code() == Some(1) && !ended.err.is_empty() {
                crate::bundles::assert_one_line(&ended.err);
            }
        });
        // The end of it, from all sides.
        let ends: [&[&str]; 4] =
            [&["kill", &id, "KILL"], &["delete", "--force", &id], &["kill", "--all", &id, "9"], &["delete", "-f", &id]];
        in_parallel(8, 8, |n| place.call(ends[n % 4]));
        place.delete(&id);
    }
    assert_eq!(place.sockets(), 0);
    assert!(!Path::new(&place.records().join(unique("none"))).exists());
}
