//! `pull` from a registry that lies, breaks, stalls or sends what nobody should swallow: what a person is told, what is
//! left in the store, how much memory it took, and that the next pull goes on where this one ended.

use crate::common::{Scratch, code, stderr, stdout};
use crate::fixtures::bombs;
use crate::fixtures::faults::{Act, On, Ranges};
use crate::fixtures::faulty_registry::{Builder, FaultyRegistry};
use crate::fixtures::has;
use crate::fixtures::http::Delivery;
use crate::fixtures::image::{Compression, Layer, OCI_INDEX, OCI_MANIFEST, TestImage};
use crate::fixtures::judge::{self, Judge};
use crate::fixtures::peers::Peers;
use crate::fixtures::tar::{Entry, Kind};
use serde_json::json;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Bytes of the second layer's file, which does not shrink.
const BYTES: usize = 3 << 20;
/// The most memory that a pull may take, in KiB.
const MEMORY_MAX: u64 = 64 << 10;

/// Content that no compression makes smaller.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

fn image() -> TestImage {
    static MADE: OnceLock<TestImage> = OnceLock::new();
    MADE.get_or_init(|| TestImage::busybox().layer(Layer::new().file("noise", noise(BYTES, 1), 0o644))).clone()
}

/// One fault: the registry, and what is to be said. With `again`, the same image without the fault is pulled after that.
struct Case {
    name: &'static str,
    registry: Builder,
    said: &'static [&'static str],
    left: Left,
}

/// What is in the store after a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Blobs that were right or begun.
    Resumable,
}

fn case(name: &'static str, registry: Builder, said: &'static [&'static str], left: Left) -> Case {
    Case { name, registry, said, left }
}

fn registry(image: &TestImage) -> Builder {
    FaultyRegistry::new().image("a/b:tag", image)
}

fn faults() -> Vec<Case> {
    use Left::{Nothing, Resumable};
    let image = image();
    let noisy = image.layer_digests()[1].clone();
    let fault = |on: On, act: Act| registry(&image).fault(on, act);
    let config = image.id();
    let size = |pointer: &str, size: usize| registry(&image.clone().edit_manifest(pointer, json!(size)));
    let wrong_id = digest_of_nothing();
    vec![
        case("a wrong layer", fault(On::blob(&noisy), Act::WrongContent), &["a/b:tag", "sha256:"], Resumable),
        case(
            "a wrong configuration",
            fault(On::blob(&config), Act::WrongContent),
            &["a/b:tag", "wrong content"],
            Nothing,
        ),
        case("a layer that goes on", fault(On::blob(&noisy), Act::Deliver(Delivery::Longer(10))), &["size"], Resumable),
        case("a layer too short", fault(On::blob(&noisy), Act::Deliver(Delivery::Shorter(10))), &["size"], Resumable),
        case(
            "a layer without an end",
            fault(On::blob(&noisy), Act::Deliver(Delivery::Endless)),
            &["size", "sends more"],
            Resumable,
        ),
        case("a size too small", size("/layers/1/size", 1000), &["size", "1000 bytes"], Resumable),
        case("a size too large", size("/layers/1/size", 1 << 30), &["size", "1073741824 bytes"], Resumable),
        case("a huge configuration", size("/config/size", 1 << 40), &["more than 4194304 bytes"], Nothing),
        case(
            "a wrong diff id",
            registry(&image.clone().edit_config("/rootfs/diff_ids/1", json!(wrong_id))),
            &["another one than the configuration says", "e3b0c442"],
            Resumable,
        ),
        case(
            "a layer closed early",
            fault(On::blob(&noisy), Act::TruncateAt(1000)),
            &["cannot read sha256:", "broke"],
            Resumable,
        ),
        case(
            "a layer that is reset",
            fault(On::blob(&noisy), Act::DropAt(100_000)),
            &["cannot read sha256:", "broke"],
            Resumable,
        ),
        case(
            "a registry that hangs up",
            fault(On::any(), Act::Hangup),
            &["the connection to localhost:", "broke"],
            Nothing,
        ),
        case("a blob that is gone", fault(On::blob(&noisy), Act::Status(404)), &["is not there"], Resumable),
        case("a blob with 500", fault(On::blob(&noisy), Act::Status(500)), &["500", "so the test wants it"], Resumable),
        case("a manifest with 500", fault(On::manifests(), Act::Status(500)), &["500"], Nothing),
        case("a manifest with 503", fault(On::manifests(), Act::Status(503)), &["503"], Nothing),
        case(
            "too many requests",
            fault(On::manifests(), Act::RetryAfter(0)),
            &["too many requests", "hint: "],
            Nothing,
        ),
        case("a manifest that is a page", fault(On::manifests(), Act::Html), &["page of a proxy"], Nothing),
        case("a layer that is a page", fault(On::blob(&noisy), Act::Html), &["size"], Resumable),
        case("redirects in a circle", fault(On::blob(&noisy), Act::RedirectLoop), &["redirects"], Resumable),
        case(
            "a redirect to a file",
            fault(On::blob(&noisy), Act::Redirect("file:///etc/shadow".into())),
            &["no URL that may be followed"],
            Resumable,
        ),
        case(
            "a redirect to nowhere",
            fault(On::blob(&noisy), Act::Redirect("http://127.0.0.1:1/x".into())),
            &["127.0.0.1:1"],
            Resumable,
        ),
    ]
}

fn digest_of_nothing() -> String {
    crate::fixtures::digest(b"")
}

fn raw(media_type: &str, bytes: Vec<u8>) -> Builder {
    FaultyRegistry::new().raw("a/b", "tag", media_type, bytes)
}

/// Documents that nobody should swallow.
fn documents() -> Vec<Case> {
    let image = TestImage::busybox();
    let nested = |depth| FaultyRegistry::new().image("a/b:tag", bombs::nested(&image, depth));
    let [one, two] = bombs::index_circle();
    let circle = FaultyRegistry::new()
        .raw("a/b", "tag", OCI_INDEX, one.1.clone())
        .raw("a/b", &one.0, OCI_INDEX, one.1)
        .raw("a/b", &two.0, OCI_INDEX, two.1);
    let (schema_1, old) = bombs::schema_1("a/b", "tag");
    let fill = |json: &str, count: usize| format!("[{}{json}]", format!("{json},").repeat(count));
    let config = |field: &str, value: String| {
        let mut image = image.content();
        let text = String::from_utf8(TestImage::busybox().config()).unwrap();
        let text = text.replacen('{', &format!("{{\"{field}\":{value},"), 1);
        let descriptor = image.add("application/vnd.oci.image.config.v1+json", text.into_bytes().into());
        let mut manifest: serde_json::Value = serde_json::from_slice(&image.root().bytes).unwrap();
        manifest["config"] = descriptor;
        image.set_root(OCI_MANIFEST, manifest.to_string().into_bytes());
        FaultyRegistry::new().image("a/b:tag", image)
    };
    let none = |name, registry, said| case(name, registry, said, Left::Nothing);
    vec![
        none(
            "a manifest of 100 MB",
            raw(OCI_MANIFEST, bombs::large_manifest(&image, 100_000_000)),
            &["more than 4194304 bytes"],
        ),
        none(
            "a manifest without an end",
            registry(&image).fault(On::manifests(), Act::Deliver(Delivery::Endless)),
            &["more than 4194304 bytes"],
        ),
        none("lists in lists", raw(OCI_MANIFEST, bombs::deep_json(90_000)), &["not JSON of the expected form"]),
        none(
            "lists in lists without end",
            raw(OCI_MANIFEST, bombs::deep_json(1_000_000)),
            &["more than 100000 values"],
        ),
        none("3000 manifests", raw(OCI_INDEX, bombs::many_manifests(3000)), &["3000 manifests", "1000 are the most"]),
        none("1000 layers", raw(OCI_MANIFEST, bombs::many_layers(&image, 1000)), &["1001 layers", "500 are the most"]),
        none("indexes in indexes", nested(6), &["nested too deeply"]),
        none("indexes in a circle", circle, &["is not what was asked for", "of localhost:"]),
        none("schema 1", raw(schema_1, old), &["schema 1", "push the image anew"]),
        none("a configuration of zeros", config("more", fill("0", 1_900_000)), &["more than 100000 values"]),
        none("a configuration of lists", config("more", fill("[]", 1_200_000)), &["more than 100000 values"]),
        none(
            "a configuration deep down",
            config("more", "[".repeat(90_000) + &"]".repeat(90_000)),
            &["recursion limit"],
        ),
        none(
            "an artifact",
            registry(&image).raw("a/b", "tag", OCI_MANIFEST, artifact(&image)),
            &["it is an artifact of another kind"],
        ),
    ]
}

fn artifact(image: &TestImage) -> Vec<u8> {
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.content().root().bytes).unwrap();
    manifest["layers"][0]["mediaType"] = json!("application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    manifest.to_string().into_bytes()
}

/// Does something for each, four at a time, for most of it is waiting; all that fail are told.
fn in_parallel<T: Sync>(cases: &[T], act: impl Fn(&T) + Sync) {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(case))).is_err() {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    assert_eq!(failed.into_inner(), 0, "cases that failed, see above");
}

fn for_all(cases: Vec<Case>, act: impl Fn(Case) + Sync) {
    let cases: Vec<Mutex<Option<Case>>> = cases.into_iter().map(|case| Mutex::new(Some(case))).collect();
    in_parallel(&cases, |case| act(case.lock().unwrap().take().unwrap()));
}

/// A pull, and the most memory that it took, in KiB.
fn pull(peers: &Peers, words: &[&str]) -> (Output, u64) {
    let mut command = peers.ours_command(&[&["pull"], words].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    // The counter starts anew with each program that the child becomes.
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(most);
        std::thread::sleep(Duration::from_millis(1));
    }
    (child.wait_with_output().unwrap(), most)
}

/// Fails as it should: said in one line with a hint or so, nothing left that is not right.
fn assert_refused(case: Case) -> (Peers, FaultyRegistry) {
    let (name, peers, registry) = (case.name, Peers::new(), case.registry.start());
    let (output, memory) = pull(&peers, &["-q", &registry.reference("a/b:tag")]);
    let said = stderr(&output);
    assert_eq!((code(output.status), stdout(&output)), (1, String::new()), "{name}: {said}");
    assert!(said.starts_with("mycontainer: ") && said.len() < 2000, "{name}: {} bytes: {said:.300}", said.len());
    assert!(!said.trim_end().chars().any(|c| c.is_control() && c != '\n'), "{name}: {said:?}");
    for word in case.said {
        assert!(said.contains(word), "{name}: {word:?} is not in: {said}");
    }
    eprintln!("{name}: {} ({memory} KiB)", said.trim_end());
    assert!(memory < MEMORY_MAX, "{name}: {memory} KiB of memory");
    let left = judge::content(&peers);
    let allowed = |path: &String| {
        let is_empty = std::fs::metadata(judge::store(&peers).join(path)).unwrap().len() == 0;
        case.left == Left::Resumable && !path.starts_with("new/") && !path.starts_with("leases/") && !is_empty
    };
    assert!(left.iter().all(allowed), "{name}: left: {left:?}");
    let complaints = Judge::default().complaints(&peers);
    let complaints: Vec<_> = complaints.iter().filter(|line| !line.contains("nobody knows it")).collect();
    assert!(complaints.is_empty(), "{name}: {complaints:?}");
    assert_eq!(peers.ours_ok(&["images", "-q"]), "", "{name}");
    (peers, registry)
}

#[test]
fn a_registry_at_fault_is_told_and_the_next_pull_works() {
    if !has("a_registry_at_fault_is_told_and_the_next_pull_works", &[]) {
        return;
    }
    for_all(faults(), |case| {
        let name = case.name;
        let (peers, _registry) = assert_refused(case);
        let right = registry(&image()).start();
        let tag = right.reference("a/b:tag");
        peers.ours_ok(&["pull", "-q", &tag]);
        let length = peers.ours_run(&[&tag, "sh", "-c", "wc -c </noise"]);
        assert_eq!(length, format!("{BYTES}\n"), "{name}");
        assert_eq!(judge::names(&peers, "partial"), Vec::<String>::new(), "{name}");
    });
}

#[test]
fn documents_that_nobody_should_swallow() {
    if !has("documents_that_nobody_should_swallow", &[]) {
        return;
    }
    for_all(documents(), |case| drop(assert_refused(case)));
}

/// What broke is gone on with: within one pull, and by the next one.
#[test]
fn a_blob_is_resumed_by_range() {
    if !has("a_blob_is_resumed_by_range", &[]) {
        return;
    }
    let image = image();
    let noisy = image.layer_digests()[1].clone();
    let at = 1_000_000;
    for ranges in [Ranges::Served, Ranges::Ignored, Ranges::Refused, Ranges::Lying] {
        let peers = Peers::new();
        // One pull, which is cut off once.
        let broken = registry(&image).ranges(ranges).fault(On::blob(&noisy).first(1), Act::DropAt(at)).start();
        let (output, _) = pull(&peers, &["-q", &broken.reference("a/b:tag")]);
        assert_eq!(broken.asked("GET", &noisy)[1].header("range"), Some("bytes=1000000-"), "{ranges:?}");
        // Who sends the beginning and says that it is the rest is found out, and asked for all of it the next time.
        assert_eq!(output.status.success(), ranges != Ranges::Lying, "{ranges:?}: {}", stderr(&output));

        // One that gives up, and the next.
        let peers = Peers::new();
        let broken = registry(&image)
            .fault(On::blob(&noisy).first(1), Act::DropAt(at))
            .fault(On::blob(&noisy).after(1), Act::Status(500))
            .start();
        let (output, _) = pull(&peers, &["-q", &broken.reference("a/b:tag")]);
        assert_eq!(output.status.code(), Some(1));
        let partial = judge::store(&peers).join("partial").join(&noisy[7..]);
        assert_eq!(std::fs::metadata(&partial).unwrap().len(), at as u64);
        let right = registry(&image).ranges(ranges).start();
        let tag = right.reference("a/b:tag");
        peers.ours_ok(&["pull", "-q", &tag]);
        let asked = right.asked("GET", &noisy);
        assert_eq!(asked[0].header("range"), Some("bytes=1000000-"), "{ranges:?}");
        assert_eq!(asked.len(), if matches!(ranges, Ranges::Served | Ranges::Ignored) { 1 } else { 2 }, "{ranges:?}");
        assert!(right.asked("GET", &image.layer_digests()[0]).is_empty(), "the other layer was there");
        assert_eq!(peers.ours_run(&[&tag, "sh", "-c", "wc -c </noise"]), format!("{BYTES}\n"));
        assert!(!partial.exists());
    }
}

/// What is in `partial/` need not be what it was: then the blob is fetched from the start, without a word.
#[test]
fn what_was_begun_and_is_wrong_is_begun_again() {
    if !has("what_was_begun_and_is_wrong_is_begun_again", &[]) {
        return;
    }
    let image = image();
    let noisy = image.layer_digests()[1].clone();
    let blob = image.content().blobs[&noisy].bytes.clone();
    let (mut flipped, mut zeros, mut whole) = (blob[..1_000_000].to_vec(), blob[..1_000_000].to_vec(), blob.to_vec());
    flipped[500_000] ^= 1;
    zeros[4096..].fill(0);
    *whole.last_mut().unwrap() ^= 1;
    let longer = [&blob[..], b"more"].concat();
    for (name, begun) in
        [("flipped", flipped), ("zeros", zeros), ("whole", whole), ("longer", longer), ("all", blob.to_vec())]
    {
        let (peers, registry) = (Peers::new(), registry(&image).start());
        // A store is there.
        peers.ours_ok(&["images"]);
        std::fs::write(judge::store(&peers).join("partial").join(&noisy[7..]), begun).unwrap();
        let tag = registry.reference("a/b:tag");
        peers.ours_ok(&["pull", "-q", &tag]);
        assert_eq!(peers.ours_run(&[&tag, "sh", "-c", "wc -c </noise"]), format!("{BYTES}\n"), "{name}");
        assert_eq!(registry.asked("GET", &noisy).is_empty(), name == "all", "{name}");
        assert_eq!(judge::names(&peers, "partial"), Vec::<String>::new(), "{name}");
    }
}

/// That one layer fails costs the others nothing of what had come.
#[test]
fn the_other_layers_are_kept() {
    if !has("the_other_layers_are_kept", &[]) {
        return;
    }
    let image = image().layer(Layer::new().file("second", noise(BYTES, 2), 0o644));
    let [_, slow, broken] = <[String; 3]>::try_from(image.layer_digests()).unwrap();
    let faulty = registry(&image)
        .fault(On::blob(&slow), Act::Deliver(Delivery::Drip(100_000, 50)))
        .fault(On::blob(&broken), Act::Status(404))
        .fault(On::blob(&broken), Act::Deliver(Delivery::Drip(20, 200)))
        .start();
    let peers = Peers::new();
    peers.ours_fails(1, &["pull", "-q", &faulty.reference("a/b:tag")]);
    let kept =
        std::fs::metadata(judge::store(&peers).join("partial").join(&slow[7..])).map(|file| file.len()).unwrap_or(0);
    assert!(kept > 0, "{:?}", judge::content(&peers));
    let right = registry(&image).start();
    peers.ours_ok(&["pull", "-q", &right.reference("a/b:tag")]);
    assert_eq!(right.asked("GET", &slow)[0].header("range"), Some(format!("bytes={kept}-").as_str()));
}

#[test]
fn a_stall_is_noticed_and_faults_that_pass_are_passed() {
    if !has("a_stall_is_noticed_and_faults_that_pass_are_passed", &[]) {
        return;
    }
    let image = image();
    let noisy = image.layer_digests()[1].clone();
    let other = FaultyRegistry::new().image("a/b:tag", &image).start();
    for_all(
        vec![
            case(
                "stall",
                registry(&image).fault(On::blob(&noisy).first(1), Act::StallAt(1_000_000)),
                &[],
                Left::Nothing,
            ),
            case("429", registry(&image).fault(On::any().first(2), Act::RetryAfter(1)), &[], Left::Nothing),
            case("500", registry(&image).fault(On::blobs().first(2), Act::Status(500)), &[], Left::Nothing),
            case("hangup", registry(&image).fault(On::blobs().first(2), Act::Hangup), &[], Left::Nothing),
            case("redirect", registry(&image).fault(On::blobs(), Act::redirect_relative()), &[], Left::Nothing),
            case("elsewhere", registry(&image).fault(On::blobs(), Act::redirect_to(&other)), &[], Left::Nothing),
            case("no digest", registry(&image).fault(On::any(), Act::NoDigestHeader), &[], Left::Nothing),
            case("no length", registry(&image).fault(On::any(), Act::Deliver(Delivery::NoLength)), &[], Left::Nothing),
            case("drops", registry(&image).fault(On::blob(&noisy).first(3), Act::DropAt(900_000)), &[], Left::Nothing),
        ],
        |case| {
            let (peers, registry) = (Peers::new(), case.registry.start());
            let tag = registry.reference("a/b:tag");
            peers.ours_ok(&["pull", "-q", &tag]);
            assert_eq!(peers.ours_run(&[&tag, "sh", "-c", "wc -c </noise"]), format!("{BYTES}\n"), "{}", case.name);
        },
    );
}

/// Layers of any size take the same memory, and what some kilobytes would fill the disk with is refused.
#[test]
fn memory_is_bounded_and_bombs_are_refused() {
    if !has("memory_is_bounded_and_bombs_are_refused", &[]) {
        return;
    }
    let large = |compression| {
        let layer =
            |n: u64| Layer::new().file(&format!("n{n}"), [noise(3 << 20, n), vec![0; 17 << 20]].concat(), 0o644);
        (1..5).fold(TestImage::busybox().compression(compression), |image, n| image.layer(layer(n)))
    };
    for (name, image) in [
        ("four of gzip", large(Compression::Gzip)),
        ("four of zstd", large(Compression::Zstd)),
        ("zeros of gzip", bombs::zeros(150, Compression::Gzip)),
    ] {
        let (peers, registry) = (Peers::new(), registry(&image).start());
        let (output, memory) = pull(&peers, &["-q", &registry.reference("a/b:tag")]);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        eprintln!("{name}: {memory} KiB");
        assert!(memory < MEMORY_MAX, "{name}: {memory} KiB");
    }
    // Frames that want 32 or 128 MiB of what came before at hand, as the highest levels of zstd make them: one at a time,
    // and from 64 MiB on in a file.
    for (log, largest) in [(25, "32"), (26, "64"), (27, "128"), (28, "256")] {
        let image = (1..3).fold(TestImage::busybox(), |image, n| {
            let part = noise((1 << log) - (1 << 20), n);
            let tar = Layer::new().file(&format!("w{n}"), [&part[..], &part[..1 << 22]].concat(), 0o644).tar();
            let mut out = zstd::Encoder::new(Vec::new(), 1).unwrap();
            out.window_log(log).unwrap();
            out.long_distance_matching(true).unwrap();
            std::io::Write::write_all(&mut out, &tar).unwrap();
            image.packed_layer(out.finish().unwrap().into(), Compression::Zstd, &crate::fixtures::digest(&tar))
        });
        let (peers, registry) = (Peers::new(), registry(&image).start());
        let began = std::time::Instant::now();
        let (output, memory) = pull(&peers, &["-q", &registry.reference("a/b:tag")]);
        eprintln!("windows of {largest} MiB: {memory} KiB, {:?}", began.elapsed());
        assert!(memory < MEMORY_MAX, "{log}: {memory} KiB {}", stderr(&output));
        assert_eq!(output.status.success(), log < 28, "{log}: {}", stderr(&output));
        let why = "its compression wants a window of 256 MiB, and 128 are the most";
        assert!(log < 28 || stderr(&output).contains(why), "{}", stderr(&output));
    }
    // What is refused, with which limit, and what it is then: 1 GiB by itself.
    for (compression, mib, limit, bytes, form) in [
        (Compression::Gzip, 1100, None, "1073741824", "erofs"),
        (Compression::Gzip, 60, Some("30000000"), "30000000", "erofs"),
        (Compression::Zstd, 60, Some("30000000"), "30000000", "erofs"),
        (Compression::Gzip, 60, Some("30000000"), "30000000", "directories"),
    ] {
        let image = bombs::zeros(mib, compression);
        let bomb = &image.layer_digests()[1][7..];
        let (peers, registry) = (Peers::new(), registry(&image).start());
        let tag = registry.reference("a/b:tag");
        let pull = |limit: Option<&str>| {
            let mut command = peers.ours_command(&["pull", "-q", &tag]);
            command.envs(limit.map(|limit| ("MYCONTAINER_LAYER_MAX", limit))).env("MYCONTAINER_LAYERS", form);
            command.output().unwrap()
        };
        // What is no number limits nothing: it must not pass for a limit.
        for wrong in ["30M", "-1"] {
            let said = stderr(&pull(Some(wrong)));
            assert!(said.contains(&format!("MYCONTAINER_LAYER_MAX={wrong:?}")), "{said}");
        }
        let output = pull(limit);
        let said = stderr(&output);
        let why = format!("it is too large: with entry \"zeros\" it takes more than {bytes} bytes");
        assert!(output.status.code() == Some(1) && said.contains(bomb) && said.contains(&why), "{said}");
        assert!(said.contains("hint: ") && said.contains("MYCONTAINER_LAYER_MAX"), "{said}");
        let left = judge::content(&peers);
        assert!(left.iter().all(|path| !path.starts_with("new/") && !path.contains(bomb)), "{left:?}");
        // Whoever wants it can have it.
        if limit.is_some() {
            let output = pull(Some("100000000"));
            assert!(output.status.success(), "{}", stderr(&output));
        }
    }
}

/// Configurations that are taken, and are too much or nonsense to run.
#[test]
fn configurations_that_lie() {
    if !has("configurations_that_lie", &[]) {
        return;
    }
    let busybox = TestImage::busybox;
    let outside = Scratch::new("outside");
    let secret = outside.file("secret", "the host's\n", 0o644);
    let climbing = format!("{}{}", "../".repeat(20), &outside.path("")[1..]);
    let links =
        Layer::new().symlink("link", &outside.path("")).symlink("up", "../../../../../../..").symlink("loop", "loop");
    let many: Vec<String> = (0..90_000).map(|n| format!("A{n}={}", "x".repeat(25))).collect();
    // What is run, whether it is to work, and what is said then.
    let cases: &[(&str, TestImage, bool, &str)] = &[
        ("many variables", busybox().set("Env", json!(many)), false, "too long"),
        ("a huge variable", busybox().env(&format!("A={}", "x".repeat(3 << 20))), false, "too long"),
        ("NUL in Env", busybox().env("A=a\0b"), false, "NUL"),
        ("NUL in Cmd", busybox().cmd(&["echo", "a\0b"]), false, "NUL"),
        ("NUL in Entrypoint", busybox().entrypoint(&["/bin/echo\0", "b"]), false, "NUL"),
        ("NUL in User", busybox().user("ro\0ot"), false, ""),
        ("NUL in WorkingDir", busybox().working_dir("/a\0b"), false, ""),
        ("NUL in Volumes", busybox().volume("/a\0b"), false, ""),
        ("a name too long in Volumes", busybox().volume(&format!("/{}", "v".repeat(300))), false, "too long"),
        ("no name in Env", busybox().env("=x").env("nothing").cmd(&["echo", "hello"]), true, "hello\n"),
        ("a user who is not there", busybox().user("nobody-there"), false, "nobody-there"),
        ("a user out of range", busybox().user("99999999999"), false, "99999999999"),
        ("a climbing WorkingDir", busybox().working_dir(&climbing).cmd(&["sh", "-c", "pwd; ls"]), true, ""),
        ("a linked WorkingDir", busybox().layer(links.clone()).working_dir("/link/x").cmd(&["pwd"]), true, ""),
        ("a looping WorkingDir", busybox().layer(links.clone()).working_dir("/loop").cmd(&["pwd"]), false, "loop"),
        ("a climbing volume", busybox().volume(&climbing).cmd(&["echo", "hello"]), true, ""),
        (
            "a linked volume",
            busybox().layer(links.clone()).volume("/link").cmd(&[
                "sh",
                "-c",
                "ls /link/; cat /link/* 2>/dev/null; true",
            ]),
            true,
            "",
        ),
        ("a volume below a link", busybox().layer(links.clone()).volume("/up/v").cmd(&["ls", "-d", "/v"]), true, ""),
        ("a volume over everything", busybox().volume("/").volume("/..").cmd(&["echo", "hello"]), true, ""),
        ("a volume over proc", busybox().volume("/proc").cmd(&["true"]), false, "the image wants a volume at /proc"),
        (
            "a volume in proc by a link",
            busybox().layer(Layer::new().symlink("link", "proc/self/..")).volume("/link").cmd(&["true"]),
            false,
            "/link is in /proc, where nothing",
        ),
        ("a signal that is none", busybox().stop_signal("SIGNONE").cmd(&["echo", "hello"]), true, ""),
        ("no command", busybox().cmd(&[]), true, ""),
        ("an empty word", busybox().cmd(&[""]), false, ""),
    ];
    in_parallel(cases, |(name, image, works, said)| {
        let (peers, registry) = (Peers::new(), registry(image).start());
        let tag = registry.reference("a/b:tag");
        let pulled = peers.ours(&["pull", "-q", &tag]);
        let output =
            if pulled.status.success() { peers.ours(&["run", "--rm", "--network", "none", &tag]) } else { pulled };
        let all = format!("{}{}", stdout(&output), stderr(&output));
        eprintln!("{name}: {} {all:.300}", output.status);
        assert_eq!(output.status.success(), *works, "{name}: {all:.400}");
        assert!(all.contains(said), "{name}: {said:?} is not in {all:.400}");
        assert!(!all.contains("panicked") && !all.contains("the host's") && all.len() < 4000, "{name}: {all:.400}");
        assert!(!all.contains("secret"), "{name}: {all:.400}");
        let listed: Vec<_> = std::fs::read_dir(&outside.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(listed, ["secret"], "{name}");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "the host's\n", "{name}");
    });
}

/// Tricks of tars, through a pulled layer and a container of it. That each is done right by the reader is tested in
/// crates/image; here it is that they hold to the end.
#[test]
fn layers_that_reach_out() {
    if !has("layers_that_reach_out", &[]) {
        return;
    }
    let outside = Scratch::new("outside");
    let secret = outside.file("secret", "the host's\n", 0o644);
    let climbing = format!("{}{}", "../".repeat(20), &secret[1..]);
    let entry = |path: &str, kind: Kind| Layer::new().entry(Entry::new(path, kind));
    let file = || Kind::File(b"changed\n".to_vec());
    let cases: &[(&str, Vec<Layer>, Result<&str, &str>)] = &[
        ("..", vec![entry(&climbing, file())], Err("cannot be unpacked")),
        ("absolute", vec![entry(&secret, file())], Ok("")),
        ("through a symlink", vec![Layer::new().symlink("d", &outside.path("")), entry("d/secret", file())], Ok("")),
        (
            "through a symlink, in one layer",
            vec![Layer::new().symlink("d", &outside.path("")).entry(Entry::new("d/secret", file()))],
            Err("cannot find the directory of entry \"d/secret\""),
        ),
        ("a hard link outside", vec![Layer::new().hardlink("h", &climbing)], Err("cannot be unpacked")),
        ("a hard link, absolute", vec![Layer::new().hardlink("h", &secret)], Err("cannot be unpacked")),
        (
            "setuid through a symlink",
            vec![Layer::new().symlink("s", &secret).entry(Entry::new("s", Kind::File(b"mine".to_vec())).mode(0o4755))],
            Ok(""),
        ),
        ("setuid by a hard link to a symlink", vec![Layer::new().symlink("s", &secret).hardlink("t", "s")], Ok("")),
        ("a device", vec![entry("sda", Kind::Block(8, 0)), entry("kmem", Kind::Char(1, 2))], Ok("")),
        ("whiteouts of the outside", vec![Layer::new().whiteout("../../secret")], Err("cannot be unpacked")),
        ("a whiteout of `..`", vec![Layer::new().file(".wh...", "", 0o644)], Err("cannot be unpacked")),
        ("a whiteout of `.`", vec![Layer::new().file(".wh..", "", 0o644)], Err("cannot be unpacked")),
        ("a whiteout of nothing", vec![Layer::new().file(".wh.", "", 0o644)], Err("cannot be unpacked")),
        (
            "symlinks, 128 deep",
            vec![
                (0..128)
                    .fold(Layer::new(), |layer, n| layer.symlink(&format!("l{n}"), &format!("l{}", n + 1)))
                    .file("l128", "deep", 0o644),
            ],
            Ok(""),
        ),
        ("directories, 2000 deep", vec![Layer::new().file(&format!("{}x", "d/".repeat(1000)), "", 0o644)], Ok("")),
        ("one name twice", vec![Layer::new().file("x", "1", 0o644).dir("x", 0o755).symlink("x", &secret)], Ok("")),
        ("the root as a file", vec![entry("./", Kind::Symlink("/etc".into()))], Err("cannot be unpacked")),
    ];
    in_parallel(cases, |(name, layers, expected)| {
        let image = layers.iter().fold(TestImage::busybox(), |image, layer| image.layer(layer.clone()));
        let (peers, registry) = (Peers::new(), registry(&image).start());
        let tag = registry.reference("a/b:tag");
        let pulled = peers.ours(&["pull", "-q", &tag]);
        let said = stderr(&pulled);
        eprintln!("{name}: {} {said}", pulled.status);
        match expected {
            Err(why) => assert!(!pulled.status.success() && said.contains(why), "{name}: {said}"),
            Ok(_) => {
                assert!(pulled.status.success(), "{name}: {said}");
                let script = "cat /d/secret /h /sda /x /l0 2>&1; head -c1 /kmem 2>&1; echo more >/d/secret; chmod 4755 /s; echo ran";
                let ran = peers.ours(&["run", "--rm", "--network", "none", &tag, "sh", "-c", script]);
                let all = format!("{}{}", stdout(&ran), stderr(&ran));
                assert!(all.contains("ran\n") && !all.contains("the host's"), "{name}: {all}");
            }
        }
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "the host's\n", "{name}");
        assert_eq!(
            std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&secret).unwrap()) & 0o7777,
            0o644,
            "{name}"
        );
    });
}

/// Whoever damages a store by hand is told, or it is repaired: never is something run that is wrong.
#[test]
fn a_store_that_was_damaged_by_hand() {
    if !has("a_store_that_was_damaged_by_hand", &[]) {
        return;
    }
    let image = image().layer(Layer::new().whiteout("etc/group").file("top", "the top\n", 0o644));
    let (layer, config, manifest) = (image.layer_digests()[1].clone(), image.id(), image.digest());
    let blob = |digest: &str| format!("blobs/sha256/{}", &digest[7..]);
    let tree = |n: usize| format!("layers/{}.erofs", &image.diff_ids()[n][7..]);
    let merged = |peers: &Peers| format!("merged/{}", judge::names(peers, "merged")[0]);
    type Damage<'a> = Box<dyn Fn(&Peers) + 'a>;
    type Case<'a> = (&'a str, Vec<Damage<'a>>, Result<(), &'a str>, bool);
    let at = |peers: &Peers, name: &str| judge::store(peers).join(name);
    let flip = |name: String| -> Damage<'_> {
        Box::new(move |peers| {
            let mut bytes = std::fs::read(at(peers, &name)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(at(peers, &name), bytes).unwrap();
        })
    };
    let cut = |name: String, to: u64| -> Damage<'_> {
        Box::new(move |peers| std::fs::File::options().write(true).open(at(peers, &name)).unwrap().set_len(to).unwrap())
    };
    let remove =
        |name: String| -> Damage<'_> { Box::new(move |peers| std::fs::remove_file(at(peers, &name)).unwrap()) };
    let write = |name: &'static str, text: &'static str| -> Damage<'_> {
        Box::new(move |peers| std::fs::write(at(peers, name), text).unwrap())
    };
    // What is damaged; whether it runs all the same, or what is said; whether a pull mends it.
    let cases: Vec<Case<'_>> = vec![
        ("a tree is cut", vec![cut(tree(1), 8192)], Ok(()), true),
        ("a tree is empty", vec![cut(tree(0), 0)], Ok(()), true),
        ("a tree is gone", vec![remove(tree(2))], Ok(()), true),
        ("the merged tree is cut", vec![Box::new(|p| cut(merged(p), 4096)(p))], Ok(()), true),
        ("the merged tree is gone", vec![Box::new(|p| remove(merged(p))(p))], Ok(()), true),
        ("a layer is flipped, its tree is there", vec![flip(blob(&layer))], Ok(()), true),
        ("a layer is gone, its tree is there", vec![remove(blob(&layer))], Ok(()), true),
        ("a layer is flipped and its tree gone", vec![flip(blob(&layer)), remove(tree(1))], Err("is damaged"), true),
        (
            "a layer is cut and its tree gone",
            vec![cut(blob(&layer), 99), remove(tree(1))],
            Err("is not in the store"),
            true,
        ),
        (
            "a layer and its tree are gone",
            vec![remove(blob(&layer)), remove(tree(1))],
            Err("is not in the store"),
            true,
        ),
        ("the configuration is flipped", vec![flip(blob(&config))], Err("is damaged"), true),
        ("the configuration is gone", vec![remove(blob(&config))], Err("cannot read"), true),
        ("the manifest is flipped", vec![flip(blob(&manifest))], Err("is damaged"), true),
        ("the manifest is cut", vec![cut(blob(&manifest), 5)], Err("is damaged"), true),
        ("the manifest is gone", vec![remove(blob(&manifest))], Err("cannot read"), true),
        ("index.json is gone", vec![remove("index.json".into())], Err("there is no image"), true),
        ("index.json is empty", vec![write("index.json", "")], Err("cannot understand"), false),
        ("index.json is no JSON", vec![write("index.json", "{\"manifests\": [")], Err("cannot understand"), false),
        (
            "index.json names nonsense",
            vec![write(
                "index.json",
                r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:../../../etc/passwd","size":1}]}"#,
            )],
            Err("cannot understand"),
            false,
        ),
        (
            "index.json names what is not there",
            vec![write(
                "index.json",
                r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1,"annotations":{"org.opencontainers.image.ref.name":"x"}}]}"#,
            )],
            Err("there is no image"),
            true,
        ),
        ("oci-layout is gone", vec![remove("oci-layout".into())], Ok(()), true),
        (
            "a blob is a directory",
            vec![
                remove(blob(&layer)),
                remove(tree(1)),
                Box::new(|p| std::fs::create_dir(at(p, &blob(&layer))).unwrap()),
            ],
            Err("sha256:"),
            false,
        ),
    ];
    let registry = registry(&image).start();
    let tag = registry.reference("a/b:tag");
    let script = "wc -c </noise; sha256sum </noise; cat /top; ls -d /etc/group 2>/dev/null; true";
    let right = {
        let peers = Peers::new();
        peers.ours_ok(&["pull", "-q", &tag]);
        peers.ours_run(&[&tag, "sh", "-c", script])
    };
    assert_eq!(right.lines().count(), 3);
    for (name, damages, expected, mends) in cases {
        let peers = Peers::new();
        peers.ours_ok(&["pull", "-q", &tag]);
        damages.iter().for_each(|damage| damage(&peers));
        let ran = peers.ours(&["run", "--rm", "--network", "none", "--pull", "never", &tag, "sh", "-c", script]);
        let said = stderr(&ran);
        eprintln!("{name}: {} {}", ran.status, said.trim_end());
        match expected {
            Ok(()) => assert_eq!((stdout(&ran), said), (right.clone(), String::new()), "{name}"),
            Err(why) => {
                assert!(
                    ran.status.code() == Some(125) && stdout(&ran).is_empty() && said.contains(why),
                    "{name}: {said}"
                );
                assert!(said.contains("hint: ") || said.contains("pull the image again"), "{name}: {said}");
            }
        }
        // None of them is in the way of looking and removing.
        for words in [&["images"][..], &["system", "df"], &["image", "prune", "-f"]] {
            let output = peers.ours(words);
            assert!(!stderr(&output).contains("panicked"), "{name}: {words:?}");
        }
        let pulled = peers.ours(&["pull", "-q", &tag]);
        assert_eq!(pulled.status.success(), mends, "{name}: {}", stderr(&pulled));
        if mends {
            assert_eq!(peers.ours_run(&["--pull", "never", &tag, "sh", "-c", script]), right, "{name}");
            peers.ours_ok(&["rmi", &tag]);
        }
    }
    // An image that cannot be read can be removed.
    let peers = Peers::new();
    peers.ours_ok(&["pull", "-q", &tag]);
    flip(blob(&manifest))(&peers);
    assert!(peers.ours_ok(&["rmi", &tag]).contains(&tag));
    assert_eq!(judge::content(&peers), Vec::<String>::new());
}

/// Who says that another image's layer is its own has to have it.
#[test]
fn a_layer_that_is_claimed() {
    if !has("a_layer_that_is_claimed", &[]) {
        return;
    }
    let secret = image().layer(Layer::new().file("secret", "the other's\n", 0o600));
    let stolen = secret.diff_ids()[2].clone();
    let thief = TestImage::busybox().layer(Layer::new().file("mine", "mine\n", 0o644));
    let honest = registry(&thief).start();
    let thief = registry(&thief.edit_config("/rootfs/diff_ids/1", json!(stolen))).start();
    let owner = registry(&secret).start();
    // Whether the thief's blob has to be fetched, or is there as another image's.
    for has_blob in [false, true] {
        let peers = Peers::new();
        peers.ours_ok(&["pull", "-q", &owner.reference("a/b:tag")]);
        if has_blob {
            peers.ours_ok(&["pull", "-q", &honest.reference("a/b:tag")]);
        }
        let pulled = peers.ours(&["pull", "-q", &thief.reference("a/b:tag")]);
        assert!(stderr(&pulled).contains("another one than the configuration says"), "{}", stderr(&pulled));
        assert!(!pulled.status.success());
        // What is right is found to be right once, and then known.
        peers.ours_ok(&["pull", "-q", &owner.reference("a/b:tag")]);
    }
}
