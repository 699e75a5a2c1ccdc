//! `pull`: what a person sees, from a real registry and from ones that misbehave; and what then runs.

use crate::common::{Scratch, stderr, stdout};
use crate::fixtures::authority::Authority;
use crate::fixtures::content::TestIndex;
use crate::fixtures::faults::{Act, On, Tokens};
use crate::fixtures::faulty_registry::FaultyRegistry;
use crate::fixtures::image::{Compression, Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::registry::Registry;
use crate::fixtures::{debian, formats, has};
use serde_json::{Value, json};
use std::process::Command;

const PEERS: [&str; 2] = ["docker-registry", "skopeo"];

#[test]
fn the_first_pull_downloads_and_the_next_has_it() {
    if !has("the_first_pull_downloads_and_the_next_has_it", &PEERS) {
        return;
    }
    let (peers, registry, image) = (Peers::new(), Registry::plain(), TestImage::busybox());
    formats::write_layout(&peers.path("layout"), "tag", &image);
    let name = registry.reference("a/b");
    peers.copy(&[], "oci:layout:tag", &format!("docker://{name}:latest"));

    let first = peers.ours(&["pull", &name]);
    let digest = image.digest();
    let expected = format!(
        "Using default tag: latest\nDigest: {digest}\nStatus: Downloaded newer image for {name}:latest\n{name}:latest\n"
    );
    assert_eq!((stdout(&first), first.status.code()), (expected, Some(0)), "{}", stderr(&first));
    let progress = stderr(&first);
    let layer = &image.layer_digests()[0][7..19];
    assert!(progress.starts_with(&format!("{layer}: done, ")) && progress.lines().count() == 1, "{progress:?}");

    let second = peers.ours(&["image", "pull", &format!("{name}:latest")]);
    let expected = format!("Digest: {digest}\nStatus: Image is up to date for {name}:latest\n{name}:latest\n");
    assert_eq!((stdout(&second), stderr(&second)), (expected, String::new()));

    let quiet = peers.ours(&["pull", "-q", &format!("{name}@{digest}")]);
    assert_eq!((stdout(&quiet), stderr(&quiet)), (format!("{name}@{digest}\n"), String::new()));
    assert_eq!(peers.ours_run(&[&name, "id", "-un"]), "root\n");

    // The tag moves: what had it loses it, and stays without a name.
    let newer = TestImage::busybox().layer(Layer::new().file("new", "er\n", 0o644));
    formats::write_layout(&peers.path("newer"), "tag", &newer);
    peers.copy(&[], "oci:newer:tag", &format!("docker://{name}:latest"));
    let third = peers.ours_ok(&["pull", &name]);
    assert!(third.contains("Downloaded newer image"), "{third}");
    assert_eq!(peers.ours_run(&[&name, "cat", "/new"]), "er\n");
    let names = peers.ours_ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(names.lines().filter(|line| **line == format!("{name}:latest")).count(), 1, "{names}");
}

#[test]
fn every_tag_and_several_names() {
    if !has("every_tag_and_several_names", &PEERS) {
        return;
    }
    let (peers, registry) = (Peers::new(), Registry::plain());
    formats::write_layout(&peers.path("layout"), "tag", &TestImage::busybox());
    for tag in ["one", "two", "three"] {
        peers.copy(&[], "oci:layout:tag", &format!("docker://{}:{tag}", registry.reference("many")));
    }
    let name = registry.reference("many");
    let pulled = peers.ours_ok(&["pull", "-a", "-q", &name]);
    let mut tags: Vec<&str> = pulled.lines().filter_map(|line| line.strip_prefix(&format!("{name}:"))).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["one", "three", "two"]);
    let said = peers.ours_fails(125, &["pull", "-a", &format!("{name}:one")]);
    assert!(said.contains("names one") && said.contains(&format!("hint: write {name}")), "{said}");

    // It goes on after a failure, and says so in the end.
    let (one, missing, two) = (format!("{name}:one"), format!("{name}:four"), format!("{name}:two"));
    let output = peers.ours(&["pull", "-q", &one, &missing, &two]);
    assert_eq!((stdout(&output), output.status.code()), (format!("{one}\n{two}\n"), Some(1)));
    let said = stderr(&output);
    assert!(said.contains(&missing) && said.contains("hint: check the name and the tag"), "{said}");
    let said = peers.ours_fails(1, &["pull", "a/UPPER"]);
    assert!(said.contains("a/UPPER"), "{said}");
    let said = peers.ours_fails(125, &["pull", "--tls-verify=false", &one]);
    assert!(said.contains("pull has no flag --tls-verify"), "{said}");
}

#[test]
fn an_index_gives_the_image_for_the_platform() {
    if !has("an_index_gives_the_image_for_the_platform", &PEERS) {
        return;
    }
    let (peers, registry) = (Peers::new(), Registry::plain());
    let image = |text: &str| TestImage::busybox().layer(Layer::new().file("for", text, 0o644));
    let index = TestIndex::new()
        .image("linux/amd64", image("amd64\n"))
        .image("linux/arm/v7", image("arm\n"))
        .image("linux/arm64/v8", image("arm64\n"));
    for (name, index) in [("oci", index.clone()), ("docker", index.docker())] {
        formats::write_dir(&peers.path(name), &index);
        let remote = registry.reference(&format!("{name}:1"));
        peers.copy(&["--all"], &format!("dir:{name}"), &format!("docker://{remote}"));
        let said = peers.ours_ok(&["pull", &remote]);
        assert!(said.contains(&format!("Digest: {}\n", index.content().digest)), "{said}");
        let here = if cfg!(target_arch = "aarch64") { "arm64\n" } else { "amd64\n" };
        assert_eq!(peers.ours_run(&[&remote, "cat", "/for"]), here);
        for (platform, shown) in [("linux/arm64", "linux arm64 v8"), ("arm", "linux arm v7"), ("amd64", "linux amd64 ")]
        {
            peers.ours_ok(&["pull", "-q", "--platform", platform, &remote]);
            let format = "{{.Os}} {{.Architecture}} {{.Variant}}";
            assert_eq!(peers.ours_ok(&["inspect", "-f", format, &remote]), format!("{shown}\n"));
        }
        let said = peers.ours_fails(1, &["pull", "--platform", "linux/s390x", &remote]);
        assert!(
            said.contains("has no image for linux/s390x; it has: linux/amd64, linux/arm/v7, linux/arm64/v8"),
            "{said}"
        );
        assert!(said.contains("hint: choose one of them with --platform"), "{said}");
    }
    // What is no index is taken, and it is said that it is for another machine.
    let name = registry.reference("other:1");
    formats::write_layout(&peers.path("other"), "tag", &image("x").platform("linux/s390x"));
    peers.copy(&[], "oci:other:tag", &format!("docker://{name}"));
    let output = peers.ours(&["pull", "-q", &name]);
    assert_eq!(stdout(&output), format!("{name}\n"));
    assert!(stderr(&output).contains("is for linux/s390x"), "{}", stderr(&output));
    let said = peers.ours_fails(125, &["pull", "--platform", "a/b/c/d", &name]);
    assert!(said.contains("write OS/ARCH[/VARIANT]"), "{said}");
}

#[test]
fn tls_and_a_password() {
    if !has("tls_and_a_password", &[&PEERS[..], &["openssl", "htpasswd"]].concat()) {
        return;
    }
    let (peers, authority) = (Peers::new(), Authority::new());
    let registry = Registry::setup().tls(&authority).password("ann", "secret").start();
    let config = peers.path("state/home/.config/mycontainer/certs.d");
    let name = registry.reference("a/b:1");
    let said = peers.ours_fails(1, &["pull", &name]);
    assert!(said.contains("cannot trust") && said.contains(&format!("certs.d/{}/ca.crt", registry.host())), "{said}");

    let certs = authority.certs_d(&config, &registry.host()).display().to_string();
    formats::write_layout(&peers.path("layout"), "tag", &TestImage::busybox());
    let to = format!("docker://{name}");
    peers.copy(&["--dest-cert-dir", &certs, "--dest-creds", "ann:secret"], "oci:layout:tag", &to);
    let said = peers.ours_fails(1, &["pull", &name]);
    assert!(said.contains(&format!("log in with `mycontainer login {}`", registry.host())), "{said}");
    // Whoever Podman or skopeo logged in is who we are.
    peers.ok(&["skopeo", "login", "--cert-dir", &certs, "-u", "ann", "-p", "secret", &registry.host()]);
    assert_eq!(peers.ours_ok(&["pull", "-q", &name]), format!("{name}\n"));
    assert_eq!(peers.ours_run(&[&name, "echo", "it runs"]), "it runs\n");
}

#[test]
fn a_registry_that_misbehaves_is_told() {
    if !has("a_registry_that_misbehaves_is_told", &[]) {
        return;
    }
    let image = TestImage::busybox().layer(Layer::new().file("x", "x\n", 0o644));
    let layer = image.layer_digests()[0].clone();
    let start = |on: On, act: Act| FaultyRegistry::new().image("a/b:tag", &image).fault(on, act).start();
    let peers = Peers::new();
    for (registry, words) in [
        (start(On::blob(&layer), Act::WrongContent), ""),
        (start(On::manifests(), Act::Html), "hint: this may be the page of a proxy"),
        (start(On::manifests(), Act::Status(403)), "not allowed"),
    ] {
        let said = peers.ours_fails(1, &["pull", &registry.reference("a/b:tag")]);
        // Whether the decoder or the digest finds the wrong byte first is a matter of time.
        let is_wrong = said.contains("sent wrong content") || said.contains("cannot be unpacked");
        assert!(if words.is_empty() { is_wrong } else { said.contains(words) }, "{words}: {said}");
        assert!(said.starts_with("mycontainer: ") || said.contains("\nmycontainer: "), "{said}");
    }
    // What breaks once is tried again, from where it broke.
    let registry = start(On::blob(&layer).first(1), Act::DropAt(1000));
    assert_eq!(
        peers.ours_ok(&["pull", "-q", &registry.reference("a/b:tag")]),
        format!("{}\n", registry.reference("a/b:tag"))
    );
    assert_eq!(peers.ours_run(&[&registry.reference("a/b:tag"), "cat", "/x"]), "x\n");
    let registry = FaultyRegistry::new().image("a/b:tag", &image).token_auth(Tokens::new().uses(2)).start();
    peers.ours_ok(&["pull", "-q", &registry.reference("a/b:tag")]);
}

#[test]
fn run_fetches_what_is_missing_and_says_so() {
    if !has("run_fetches_what_is_missing_and_says_so", &[]) {
        return;
    }
    let peers = Peers::new();
    let registry = FaultyRegistry::new().image("a/b:latest", &TestImage::busybox().cmd(&["echo", "it runs"])).start();
    let name = registry.reference("a/b");
    let said = peers.ours_fails(125, &["run", "--rm", "--network", "none", "--pull", "never", &name]);
    assert!(said.contains("there is no image") && said.contains("hint: "), "{said}");
    let first = peers.ours(&["run", "--rm", "--network", "none", &name]);
    assert_eq!(stdout(&first), "it runs\n");
    let told = stderr(&first);
    assert!(told.starts_with(&format!("Unable to find image '{name}:latest' locally\n")), "{told}");
    assert!(told.contains(": done, "), "{told}");
    let second = peers.ours(&["run", "--rm", "--network", "none", &name]);
    assert_eq!((stdout(&second), stderr(&second)), ("it runs\n".into(), String::new()));
    peers.ours_ok(&["rmi", &name]);
    let quiet = peers.ours(&["run", "--rm", "-q", "--network", "none", &name]);
    assert_eq!((stdout(&quiet), stderr(&quiet)), ("it runs\n".into(), String::new()));
    let said = peers.ours_fails(125, &["run", "--rm", "--network", "none", &registry.reference("none:1")]);
    assert!(said.contains("is not there") && said.contains("hint: check the name and the tag"), "{said}");
}

#[test]
fn what_the_configuration_says_is_done() {
    if !has("what_the_configuration_says_is_done", &[]) {
        return;
    }
    let peers = Peers::new();
    let layer = Layer::new().dir("data", 0o755).dir("volume", 0o755).file("volume/there", "before\n", 0o644);
    let image = TestImage::busybox()
        .layer(layer)
        .env("A=of the image")
        .env("B=b")
        .entrypoint(&["/bin/sh", "-c"])
        .cmd(&["id -un; id -gn; pwd; echo $A $B; cat /volume/there; :"])
        .working_dir("/data")
        .user("ann")
        .volume("/volume")
        .stop_signal("SIGINT")
        .label("its.name", "value");
    let registry = FaultyRegistry::new().image("a/b:1", &image).start();
    let name = registry.reference("a/b:1");
    let said = peers.ours_run(&["-q", &name]);
    assert!(said.starts_with("ann\nusers\n/data\nof the image b\nbefore\n"), "{said}");
    assert_eq!(peers.ours_run(&["-e", "A=mine", &name, "echo $A"]), "mine\n");
    assert_eq!(peers.ours_run(&["-u", "0", "-w", "/", "--entrypoint", "/bin/pwd", &name]), "/\n");
    assert_eq!(peers.ours_run(&["-u", "root", &name, "touch /volume/new && ls /volume"]), "new\nthere\n");
    assert_eq!(peers.ours_run(&[&name, "ls /volume"]), "there\n", "each container has a volume of its own");
    let shown: Value = serde_json::from_str(&peers.ours_ok(&["inspect", &name])).unwrap();
    let config = &shown[0]["Config"];
    assert_eq!(config["User"], "ann");
    assert_eq!(config["StopSignal"], "SIGINT");
    assert_eq!(config["Labels"], json!({ "its.name": "value" }));
    assert_eq!(config["Volumes"], json!({ "/volume": {} }));

    // The tool is asked to end, and the container gets the signal that its image asks for.
    let script =
        "trap 'echo by INT; exit 3' INT; trap 'echo by TERM; exit 4' TERM; echo ready; while :; do sleep 0.1; done";
    let shell = format!(
        "{} run --rm --network none -u root {name} '{}' >out & p=$!; \
        while ! grep -q ready out; do sleep 0.05; done; kill -INT $p; wait $p; echo $?; cat out",
        crate::common::tool(),
        script.replace('\'', "'\\''")
    );
    let output = peers.run(&["sh", "-c", &shell]);
    assert_eq!(stdout(&output), "3\nready\nby INT\n", "{}", stderr(&output));
}

#[test]
fn a_distribution_of_more_than_100_megabytes() {
    if !has("a_distribution_of_more_than_100_megabytes", &[]) {
        return;
    }
    for (shape, compression) in [(debian::Shape::One, Compression::Gzip), (debian::Shape::Four, Compression::Zstd)] {
        let Some(image) = debian::image("a_distribution_of_more_than_100_megabytes", shape, compression) else {
            return;
        };
        let (peers, registry) = (Peers::new(), FaultyRegistry::new().image("debian:12", &image).start());
        let name = registry.reference("debian:12");
        peers.ours_ok(&["pull", "-q", &name]);
        let script =
            ". /etc/os-release; echo $ID $VERSION_ID; dpkg -l bash | tail -1 | cut -c1-2; ls /usr/share/doc | wc -l";
        let said = peers.ours_run(&[&name, "bash", "-c", script]);
        assert!(said.starts_with("debian 12\nii\n"), "{said}");
        assert_eq!(said.ends_with("\n0\n"), shape == debian::Shape::Four, "{said}");
        // What dpkg says of its files holds in the image.
        let verified = peers.ours_run(&[
            &name,
            "bash",
            "-c",
            "dpkg --verify bash coreutils libc6 2>&1 | grep -v /usr/share/doc | head",
        ]);
        assert_eq!(verified, "");
        let size: u64 = peers.ours_ok(&["inspect", "-f", "{{.Size}}", &name]).trim().parse().unwrap();
        assert!(size > 100_000_000, "{size}");
    }
}

/// Standard error is a terminal: lines a layer and one for all, drawn in place.
#[test]
fn a_terminal_sees_layers_come() {
    if !has("a_terminal_sees_layers_come", &["script"]) {
        return;
    }
    let (peers, scratch) = (Peers::new(), Scratch::new("tty"));
    let registry = FaultyRegistry::new().image("a/b:1", &TestImage::busybox()).start();
    let words = format!("{} pull {}", crate::common::tool(), registry.reference("a/b:1"));
    let mut command: Command = peers.command(&["script", "-qec", &words, &scratch.path("typescript")]);
    let seen = stdout(&command.output().unwrap());
    let layer = TestImage::busybox().layer_digests()[0][7..19].to_owned();
    assert!(seen.contains(&format!("{layer}  done")) && seen.contains("1 of 1 layers"), "{seen:?}");
    assert!(seen.contains("Status: Downloaded newer image"), "{seen:?}");
}
