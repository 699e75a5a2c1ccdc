//! Which caches and files are trusted, and that a program is compiled once.
//!
//! Each test works in a directory of its own below the system's temporary one, and removes it.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use seccomp::cache::{Cache, MAX_FILES};
use seccomp::{Arch, Error, Instruction, Program, flag};

const SECTION: &[u8] = br#"{"defaultAction": "SCMP_ACT_ALLOW"}"#;
/// Somebody else. Only root can give files away.
const OTHER: u32 = 4242;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("seccomp-cache-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        chmod(&path, 0o700);
        Scratch(path)
    }

    fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Gives `path` away; `false`, after a line that says so, where that is not ours to do.
fn give_away(path: &Path) -> bool {
    let given = std::os::unix::fs::lchown(path, Some(OTHER), None).is_ok();
    if !given {
        eprintln!("skipped: only root can give {} away", path.display());
    }
    given
}

/// A program of `k`, which tells it from others.
fn sample(k: u32) -> Program {
    let back = Instruction { code: 0x06, jt: 0, jf: 0, k };
    Program { instructions: vec![back; 3], flags: flag::LOG | flag::SPEC_ALLOW }
}

/// What a cache gives for [`SECTION`] if a compiler would give `sample(2)`, and whether it was asked.
fn ask(cache: &Cache) -> (Program, bool) {
    let compiled = Cell::new(false);
    let program = cache.program(SECTION, Arch::X86_64, || {
        compiled.set(true);
        Ok(sample(2))
    });
    (program.unwrap(), compiled.get())
}

/// A cache with `sample(1)` in it for [`SECTION`], and that file.
fn filled(path: &Path) -> (Cache, PathBuf) {
    let cache = Cache::open(path).unwrap();
    cache.program(SECTION, Arch::X86_64, || Ok(sample(1))).unwrap();
    let mut files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().expect("a file");
    assert!(files.next().is_none());
    (cache, file)
}

#[test]
fn a_second_call_does_not_compile() {
    let scratch = Scratch::new("second");
    let (cache, file) = filled(&scratch.cache());
    assert_eq!(ask(&cache), (sample(1), false), "of the same cache, flags included");
    assert_eq!(ask(&Cache::open(&scratch.cache()).unwrap()), (sample(1), false), "of another process");
    assert_eq!(fs::metadata(scratch.cache()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let other = |section: &[u8], native| cache.program(section, native, || Ok(sample(3))).unwrap();
    assert_eq!(other(b"{}", Arch::X86_64), sample(3), "another section");
    assert_eq!(other(SECTION, Arch::X32), sample(3), "another native ABI");
}

#[test]
fn errors_are_not_kept() {
    let scratch = Scratch::new("errors");
    let cache = Cache::open(&scratch.cache()).unwrap();
    let failed = cache.program(SECTION, Arch::X86_64, || Err(Error::EmptyName));
    assert!(matches!(failed, Err(Error::EmptyName)));
    assert_eq!(ask(&cache), (sample(2), true));
}

#[test]
fn a_directory_that_others_can_change_is_not_opened() {
    type Spoil = fn(&Path, &Path) -> bool;
    let cases: [(&str, Spoil, bool); 11] = [
        ("there", |_, cache| fs::create_dir(cache).is_ok(), true),
        ("missing", |_, _| true, true),
        ("read by all", |_, cache| fs::create_dir(cache).is_ok_and(|()| (chmod(cache, 0o755), true).1), true),
        ("group-writable", |_, cache| fs::create_dir(cache).is_ok_and(|()| (chmod(cache, 0o770), true).1), false),
        ("world-writable", |_, cache| fs::create_dir(cache).is_ok_and(|()| (chmod(cache, 0o1707), true).1), false),
        ("of another user", |_, cache| fs::create_dir(cache).is_ok_and(|()| give_away(cache)), false),
        ("a file", |_, cache| fs::write(cache, "").is_ok(), false),
        (
            "a link",
            |parent, cache| {
                let real = parent.join("real");
                fs::create_dir(&real).is_ok_and(|()| symlink(real, cache).is_ok())
            },
            false,
        ),
        ("its parent world-writable", |parent, _| (chmod(parent, 0o707), true).1, false),
        ("its parent world-writable, sticky", |parent, _| (chmod(parent, 0o1777), true).1, true),
        ("its parent of another user", |parent, _| give_away(parent), false),
    ];
    for (at, (what, spoil, trusted)) in cases.into_iter().enumerate() {
        let scratch = Scratch::new(&format!("directory{at}"));
        if spoil(&scratch.0, &scratch.cache()) {
            assert_eq!(Cache::open(&scratch.cache()).is_some(), trusted, "{what}");
        }
    }
    assert!(Cache::open(Path::new("/")).is_none() && Cache::open(Path::new("/no/such/parent")).is_none());
}

#[test]
fn a_file_that_others_can_change_is_compiled_anew() {
    type Spoil = fn(&Path) -> bool;
    let cases: [(&str, Spoil); 6] = [
        ("of another user", give_away),
        ("group-writable", |file| (chmod(file, 0o620), true).1),
        ("world-writable", |file| (chmod(file, 0o602), true).1),
        ("a link", |file| {
            let elsewhere = file.parent().unwrap().join("elsewhere");
            fs::rename(file, &elsewhere).is_ok() && symlink(elsewhere, file).is_ok()
        }),
        ("a pipe", |file| {
            fs::remove_file(file).unwrap();
            std::process::Command::new("mkfifo").arg(file).status().is_ok_and(|status| status.success())
        }),
        ("a directory", |file| fs::remove_file(file).is_ok() && fs::create_dir(file).is_ok()),
    ];
    for (at, (what, spoil)) in cases.into_iter().enumerate() {
        let scratch = Scratch::new(&format!("file{at}"));
        let (cache, file) = filled(&scratch.cache());
        if spoil(&file) {
            assert_eq!(ask(&cache), (sample(2), true), "{what}");
            let again = (sample(2), what == "a directory");
            assert_eq!(ask(&cache), again, "{what}: replaced, unless it stands in the way");
            let left = fs::read_dir(scratch.cache()).unwrap().count();
            assert_eq!(left, if what == "a link" { 2 } else { 1 }, "{what}: no temporary file stays");
        }
    }
}

#[test]
fn a_torn_or_damaged_file_is_compiled_anew() {
    let scratch = Scratch::new("damaged");
    let (cache, file) = filled(&scratch.cache());
    let good = fs::read(&file).unwrap();
    let attempt = |what: String, bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        assert_eq!(ask(&cache), (sample(2), true), "{what}");
    };
    for length in 0..good.len() {
        attempt(format!("{length} bytes"), &good[..length]);
    }
    for bit in 0..good.len() * 8 {
        let mut damaged = good.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        attempt(format!("bit {bit}"), &damaged);
    }
    attempt("8 bytes more".into(), &[&good[..], &[0; 8]].concat());
    attempt("zeroes".into(), &vec![0; good.len()]);
    attempt("too long".into(), &vec![0; 1 << 20]);
    fs::write(&file, &good).unwrap();
    assert_eq!(ask(&cache), (sample(1), false), "whole again");
}

#[test]
fn a_file_under_another_name_is_compiled_anew() {
    let scratch = Scratch::new("renamed");
    let (cache, file) = filled(&scratch.cache());
    cache.program(b"{}", Arch::X86_64, || Ok(sample(3))).unwrap();
    let other = fs::read_dir(scratch.cache()).unwrap().map(|entry| entry.unwrap().path()).find(|path| *path != file);
    fs::rename(other.unwrap(), &file).unwrap();
    assert_eq!(ask(&cache), (sample(2), true));
}

#[test]
fn the_oldest_files_go_first_and_what_a_killed_writer_left() {
    let scratch = Scratch::new("bounded");
    let (cache, file) = filled(&scratch.cache());
    fs::write(scratch.cache().join("0123.1.1"), "torn").unwrap();
    for number in 0..MAX_FILES as u32 + 6 {
        let section = number.to_string();
        cache.program(section.as_bytes(), Arch::X86_64, || Ok(sample(number))).unwrap();
        assert!(fs::read_dir(scratch.cache()).unwrap().count() <= MAX_FILES);
        // Not all in the same tick of the file system's clock.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(fs::read_dir(scratch.cache()).unwrap().count(), MAX_FILES);
    assert!(!file.exists() && !scratch.cache().join("0123.1.1").exists());
    let newest = (MAX_FILES + 5).to_string();
    let kept = cache.program(newest.as_bytes(), Arch::X86_64, || panic!("the newest is kept"));
    assert_eq!(kept.unwrap(), sample(MAX_FILES as u32 + 5));
}

#[test]
fn many_at_once_all_get_the_program() {
    let scratch = Scratch::new("many");
    let path = scratch.cache();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let cache = Cache::open(&path).unwrap();
                for _ in 0..20 {
                    assert_eq!(ask(&cache).0, sample(2));
                }
            });
        }
    });
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}
