//! `kill -9` at random instants of `pull`, `load`, `rmi` and `prune`: what the store holds is right at any time, nothing
//! that is half done is used, and the next command clears it away. Then everything at once: pulls of the same images,
//! removals and runs.
//!
//! What is right says [`Judge`]. The instants come from a seed that is printed; `MYCONTAINER_KILLS=N` kills more often
//! than 200 times, `MYCONTAINER_SEED=N` does it again as it was.

use crate::common::{stderr, stdout, wait_until};
use crate::fixtures::content::Content;
use crate::fixtures::faults::{Act, On};
use crate::fixtures::faulty_registry::FaultyRegistry;
use crate::fixtures::http::Delivery;
use crate::fixtures::image::{Compression, Layer, TestImage};
use crate::fixtures::judge::{self, Judge};
use crate::fixtures::peers::Peers;
use crate::fixtures::{formats, has};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A generator of numbers, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

/// Three images that share layers, in a registry that is slow enough to be killed at, and in an archive.
struct Ground {
    registry: FaultyRegistry,
    images: Vec<TestImage>,
    judge: Judge,
    archive: PathBuf,
    _reference: Peers,
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut chance = Chance(seed);
    (0..length).map(|_| chance.below(251) as u8).collect()
}

const TAGS: [&str; 3] = ["a/b:1", "a/b:2", "c:1"];

impl Ground {
    fn new() -> Ground {
        let shared = TestImage::busybox().layer(Layer::new().file("shared", noise(200_000, 1), 0o644));
        let images = vec![
            shared.clone().layer(Layer::new().file("one", noise(100_000, 2), 0o644)),
            shared.compression(Compression::Zstd).layer(Layer::new().whiteout("shared").file(
                "two",
                noise(300_000, 3),
                0o644,
            )),
            TestImage::busybox(),
        ];
        let all = images.iter().zip(TAGS).fold(FaultyRegistry::new(), |all, (image, tag)| all.image(tag, image));
        let registry = all.fault(On::blobs(), Act::Deliver(Delivery::Drip(20_000, 3))).start();
        let reference = Peers::new();
        let archive = reference.path("archive.tar");
        let named: Vec<(String, Content)> =
            images.iter().zip(TAGS).map(|(image, tag)| (registry.reference(tag), image.content())).collect();
        let named: Vec<(&str, Content)> = named.iter().map(|(name, image)| (name.as_str(), image.clone())).collect();
        formats::write_oci_archive_of(&archive, &named);
        reference.ours_ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
        let mut judge = Judge::of(&images.iter().map(TestImage::content).collect::<Vec<_>>());
        judge.learn(&reference);
        assert_eq!(judge.complaints(&reference), Vec::<String>::new());
        Ground { registry, images, judge, archive, _reference: reference }
    }

    fn name(&self, n: usize) -> String {
        self.registry.reference(TAGS[n])
    }

    /// What a container of each image says of itself.
    fn assert_runs(&self, peers: &Peers, n: usize, pull: &str) {
        let script = "cat /shared /one /two 2>/dev/null | wc -c";
        let length = peers.ours_run(&["-q", "--pull", pull, &self.name(n), "sh", "-c", script]);
        assert_eq!(length, ["300000\n", "300000\n", "0\n"][n], "{}", TAGS[n]);
    }

    #[track_caller]
    fn assert_right(&self, peers: &Peers, when: &str) {
        let complaints = self.judge.complaints(peers);
        assert!(complaints.is_empty(), "{when}: {complaints:#?}\n{:#?}", judge::content(peers));
    }
}

fn start(peers: &Peers, words: &[&str]) -> Child {
    let mut command = peers.ours_command(words);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether the child has become the tool.
fn is_tool(child: &Child) -> bool {
    std::fs::read_to_string(format!("/proc/{}/comm", child.id())).is_ok_and(|name| name.starts_with("mycontainer"))
}

#[test]
fn killed_at_any_instant_the_store_is_right() {
    if !has("killed_at_any_instant_the_store_is_right", &["fsck.erofs", "skopeo"]) {
        return;
    }
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (seed, rounds) = (number("MYCONTAINER_SEED", time % 1_000_000 + 1), number("MYCONTAINER_KILLS", 200));
    eprintln!("MYCONTAINER_SEED={seed}");
    let ground = Ground::new();
    let (killed, resumed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (ground, killed, resumed) = (&ground, &killed, &resumed);
            scope.spawn(move || {
                let mut chance = Chance(seed * 2 + worker + 1);
                let peers = Peers::new();
                (0..rounds / 2).for_each(|round| round_of(ground, &peers, &mut chance, round, killed, resumed));
            });
        }
    });
    let ranges = ground.registry.requests().iter().filter(|request| request.range().is_some()).count();
    eprintln!(
        "{killed:?} of {rounds} were killed at work; {resumed:?} left something begun, {ranges} requests were for the rest"
    );
    assert!(killed.into_inner() as u64 > rounds / 3, "the kills came too late or too soon");
}

fn round_of(
    ground: &Ground,
    peers: &Peers,
    chance: &mut Chance,
    round: u64,
    killed: &AtomicUsize,
    resumed: &AtomicUsize,
) {
    let n = chance.below(3) as usize;
    let (name, archive) = (ground.name(n), ground.archive.to_str().unwrap());
    let (words, longest): (&[&str], u64) = match chance.below(8) {
        0..=3 => (&["pull", "-q", &name], 110),
        4..=5 => (&["load", "-q", "-i", archive], 70),
        6 => (&["rmi", "-f", &name], 8),
        _ => (&["image", "prune", "-a", "-f"], 8),
    };
    let mut child = start(peers, words);
    assert!(wait_until(10, || is_tool(&child) || child.try_wait().unwrap().is_some()), "{words:?} does not start");
    std::thread::sleep(Duration::from_micros(chance.below(longest * 1000)));
    let ended = child.try_wait().unwrap().is_some();
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    killed.fetch_add(usize::from(!ended), Ordering::Relaxed);
    let when = format!("round {round}, {words:?}, {}: {}", output.status, stderr(&output));
    ground.assert_right(peers, &when);
    resumed.fetch_add(usize::from(!judge::names(peers, "partial").is_empty()), Ordering::Relaxed);

    peers.ours_ok(&["images", "-q"]);
    for dir in ["new", "leases"] {
        assert_eq!(judge::names(peers, dir), Vec::<String>::new(), "{dir} after {when}");
    }
    if round.is_multiple_of(4) {
        peers.ours_ok(&["pull", "-q", &name]);
        ground.assert_runs(peers, n, "never");
        ground.assert_right(peers, &when);
    }
    if round.is_multiple_of(20) {
        let layout = format!("oci:{}:{name}", judge::store(peers).display());
        assert!(peers.ok(&["skopeo", "inspect", "--raw", &layout]).contains("sha256:"), "{when}");
        peers.ours_ok(&["image", "prune", "-a", "-f"]);
        assert_eq!(judge::content(peers), Vec::<String>::new(), "{when}");
    }
}

fn assert_ok(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}\n{}{}", output.status, stdout(output), stderr(output));
}

#[test]
fn eight_at_once_fetch_each_blob_once() {
    if !has("eight_at_once_fetch_each_blob_once", &["fsck.erofs"]) {
        return;
    }
    let ground = Ground::new();
    for same in [true, false] {
        let peers = Peers::new();
        ground.registry.forget();
        let names: Vec<usize> = (0..8).map(|n| if same { 0 } else { n % 3 }).collect();
        let pulls: Vec<Child> = names.iter().map(|n| start(&peers, &["pull", "-q", &ground.name(*n)])).collect();
        pulls.into_iter().for_each(|pull| assert_ok("pull", &pull.wait_with_output().unwrap()));
        ground.assert_right(&peers, "after eight pulls");
        for layer in ground.images.iter().flat_map(TestImage::layer_digests) {
            assert!(ground.registry.asked("GET", &layer).len() <= 1, "{layer} was fetched more than once");
        }
        names.iter().take(3).for_each(|n| ground.assert_runs(&peers, *n, "never"));
        let left: Vec<_> = judge::content(&peers)
            .into_iter()
            .filter(|name| !name.contains("sha256") && !name.contains(".erofs"))
            .collect();
        assert_eq!(left, Vec::<String>::new());
    }
}

/// Does something until it is told to stop.
fn again(stop: &AtomicBool, act: &dyn Fn()) {
    while !stop.load(Ordering::Relaxed) {
        act();
    }
}

/// Who pulls while others prune, and remove other images that share its layers, gets what he pulled.
#[test]
fn nothing_that_is_needed_is_removed_meanwhile() {
    if !has("nothing_that_is_needed_is_removed_meanwhile", &["fsck.erofs"]) {
        return;
    }
    let (ground, peers, stop) = (Ground::new(), Peers::new(), AtomicBool::new(false));
    let until = Instant::now() + Duration::from_secs(8);
    let archive = ground.archive.to_str().unwrap().to_owned();
    peers.ours_ok(&["images"]);
    std::thread::scope(|scope| {
        let (ground, peers, stop) = (&ground, &peers, &stop);
        // What it prints of what is gone by then is not of interest; that it fails is.
        scope.spawn(move || again(stop, &|| assert_ok("prune", &peers.ours(&["image", "prune", "-f"]))));
        scope.spawn(move || {
            again(stop, &|| {
                peers.ours(&["pull", "-q", &ground.name(1)]);
                peers.ours(&["rmi", "-f", &ground.name(1)]);
                peers.ours(&["rmi", "-f", &ground.name(2)]);
            });
        });
        scope.spawn(move || again(stop, &|| drop(peers.ours(&["tag", &ground.name(1), "localhost/x:1"]))));
        let mine = scope.spawn(move || {
            let mut count = 0;
            // A few at least, however busy the machine is.
            while Instant::now() < until || count < 4 {
                peers.ours_ok(&["pull", "-q", &ground.name(0)]);
                ground.assert_runs(peers, 0, "never");
                // From its start again.
                peers.ours_ok(&["rmi", &ground.name(0)]);
                count += 1;
            }
            count
        });
        let count = mine.join();
        stop.store(true, Ordering::Relaxed);
        eprintln!("{count:?} pulls");
        assert!(count.is_ok());
    });
    ground.assert_right(&peers, "in the end");
    assert_ok("load", &peers.ours(&["load", "-q", "-i", &archive]));
    (0..3).for_each(|n| ground.assert_runs(&peers, n, "never"));
}

/// A run of an image that is removed and pulled all the time runs, or says in one line why not.
#[test]
fn a_run_while_its_image_goes() {
    if !has("a_run_while_its_image_goes", &["fsck.erofs"]) {
        return;
    }
    let (ground, peers, stop) = (Ground::new(), Peers::new(), AtomicBool::new(false));
    let until = Instant::now() + Duration::from_secs(6);
    std::thread::scope(|scope| {
        let (ground, peers, stop) = (&ground, &peers, &stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peers.ours(&["load", "-q", "-i", ground.archive.to_str().unwrap()]);
                for n in [0, 1] {
                    peers.ours(&["rmi", &ground.name(n)]);
                }
            }
        });
        let runs = scope.spawn(move || {
            let (mut ran, mut not) = (0, 0);
            while Instant::now() < until {
                let script = "cat /shared /one 2>/dev/null | wc -c";
                let output = peers.ours(&[
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "--pull",
                    "never",
                    &ground.name(0),
                    "sh",
                    "-c",
                    script,
                ]);
                let said = stderr(&output);
                if output.status.success() {
                    assert_eq!((stdout(&output).as_str(), said.as_str()), ("300000\n", ""));
                    ran += 1;
                } else {
                    assert_eq!(output.status.code(), Some(125), "{said}");
                    let known = ["there is no image", "is not in the store", "cannot read"];
                    assert!(known.iter().any(|words| said.contains(words)), "{said}");
                    not += 1;
                }
            }
            (ran, not)
        });
        let counts = runs.join();
        stop.store(true, Ordering::Relaxed);
        eprintln!("ran and not: {counts:?}");
        assert!(counts.unwrap().0 > 0);
    });
    ground.assert_right(&peers, "in the end");
    // What is left of all these containers is nothing.
    peers.ours_ok(&["image", "prune", "-a", "-f"]);
    assert_eq!(judge::content(&peers), Vec::<String>::new());
}
