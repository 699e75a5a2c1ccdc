//! Images as mounts: from their files and through loop devices, below overlayfs, and nothing left behind.

use crate::erofs::{layer, merged};
use crate::support::*;
use image::{Through, mount_erofs};
use rustix::mount::*;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn layers(scratch: &Scratch, count: usize) -> (Vec<File>, File) {
    let layers: Vec<_> = (0..count)
        .map(|n| layer(scratch, &format!("l{n}"), &Tar::new().file(n.to_string(), b"content").end()).unwrap().0)
        .collect();
    let top = merged(scratch, "merged", &layers.iter().collect::<Vec<_>>());
    (layers, top)
}

fn fds(files: &[File]) -> Vec<BorrowedFd<'_>> {
    files.iter().map(AsFd::as_fd).collect()
}

fn path(mount: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), mount.as_raw_fd()))
}

/// Loop devices that show a file below `scratch`.
fn loops(scratch: &Scratch) -> usize {
    let shows = |entry: std::io::Result<std::fs::DirEntry>| {
        let file = std::fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).unwrap_or_default();
        file.starts_with(scratch.0.to_str().unwrap())
    };
    std::fs::read_dir("/sys/block").unwrap().map(shows).filter(|shown| *shown).count()
}

fn mount_table() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// The ways that this kernel has: from files since Linux 6.12.
fn ways(scratch: &Scratch) -> Vec<Through> {
    let (layers, top) = layers(scratch, 1);
    match mount_erofs(top.as_fd(), &fds(&layers), Through::Files) {
        Err(error) if error.source == rustix::io::Errno::NOTBLK => vec![Through::Loops],
        _ => vec![Through::Files, Through::Loops],
    }
}

#[test]
fn from_files_and_through_loop_devices() {
    let scratch = Scratch::new();
    let ways = ways(&Scratch::new());
    let (layers, top) = layers(&scratch, 3);
    let before = mount_table();
    let from_files = ways.contains(&Through::Files);
    for through in ways.into_iter().chain([Through::Either]) {
        let mount = mount_erofs(top.as_fd(), &fds(&layers), through).unwrap();
        for n in 0..3 {
            assert_eq!(std::fs::read(path(&mount).join(n.to_string())).unwrap(), b"content");
        }
        assert!(std::fs::write(path(&mount).join("new"), b"").is_err(), "it is read-only");
        let by_loops = through == Through::Loops || !from_files;
        assert_eq!(loops(&scratch) > 0, by_loops, "{through:?}");
        assert_eq!(mount_table(), before);
    }
    // The last descriptor is closed: the kernel takes the devices away, if not at once.
    let start = Instant::now();
    while loops(&scratch) > 0 {
        assert!(start.elapsed().as_secs() < 10, "loop devices stay");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn what_cannot_be_mounted() {
    let scratch = Scratch::new();
    let (layers, top) = layers(&scratch, 2);
    let no_image = crate::erofs::image_file(&scratch.0.join("none"));
    no_image.set_len(1 << 20).unwrap();
    let table: [(&str, &File, &[File], &str); 3] = [
        ("no image", &no_image, &[], "cannot read the image: Invalid argument"),
        ("too few layers", &top, &layers[..1], "cannot read the image: Invalid argument"),
        ("too many layers", &layers[0], &layers, "cannot read the image: Invalid argument"),
    ];
    for (what, image, devices, words) in table {
        for through in ways(&Scratch::new()) {
            let error = mount_erofs(image.as_fd(), &fds(devices), through).unwrap_err().to_string();
            assert!(error.contains(words), "{what}: {error}");
        }
    }
}

/// An overlay of one directory under a new one, as the engine makes it.
fn overlay(lower: &OwnedFd, upper: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "lowerdir", format!("/proc/self/fd/{}", lower.as_raw_fd()))?;
    fsconfig_set_string(&fs, "upperdir", upper.join("upper"))?;
    fsconfig_set_string(&fs, "workdir", upper.join("work"))?;
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

#[test]
fn below_overlayfs() {
    let scratch = Scratch::new();
    let (layers, top) = layers(&scratch, 2);
    std::fs::create_dir(scratch.0.join("upper")).unwrap();
    std::fs::create_dir(scratch.0.join("work")).unwrap();
    let before = mount_table();
    let works = |overlay: OwnedFd| {
        let path = path(&overlay);
        assert_eq!(std::fs::read(path.join("1")).unwrap(), b"content");
        std::fs::write(path.join("1"), b"changed").unwrap();
        std::fs::remove_file(path.join("0")).unwrap();
        assert_eq!(picture(&path).len(), 2);
        assert_eq!(std::fs::read(scratch.0.join("upper/1")).unwrap(), b"changed");
        std::fs::remove_file(scratch.0.join("upper/0")).unwrap();
        std::fs::remove_file(scratch.0.join("upper/1")).unwrap();
    };
    let mount = || mount_erofs(top.as_fd(), &fds(&layers), Through::Either).unwrap();
    // Kernels before 6.15 take no detached mount.
    let detached = mount();
    match overlay(&detached, &scratch.0) {
        Ok(overlay) => works(overlay),
        Err(error) => eprintln!("no overlay over a detached mount here: {error}"),
    }
    // One that is attached every kernel takes, and the overlay outlives its end.
    let place = scratch.0.join("place");
    std::fs::create_dir(&place).unwrap();
    let to_place = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&detached, "", rustix::fs::CWD, &place, to_place).unwrap();
    let inside = overlay(&detached, &scratch.0).unwrap();
    unmount(&place, UnmountFlags::DETACH).unwrap();
    drop(detached);
    works(inside);
    assert_eq!(mount_table(), before);
}

/// `cargo test --release -- --ignored --nocapture how_long`: medians, in microseconds.
#[test]
#[ignore = "a measurement"]
fn how_long_a_mount_takes() {
    for count in [1, 60, 127] {
        let scratch = Scratch::new();
        let (layers, top) = layers(&scratch, count);
        for through in [Through::Files, Through::Loops] {
            let rounds = if through == Through::Files { 200 } else { 10 };
            let median = |mut times: Vec<u128>| {
                times.sort();
                times[times.len() / 2]
            };
            let (mut makes, mut drops) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let start = Instant::now();
                let mount = mount_erofs(top.as_fd(), &fds(&layers), through).unwrap();
                makes.push(start.elapsed().as_micros());
                let start = Instant::now();
                drop(mount);
                drops.push(start.elapsed().as_micros());
            }
            println!("{count} layers, {through:?}: mount {} µs, close {} µs", median(makes), median(drops));
        }
    }
}
