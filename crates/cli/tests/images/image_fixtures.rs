//! Do the fixtures of the images' tests work? Each is tried with the real tools: what skopeo, podman, umoci, buildah and
//! docker-registry take and give must be what the fixture says, and what is made wrong they must refuse.

use crate::common::{Scratch, kill, stderr, stdout, wait_until};
use crate::fixtures::authority::{Authority, Validity};
use crate::fixtures::content::{Content, TestIndex};
use crate::fixtures::faults::{Act, On, Ranges, Tokens};
use crate::fixtures::faulty_registry::FaultyRegistry;
use crate::fixtures::http::Delivery;
use crate::fixtures::image::{Compression, DOCKER_LIST, DOCKER_MANIFEST, Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::registry::Registry;
use crate::fixtures::tar::{Entry, Kind};
use crate::fixtures::{bombs, debian, formats, has, made};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PEERS: [&str; 5] = ["docker-registry", "skopeo", "umoci", "buildah", "podman"];

/// Two layers over busybox, with every kind of entry.
fn image() -> TestImage {
    let layer = Layer::new()
        .dir("data", 0o755)
        .file("data/a", "one\n", 0o644)
        .hardlink("data/b", "data/a")
        .symlink("data/c", "a")
        .entry(Entry::new("data/suid", Kind::File(b"x".to_vec())).mode(0o4755))
        .entry(Entry::new("data/owned", Kind::File(vec![])).owner(1000, 100).xattr("user.word", b"value"))
        .entry(Entry::new("data/cap", Kind::File(b"x".to_vec())).mode(0o755).capability(13))
        .entry(Entry::new("data/null", Kind::Char(1, 3)))
        .entry(Entry::new("data/fifo", Kind::Fifo))
        .entry(Entry::new("data/far", Kind::File(vec![])).owner(3_000_000, 3_000_000))
        .file(&format!("data/{}", "long/".repeat(40)), "", 0o644)
        .dir("old", 0o755)
        .file("old/x", "old\n", 0o644);
    let upper = Layer::new().whiteout("data/b").dir("old", 0o755).opaque("old").file("old/new", "new\n", 0o644);
    TestImage::busybox()
        .layer(layer)
        .layer(upper)
        .env("A=b")
        .entrypoint(&["/bin/sh", "-c"])
        .cmd(&["cat /data/a"])
        .working_dir("/data")
        .user("ann")
        .volume("/volume")
        .port("80/tcp")
        .stop_signal("SIGINT")
        .label("its.name", "value")
        .healthcheck(json!({ "Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000 }))
}

/// `skopeo copy` of an image of a registry into a layout, with no more than ten seconds.
fn pull(peers: &Peers, registry: &FaultyRegistry, words: &[&str], to: &str) -> Output {
    let from = format!("docker://{}", registry.reference("a/b:tag"));
    let start = ["timeout", "10", "skopeo", "copy", "-q", "--src-tls-verify=false"];
    peers.run(&[&start, words, &[&from, &format!("oci:{to}:tag")]].concat())
}

#[test]
fn a_layout_goes_to_a_registry_and_back() {
    if !has("a_layout_goes_to_a_registry_and_back", &PEERS) {
        return;
    }
    let (peers, registry, image) = (Peers::new(), Registry::plain(), image());
    formats::write_layout(&peers.path("layout"), "tag", &image);
    let remote = format!("docker://{}", registry.reference("a/b:tag"));
    peers.copy(&[], "oci:layout:tag", &remote);
    assert_eq!(peers.digest(&remote), image.digest());
    peers.copy(&[], &remote, "oci:back:tag");
    assert_eq!(peers.digest("oci:back:tag"), image.digest());
    for digest in image.layer_digests() {
        let path = format!("blobs/{}", digest.replace(':', "/"));
        assert_eq!(
            std::fs::read(peers.path("layout").join(&path)).ok(),
            std::fs::read(peers.path("back").join(&path)).ok()
        );
    }
    let tags: Value = serde_json::from_str(&registry.get("/v2/a/b/tags/list")).unwrap();
    assert_eq!(tags, json!({ "name": "a/b", "tags": ["tag"] }));
    assert!(registry.storage().join("docker/registry/v2/repositories/a/b").is_dir());

    // Podman pulls it, and knows its configuration as it was meant.
    let name = registry.reference("a/b:tag");
    peers.ok(&["podman", "pull", "-q", "--tls-verify=false", &name]);
    let known: Value = serde_json::from_str(&peers.ok(&["podman", "inspect", &name])).unwrap();
    let config = &known[0]["Config"];
    assert_eq!(format!("sha256:{}", known[0]["Id"].as_str().unwrap()), image.id());
    assert_eq!(config["Env"], json!(["PATH=/usr/bin:/bin", "A=b"]));
    assert_eq!(config["Cmd"], json!(["cat /data/a"]));
    assert_eq!(config["User"], "ann");
    assert_eq!(config["Volumes"], json!({ "/volume": {} }));
    assert_eq!(config["StopSignal"], "SIGINT");

    registry.curl(&["-X", "DELETE"], &format!("/v2/a/b/manifests/{}", image.digest()));
    assert!(peers.fails(&["skopeo", "inspect", "--tls-verify=false", &remote]).contains("unknown"));
    assert!(Path::new("/proc").join(registry.pid().to_string()).exists());
    let pid = registry.pid();
    drop(registry);
    assert!(!Path::new("/proc").join(pid.to_string()).exists(), "the registry outlives its test");
    assert!(!Path::new("/var/lib/containers/cache").exists() || !peers_left(), "a peer left something on the host");
}

/// Whether a tool of the tests wrote where only the host's may: its cache is in the scratch directory.
fn peers_left() -> bool {
    let age = |path: &str| std::fs::metadata(path).ok()?.modified().ok()?.elapsed().ok();
    age("/var/lib/containers/cache/blob-info-cache-v1.boltdb").is_some_and(|age| age < Duration::from_secs(60))
}

#[test]
fn umoci_unpacks_a_test_image() {
    if !has("umoci_unpacks_a_test_image", &PEERS) {
        return;
    }
    let peers = Peers::new();
    for (name, image) in [("gzip", image()), ("plain", image().repack(Compression::None))] {
        formats::write_layout(&peers.path(name), "tag", &image);
        peers.ok(&["umoci", "unpack", "--image", &format!("{name}:tag"), &format!("bundle-{name}")]);
        let script = format!(
            "cd bundle-{name}/rootfs; stat -c '%n %a %u:%g %h %F' data/* old/*; cat data/a old/new; readlink data/c; \
             getcap data/cap; python3 -c 'import os; print(os.getxattr(\"data/owned\", \"user.word\"))'"
        );
        let seen = peers.sh(&script);
        let expected = "data/a 644 0:0 1 regular file\ndata/c 777 0:0 1 symbolic link\ndata/cap 755 0:0 1 regular file\n\
            data/far 644 3000000:3000000 1 regular empty file\ndata/fifo 644 0:0 1 fifo\ndata/long 755 0:0 3 directory\n\
            data/null 644 0:0 1 character special file\ndata/owned 644 1000:100 1 regular empty file\n\
            data/suid 4755 0:0 1 regular file\nold/new 644 0:0 1 regular file\none\nnew\na\ndata/cap cap_net_raw=ep\nb'value'\n";
        assert_eq!(seen, expected, "{name}");
        let said = peers.ok(&["chroot", &format!("bundle-{name}/rootfs"), "/bin/sh", "-c", "cat /data/a; id -un"]);
        assert_eq!(said, "one\nroot\n", "it runs");
    }
}

#[test]
fn archives_are_what_the_tools_take() {
    if !has("archives_are_what_the_tools_take", &PEERS) {
        return;
    }
    let (peers, image) = (Peers::new(), image());
    formats::write_oci_archive(&peers.path("image.oci"), "tag", &image);
    formats::write_docker_archive(&peers.path("image.docker"), &["localhost/a/b:tag", "localhost/c:1"], &image);
    assert_eq!(peers.digest("oci-archive:image.oci:tag"), image.digest());
    peers.copy(&[], "oci-archive:image.oci:tag", "dir:from-oci");
    peers.copy(&[], "docker-archive:image.docker:localhost/c:1", "oci:from-docker:tag");
    assert!(peers.ok(&["podman", "load", "-q", "-i", "image.docker"]).contains("localhost/a/b:tag"));
    let id = peers.ok(&["podman", "images", "-q", "--no-trunc", "localhost/c:1"]);
    assert_eq!(id.trim_end(), image.id(), "a docker-archive keeps the configuration as it is");

    // Docker's media types, and what they are called in a registry.
    let registry = Registry::plain();
    let docker = image.clone().docker();
    formats::write_dir(&peers.path("docker"), &docker);
    peers.copy(&[], "dir:docker", &format!("docker://{}", registry.reference("d:1")));
    let accept = format!("Accept: {DOCKER_MANIFEST}");
    let headers = registry.curl(&["-I", "-H", &accept], "/v2/d/manifests/1").to_lowercase();
    assert!(headers.contains(&format!("content-type: {DOCKER_MANIFEST}")), "{headers}");
    assert!(headers.contains(&docker.digest()), "{headers}");
}

#[test]
fn an_index_has_an_image_for_each_platform() {
    if !has("an_index_has_an_image_for_each_platform", &PEERS) {
        return;
    }
    let (peers, registry) = (Peers::new(), Registry::plain());
    let here = TestImage::busybox().label("for", "here");
    let index = TestIndex::new()
        .image("linux/amd64", here.clone())
        .image("linux/arm/v7", here.clone().label("for", "v7"))
        .image("linux/arm64/v8", here.label("for", "v8"));
    for (tag, index) in [("oci", index.clone()), ("docker", index.docker())] {
        formats::write_dir(&peers.path(tag), &index);
        let remote = format!("docker://{}", registry.reference(&format!("multi:{tag}")));
        peers.copy(&["--all"], &format!("dir:{tag}"), &remote);
        assert_eq!(peers.digest(&remote), index.content().digest);
        for (words, expected) in [
            (&["--override-arch", "amd64"][..], "here"),
            (&["--override-arch", "arm", "--override-variant", "v7"], "v7"),
            (&["--override-arch", "arm64"], "v8"),
        ] {
            let inspect = ["inspect", "--tls-verify=false", &remote];
            let seen: Value = serde_json::from_str(&peers.ok(&[&["skopeo"], words, &inspect].concat())).unwrap();
            assert_eq!(seen["Labels"]["for"], expected, "{tag} {words:?}");
        }
        let media_type = index.content().root().media_type.clone();
        assert_eq!(media_type == DOCKER_LIST, tag == "docker");
    }
}

#[test]
fn a_registry_has_tls_and_a_password() {
    if !has("a_registry_has_tls_and_a_password", &[&PEERS[..], &["openssl", "htpasswd"]].concat()) {
        return;
    }
    let (peers, authority) = (Peers::new(), Authority::new());
    let registry = Registry::setup().tls(&authority).password("ann", "secret").start();
    formats::write_layout(&peers.path("layout"), "tag", &TestImage::busybox());
    let certs = authority.certs_d(&peers.path("certs.d"), &registry.host()).display().to_string();
    let remote = format!("docker://{}", registry.reference("a:1"));
    let copy = |words: &[&str]| peers.run(&[&["skopeo", "copy", "-q"], words, &["oci:layout:tag", &remote]].concat());
    let why = |output: Output| stderr(&output);
    assert!(why(copy(&["--dest-creds", "ann:secret"])).contains("certificate"), "an unknown authority");
    assert!(why(copy(&["--dest-cert-dir", &certs])).contains("authentication required"));
    assert!(!copy(&["--dest-cert-dir", &certs, "--dest-creds", "ann:wrong"]).status.success());
    let output = copy(&["--dest-cert-dir", &certs, "--dest-creds", "ann:secret"]);
    assert!(output.status.success(), "{}", why(output));
    assert_eq!(registry.get("/v2/_catalog").trim(), r#"{"repositories":["a"]}"#);

    let over = authority.issue("over", "DNS:localhost", Validity::Over);
    let ahead = authority.issue("ahead", "DNS:localhost", Validity::Ahead);
    let elsewhere = authority.issue("elsewhere", "DNS:example.org", Validity::Now);
    for (certificate, expected) in [(over, "expired"), (ahead, "not yet valid"), (elsewhere, "not localhost")] {
        let registry = Registry::setup().certificate(&authority, certificate).start();
        let certs = authority.certs_d(&peers.path("certs.d"), &registry.host()).display().to_string();
        let image = format!("docker://{}", registry.reference("a:1"));
        let said = peers.fails(&["skopeo", "inspect", "--cert-dir", &certs, &image]);
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let fixed = Registry::setup().without_delete().start();
    let code = fixed.curl(
        &["-o", "/dev/null", "-w", "%{http_code}", "-X", "DELETE"],
        &format!("/v2/a/manifests/{}", image().digest()),
    );
    assert_eq!(code, "405");
}

/// This test, run once more by itself, is killed; then its registry is gone.
#[test]
fn a_registry_ends_when_its_test_is_killed() {
    if !has("a_registry_ends_when_its_test_is_killed", &PEERS) {
        return;
    }
    if let Ok(file) = std::env::var("MYCONTAINER_TEST_KILLED") {
        let registry = Registry::plain();
        // Started in another thread than the one that waits: its end must not be the registry's.
        let registry = std::thread::spawn(move || registry).join().unwrap();
        let _ = registry.get("/v2/");
        std::fs::write(format!("{file}.half"), format!("{} {}", registry.pid(), registry.storage().display())).unwrap();
        std::fs::rename(format!("{file}.half"), file).unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }
    let scratch = Scratch::new("killed");
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", "image_fixtures::a_registry_ends_when_its_test_is_killed"])
        .env("MYCONTAINER_TEST_KILLED", scratch.path("pid"));
    let mut again = again.stdout(Stdio::null()).spawn().unwrap();
    assert!(wait_until(20, || scratch.0.join("pid").exists()), "it starts");
    let told = std::fs::read_to_string(scratch.path("pid")).unwrap();
    let (pid, storage) = told.split_once(' ').unwrap();
    kill("KILL", again.id());
    let _ = again.wait();
    let gone = wait_until(5, || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty());
    let _ = std::fs::remove_dir_all(Path::new(storage).parent().unwrap());
    assert!(gone, "the registry outlives its test");
}

#[test]
fn skopeo_pulls_from_the_faulty_registry() {
    if !has("skopeo_pulls_from_the_faulty_registry", &["skopeo"]) {
        return;
    }
    let (peers, image) = (Peers::new(), image());
    let layers = image.layer_digests();
    let registry = FaultyRegistry::new().image("a/b:tag", &image).start();
    let output = pull(&peers, &registry, &[], "good");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(peers.digest("oci:good:tag"), image.digest());
    assert_eq!(registry.asked("GET", &layers[0]).len(), 1);
    assert!(registry.connections() > 0);

    // A tag that is moved.
    registry.forget();
    let moved = image.clone().label("moved", "yes");
    registry.put("a/b:tag", &moved);
    assert!(pull(&peers, &registry, &[], "moved").status.success());
    assert_eq!(peers.digest("oci:moved:tag"), moved.digest());
    assert_eq!(registry.asked("GET", "/manifests/tag").len(), 1);

    // What skopeo 1.9 must get over, and what it must not.
    let faults: [(&str, On, Act, bool); 13] = [
        ("wrong content", On::blob(&layers[0]), Act::WrongContent, false),
        ("wrong manifest", On::manifests(), Act::Body("text/plain".into(), b"{}".to_vec().into()), false),
        ("truncated", On::blob(&layers[0]), Act::TruncateAt(1000), false),
        ("short", On::blob(&layers[0]), Act::Deliver(Delivery::Shorter(7)), false),
        ("chunked", On::blobs(), Act::Deliver(Delivery::Chunked), true),
        ("no length", On::blobs(), Act::Deliver(Delivery::NoLength), true),
        ("html", On::manifests(), Act::Html, false),
        ("not found", On::blob(&layers[1]), Act::Status(404), false),
        ("redirect", On::blobs(), Act::redirect_relative(), true),
        ("redirect loop", On::blobs(), Act::RedirectLoop, false),
        ("no digest header", On::any(), Act::NoDigestHeader, true),
        ("slow", On::blob(&layers[2]), Act::Deliver(Delivery::Drip(20, 1)), true),
        ("hangup", On::blobs(), Act::Hangup, false),
    ];
    std::thread::scope(|scope| {
        let attempts = faults.into_iter().enumerate().map(|(number, (name, on, act, works))| {
            let (peers, image) = (&peers, &image);
            scope.spawn(move || {
                let registry = FaultyRegistry::new().image("a/b:tag", image).fault(on, act).start();
                let output = pull(peers, &registry, &[], &format!("with-{number}"));
                assert_eq!(output.status.success(), works, "{name}: {}", stderr(&output));
                assert!(!registry.requests().is_empty());
            })
        });
        attempts.collect::<Vec<_>>().into_iter().for_each(|attempt| attempt.join().unwrap());
    });
}

#[test]
fn curl_sees_each_fault() {
    if !has("curl_sees_each_fault", &["curl"]) {
        return;
    }
    let image = TestImage::scratch().layer(Layer::new().file("a", vec![7; 100_000], 0o644)).repack(Compression::None);
    let blob = image.layer_digests()[0].clone();
    let curl = |registry: &FaultyRegistry, words: &[&str], path: &str| {
        let url = format!("{}{path}", registry.url());
        let mut command = Command::new("curl");
        command.args(["-q", "-s", "--noproxy", "*", "-m", "2", "-o", "/dev/null"]).args(words);
        let output = command.args(["-w", "%{http_code} %{size_download}", &url]).output().unwrap();
        format!("{} {}", output.status.code().unwrap_or(-1), stdout(&output))
    };
    let path = format!("/v2/a/b/blobs/{blob}");
    let whole = image.tars()[0].len();
    for (name, act, words, expected) in [
        ("none", Act::NoDigestHeader, &[][..], format!("0 200 {whole}")),
        ("part", Act::NoDigestHeader, &["-r", "1000-"], format!("0 206 {}", whole - 1000)),
        ("part within", Act::NoDigestHeader, &["-r", "10-19"], "0 206 10".into()),
        ("no part", Act::NoDigestHeader, &["-r", "9999999-"], "0 416 0".into()),
        ("drop", Act::DropAt(5000), &[], "56 200 5000".into()),
        ("truncated", Act::TruncateAt(5000), &[], "18 200 5000".into()),
        ("stall", Act::StallAt(5000), &[], "28 200 5000".into()),
        ("hangup", Act::Hangup, &[], "52 000 0".into()),
        ("shorter", Act::Deliver(Delivery::Shorter(1)), &[], format!("0 200 {}", whole - 1)),
        ("longer", Act::Deliver(Delivery::Longer(1)), &[], format!("0 200 {}", whole + 1)),
        ("endless", Act::Deliver(Delivery::Endless), &["--max-filesize", "9999999"], "63 200".into()),
        ("retry after", Act::RetryAfter(3), &[], "0 429".into()),
        ("status", Act::Status(503), &[], "0 503".into()),
        ("loop", Act::RedirectLoop, &["-L", "--max-redirs", "5"], "47 307 0".into()),
    ] {
        let registry = FaultyRegistry::new().image("a/b:tag", &image).fault(On::blob(&blob), act).start();
        let seen = curl(&registry, words, &path);
        // An endless one may be cut off by the time instead (curl before 7.84 looks at lengths only that are told).
        let seen = if name == "endless" && seen.starts_with("28") { "63 200".to_owned() } else { seen };
        assert!(
            seen.starts_with(&expected) || name == "no part" && seen.starts_with("0 416"),
            "{name}: {seen}, not {expected}"
        );
    }
    for (ranges, expected) in [
        (Ranges::Ignored, format!("0 200 {whole}")),
        (Ranges::Refused, "0 416".into()),
        (Ranges::Lying, format!("0 206 {}", whole - 1000)),
    ] {
        let registry = FaultyRegistry::new().image("a/b:tag", &image).ranges(ranges).start();
        let seen = curl(&registry, &["-r", "1000-"], &path);
        assert!(seen.starts_with(&expected), "{ranges:?}: {seen}");
        assert_eq!(registry.requests()[0].range(), Some((1000, None)));
    }
    // The first so many, and those after the first so many; another server; both recorded.
    let other = FaultyRegistry::new().image("a/b:tag", &image).start();
    let registry = FaultyRegistry::new()
        .image("a/b:tag", &image)
        .fault(On::blob(&blob).first(2), Act::Status(500))
        .fault(On::blob(&blob).after(3), Act::redirect_to(&other))
        .start();
    let codes: Vec<String> = (0..4).map(|_| curl(&registry, &["-L", "-u", "u:p"], &path)[..5].to_owned()).collect();
    assert_eq!(codes, ["0 500", "0 500", "0 200", "0 200"]);
    assert_eq!((registry.asked("GET", &blob).len(), other.asked("GET", &blob).len()), (4, 1));
    assert_eq!(registry.requests()[0].basic().as_deref(), Some("u:p"));
    assert_eq!(other.requests()[0].header("authorization"), None, "curl gives no password to another server");
}

#[test]
fn the_faulty_registry_wants_tokens() {
    if !has("the_faulty_registry_wants_tokens", &["skopeo"]) {
        return;
    }
    let (peers, image) = (Peers::new(), TestImage::busybox());
    let anonymous = FaultyRegistry::new().image("a/b:tag", &image).token_auth(Tokens::new()).start();
    let output = pull(&peers, &anonymous, &[], "anonymous");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(anonymous.tokens_given() > 0);
    let asked = anonymous.asked("GET", "/token");
    assert!(asked.iter().any(|request| request.word("scope").as_deref() == Some("repository:a/b:pull")), "{asked:?}");
    assert!(asked.iter().all(|request| request.word("service").as_deref() == Some("faulty")));

    let private = || FaultyRegistry::new().image("a/b:tag", &image).token_auth(Tokens::new().password("ann", "secret"));
    let registry = private().start();
    assert!(!pull(&peers, &registry, &[], "nobody").status.success());
    assert!(!pull(&peers, &registry, &["--src-creds", "ann:wrong"], "wrong").status.success());
    let output = pull(&peers, &registry, &["--src-creds", "ann:secret"], "ann");
    assert!(output.status.success(), "{}", stderr(&output));

    let short = FaultyRegistry::new().image("a/b:tag", &image).token_auth(Tokens::new().uses(1)).start();
    let first = Command::new("curl").args(["-s", &format!("{}/token?service=faulty", short.url())]).output().unwrap();
    let token: Value = serde_json::from_slice(&first.stdout).unwrap();
    let header = format!("Authorization: Bearer {}", token["token"].as_str().unwrap());
    let url = format!("{}/v2/", short.url());
    let code = || {
        let words = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url];
        stdout(&Command::new("curl").args(words).output().unwrap())
    };
    assert_eq!((code().as_str(), code().as_str()), ("200", "401"), "a token for one request");

    let basic = FaultyRegistry::new().image("a/b:tag", &image).basic_auth("ann", "secret").start();
    assert!(!pull(&peers, &basic, &[], "basic-nobody").status.success());
    assert!(pull(&peers, &basic, &["--src-creds", "ann:secret"], "basic").status.success());
}

#[test]
fn the_faulty_registry_has_tls_and_takes_pushes() {
    if !has("the_faulty_registry_has_tls_and_takes_pushes", &["skopeo", "socat", "openssl"]) {
        return;
    }
    let (peers, authority, image) = (Peers::new(), Authority::new(), TestImage::busybox());
    let registry = FaultyRegistry::new().tls(&authority).start();
    formats::write_layout(&peers.path("layout"), "tag", &image);
    let certs = authority.certs_d(&peers.path("certs.d"), &registry.reference("")[..registry.reference("").len() - 1]);
    let certs = certs.display().to_string();
    let remote = format!("docker://{}", registry.reference("pushed/to:1"));
    peers.copy(&["--dest-cert-dir", &certs], "oci:layout:tag", &remote);
    assert_eq!(registry.has("pushed/to", "1").map(|blob| crate::fixtures::digest(&blob.bytes)), Some(image.digest()));
    peers.copy(&["--src-cert-dir", &certs], &remote, "oci:back:tag");
    assert_eq!(peers.digest("oci:back:tag"), image.digest());
    let said = peers.fails(&["skopeo", "inspect", &remote]);
    assert!(said.contains("certificate"), "{said}");
    let refused = FaultyRegistry::new().fault(On::manifests().method("PUT"), Act::Status(403)).start();
    let words = ["skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:layout:tag"];
    peers.fails(&[&words[..], &[&format!("docker://{}", refused.reference("a:1"))]].concat());
    assert!(!refused.asked("PATCH", "uploads").is_empty(), "blobs were taken before");
}

#[test]
fn bombs_are_what_they_say() {
    if !has("bombs_are_what_they_say", &["skopeo"]) {
        return;
    }
    let (peers, image) = (Peers::new(), TestImage::busybox());
    let huge = bombs::large_manifest(&image, 100 << 20);
    assert_eq!(huge.len(), 100 << 20);
    assert!(huge.ends_with(b"a\"}}"));
    let many: Value = serde_json::from_slice(&bombs::many_manifests(1000)).unwrap();
    assert_eq!(many["manifests"].as_array().map(Vec::len), Some(1000));
    assert!(bombs::many_manifests(1_000_000).len() > 100 << 20);
    let layers: Value = serde_json::from_slice(&bombs::many_layers(&image, 1000)).unwrap();
    assert_eq!(layers["layers"].as_array().map(Vec::len), Some(1001));
    assert_eq!(bombs::deep_json(1000).iter().filter(|byte| **byte == b'[').count(), 1000);
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let [(one, first), (two, second)] = bombs::index_circle();
    let (schema_1, old) = bombs::schema_1("a/b", "old");
    let registry = FaultyRegistry::new()
        .raw("a/b", "huge", oci, huge)
        .raw("a/b", "deep", oci, bombs::deep_json(1_000_000))
        .raw("a/b", "old", schema_1, old)
        .raw("a/b", "circle", crate::fixtures::image::OCI_INDEX, first.clone())
        .raw("a/b", &one, crate::fixtures::image::OCI_INDEX, first)
        .raw("a/b", &two, crate::fixtures::image::OCI_INDEX, second)
        .image("a/b:nested", bombs::nested(&image, 3))
        .start();
    for tag in ["huge", "deep", "old", "circle"] {
        let from = format!("docker://{}", registry.reference(&format!("a/b:{tag}")));
        let said =
            peers.fails(&["timeout", "10", "skopeo", "copy", "--src-tls-verify=false", &from, &format!("oci:{tag}:x")]);
        assert!(!said.is_empty());
    }
    let nested = Content::from(&bombs::nested(&image, 3));
    assert_eq!(registry.has("a/b", "nested").map(|blob| crate::fixtures::digest(&blob.bytes)), Some(nested.digest));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let zeros = bombs::zeros(32, compression);
        let tar = &zeros.tars()[1];
        assert_eq!((tar.len(), crate::fixtures::digest(tar)), (512 + (32 << 20) + 1024, zeros.diff_ids()[1].clone()));
    }
}

#[test]
fn real_tools_make_images() {
    if !has("real_tools_make_images", &[&PEERS[..], &["setcap", "python3"]].concat()) {
        return;
    }
    let peers = Peers::new();
    for (layout, expected) in [
        (made::by_buildah(&peers), "4755 suid\ncap_net_raw=ep\nnow a file\nnew\ngone: kept/b gone/deep/old\n"),
        (made::by_umoci(&peers), "two\nabove\ngone: gone over/below\n"),
    ] {
        let name = layout.0.file_name().unwrap().to_str().unwrap();
        peers.ok(&["umoci", "unpack", "--image", &format!("{name}:{}", layout.1), &format!("{name}-bundle")]);
        let script = if name == "buildah" {
            "stat -c '%a suid' bin/suid; getcap bin/ping | cut -d' ' -f2; cat turns gone/deep/new; files='kept/b gone/deep/old'"
        } else {
            "cat etc/two over/above; files='gone over/below'"
        };
        let gone = "for f in $files; do [ ! -e $f ] || exit 1; done; echo gone: $files";
        assert_eq!(peers.sh(&format!("cd {name}-bundle/rootfs; {script}; {gone}")), expected, "{name}");
        let index = std::fs::read_to_string(layout.0.join("index.json")).unwrap();
        assert!(index.contains(layout.1), "{index}");
    }
    let zstd = made::with_zstd(&peers, "oci:buildah:made", "zstd", "made");
    let index: Value = serde_json::from_slice(&std::fs::read(zstd.join("index.json")).unwrap()).unwrap();
    let manifest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let manifest: Value = serde_json::from_slice(&std::fs::read(zstd.join("blobs").join(manifest)).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    assert!(
        layers.iter().all(|layer| layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"),
        "{manifest}"
    );
}

#[test]
fn debian_is_a_real_one() {
    let name = "debian_is_a_real_one";
    if !has(name, &["skopeo", "umoci"]) {
        return;
    }
    let Some(one) = debian::image(name, debian::Shape::One, Compression::Gzip) else { return };
    let four = debian::image(name, debian::Shape::Four, Compression::Zstd).unwrap();
    assert_eq!((one.diff_ids().len(), four.diff_ids().len()), (1, 4));
    let start = Instant::now();
    let registry = FaultyRegistry::new().image("debian:one", &one).image("debian:four", &four).start();
    let peers = Peers::new();
    for (tag, image) in [("one", &one), ("four", &four)] {
        let remote = format!("docker://{}", registry.reference(&format!("debian:{tag}")));
        peers.copy(&[], &remote, &format!("oci:{tag}:x"));
        assert_eq!(peers.digest(&format!("oci:{tag}:x")), image.digest(), "{tag}");
    }
    peers.ok(&["umoci", "unpack", "--image", "one:x", "bundle"]);
    let said = peers.ok(&[
        "chroot",
        "bundle/rootfs",
        "/bin/bash",
        "-c",
        "cat /etc/debian_version; du -sm / 2>/dev/null | cut -f1",
    ]);
    let (version, size) = said.trim_end().split_once('\n').unwrap();
    assert!(version.starts_with("12.") && size.parse::<u32>().unwrap() > 100, "{said}");
    eprintln!("copied and unpacked in {:?}", start.elapsed());
}
