//! Removing trees whose content is hostile.

use crate::support::*;
use image::remove_tree;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn remove(scratch: &Scratch, name: &str) -> Result<(), String> {
    let parent = File::open(&scratch.0).unwrap();
    remove_tree(parent.as_fd(), OsStr::new(name)).map_err(|error| error.to_string())
}

#[test]
fn everything_goes_and_links_are_not_followed() {
    let scratch = Scratch::new();
    shell(
        &scratch.0,
        "mkdir -p keep tree/a/b/c tree/closed/d 'tree/.removing-0'; echo alive > keep/canary
        ln -s ../keep tree/link; ln -s / tree/root; ln keep/canary tree/hard; mkfifo tree/pipe; mknod tree/null c 1 3
        touch tree/closed/d/file \"$(printf 'tree/\\377\\n')\"; chmod 0 tree/closed tree/a/b",
    );
    remove(&scratch, "tree").unwrap();
    assert!(!scratch.0.join("tree").exists());
    assert_eq!(std::fs::read(scratch.0.join("keep/canary")).unwrap(), b"alive\n");
    remove(&scratch, "tree").unwrap();
    std::os::unix::fs::symlink("keep", scratch.0.join("link")).unwrap();
    remove(&scratch, "link").unwrap();
    assert!(scratch.0.join("keep").is_dir() && !scratch.0.join("link").is_symlink());
    std::fs::write(scratch.0.join("file"), b"").unwrap();
    remove(&scratch, "file").unwrap();
    for bad in ["", ".", "..", "keep/canary", "/", "a\0b"] {
        assert!(remove(&scratch, bad).is_err(), "{bad:?}");
    }
    assert!(scratch.0.join("keep/canary").exists());
}

#[test]
fn trees_deeper_than_there_are_descriptors_and_longer_than_a_path() {
    let scratch = Scratch::new();
    let mut here = rustix::fs::open(&scratch.0, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let mode = rustix::fs::Mode::RWXU;
    for level in 0..5000 {
        // Names that the flattening uses are in the way.
        let name = if level % 2 == 0 { "d".repeat(100) } else { format!(".removing-{}", level / 2) };
        let name = if level == 0 { "tree".into() } else { name };
        rustix::fs::mkdirat(&here, &name, mode).unwrap();
        if level % 100 == 1 {
            rustix::fs::mkdirat(&here, "beside", mode).unwrap();
            rustix::fs::mkdirat(&here, "beside/below", mode).unwrap();
        }
        here = rustix::fs::openat(&here, &name, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    }
    drop(here);
    shell(&scratch.0, "mkdir tree/.removing-1 tree/.removing-2");
    remove(&scratch, "tree").unwrap();
    assert!(!scratch.0.join("tree").exists());
}

#[test]
fn directories_larger_than_a_buffer() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.0.join("tree")).unwrap();
    for number in 0..3000 {
        let name = format!("tree/{number}-{}", "n".repeat(60));
        if number % 3 == 0 {
            std::fs::create_dir_all(scratch.0.join(name).join("x")).unwrap();
        } else {
            std::fs::write(scratch.0.join(name), b"").unwrap();
        }
    }
    remove(&scratch, "tree").unwrap();
    assert!(!scratch.0.join("tree").exists());
}

/// In a thread with a mount namespace of its own, which goes with the thread.
pub(crate) fn in_private_mounts(act: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::fork::unshare(sys::fork::Namespaces::MOUNT).unwrap();
            use rustix::mount::{MountPropagationFlags, mount_change};
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            act();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub(crate) fn mount_tmpfs(at: &Path, options: &std::ffi::CStr) {
    rustix::mount::mount("tmpfs", at, "tmpfs", rustix::mount::MountFlags::empty(), options).unwrap();
}

#[test]
fn mounts_are_not_crossed_and_the_rest_goes() {
    let scratch = Scratch::new();
    shell(&scratch.0, "mkdir -p keep tree/a/mnt tree/b tree/c/d; touch tree/a/x tree/b/y keep/canary");
    in_private_mounts(|| {
        // A bind mount of the same file system: device numbers do not tell.
        rustix::mount::mount_bind(scratch.0.join("keep"), scratch.0.join("tree/a/mnt")).unwrap();
        let message = remove(&scratch, "tree").unwrap_err();
        assert!(message.contains("tree/a/mnt"), "{message}");
        assert!(scratch.0.join("keep/canary").exists());
        let left: Vec<_> = picture(&scratch.0.join("tree")).into_keys().collect();
        assert_eq!(left, [Path::new(""), Path::new("a"), Path::new("a/mnt"), Path::new("a/mnt/canary")]);
        rustix::mount::unmount(scratch.0.join("tree/a/mnt"), rustix::mount::UnmountFlags::empty()).unwrap();
        remove(&scratch, "tree").unwrap();
    });
    assert!(!scratch.0.join("tree").exists() && scratch.0.join("keep/canary").exists());
}

/// Without the right to pass closed directories: they are opened for us first. (As root modes stop nothing.)
#[test]
fn closed_directories_are_removed_without_privileges() {
    if let Some(top) = std::env::var_os("IMAGE_TEST_REMOVE") {
        return remove_tree(File::open(top).unwrap().as_fd(), OsStr::new("tree")).unwrap();
    }
    let scratch = Scratch::new();
    shell(
        &scratch.0,
        "mkdir -p top/tree/closed/d top/tree/half; touch top/tree/closed/d/f top/tree/half/f
        mkdir -p top/tree/$(printf 'deep/%.0s' $(seq 150)); chown -R 1234 top; chmod -R 500 top/tree/deep
        chmod 0 top/tree/closed/d top/tree/closed; chmod 500 top/tree/half; chmod 755 .",
    );
    // That user may not reach the place where the tests are built.
    let copy = scratch.0.join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    use std::os::unix::process::CommandExt;
    let mut child = std::process::Command::new(&copy);
    child.args(["removal::closed_directories_are_removed_without_privileges", "--exact"]).current_dir("/");
    let output = child.env("IMAGE_TEST_REMOVE", scratch.0.join("top")).uid(1234).gid(1234).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!scratch.0.join("top/tree").exists());
}

#[test]
fn strange_names_in_errors_are_whole() {
    let scratch = Scratch::new();
    let parent = File::open(&scratch.0).unwrap();
    let error = remove_tree(parent.as_fd(), OsStr::from_bytes(b"a/\n")).unwrap_err();
    assert!(error.to_string().contains("\"a/\\n\""), "{error}");
}
