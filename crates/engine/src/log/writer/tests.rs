//! What stands in the files, whatever happens to them.

use super::*;
use crate::log::testing::Dir;
use std::sync::Mutex;

fn json_file(dir: &Dir, options: &[&str]) -> Writer {
    let mut read = LogOptions::default();
    options.iter().for_each(|option| read.add_option(option).unwrap());
    Writer::open(dir.fd(), &read, "0123456789abcdef", "web", &Attributes::new()).unwrap()
}

/// Stream and text of each record.
fn records(text: &str) -> Vec<(String, String)> {
    let record = |line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let field = |name: &str| record[name].as_str().unwrap().to_owned();
        Time::parse(&field("time")).unwrap();
        (field("stream"), field("log"))
    };
    text.lines().map(record).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(stream, text)| ((*stream).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn lines_of_both_streams() {
    use Stream::{Stderr, Stdout};
    let dir = Dir::new();
    let mut writer = json_file(&dir, &[]);
    for (stream, text) in
        [(Stdout, "one\ntw"), (Stderr, "err"), (Stdout, "o\nthr"), (Stderr, "or\n"), (Stdout, ""), (Stderr, "half")]
    {
        writer.write(stream, text.as_bytes());
    }
    let before = pairs(&[("stdout", "one\n"), ("stdout", "two\n"), ("stderr", "error\n")]);
    assert_eq!(records(&dir.read("log.json")), before);
    writer.finish();
    let ended = [before, pairs(&[("stdout", "thr"), ("stderr", "half")])].concat();
    assert_eq!(records(&dir.read("log.json")), ended);
    assert_eq!(writer.retry_at(), None);
    // Another start: what has had no end gets one.
    drop(writer);
    json_file(&dir, &[]).write(Stdout, b"again\n");
    let again = pairs(&[("stderr", "\n"), ("stdout", "\n"), ("stdout", "again\n")]);
    let all = [ended, again].concat();
    assert_eq!(records(&dir.read("log.json")), all);
    drop(json_file(&dir, &[]));
    assert_eq!(records(&dir.read("log.json")), all);
}

#[test]
fn each_driver_has_its_file() {
    for (driver, names) in [("json-file", vec!["log.json"]), ("k8s-file", vec!["log"]), ("none", vec![])] {
        let dir = Dir::new();
        let mut options = LogOptions::default();
        options.set_driver(driver).unwrap();
        let mut writer = Writer::open(dir.fd(), &options, "id", "name", &Attributes::new()).unwrap();
        writer.write(Stream::Stderr, b"a\nb");
        writer.finish();
        assert_eq!(dir.files().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
    }
}

#[test]
fn large_output_is_rotated_at_records() {
    for (max_file, kept) in [(1, 1), (3, 3)] {
        let dir = Dir::new();
        let mut writer = json_file(&dir, &["max-size=10k", &format!("max-file={max_file}")]);
        let line = |n| format!("line {n} {}\n", "x".repeat(80));
        let output: String = (0..3000).map(line).collect();
        output.as_bytes().chunks(65_536).for_each(|bytes| writer.write(Stream::Stdout, bytes));
        let files = dir.files();
        assert_eq!(files.len(), kept);
        let mut all = Vec::new();
        for (name, text) in files.iter().rev() {
            assert!((9 * 1024..=10 * 1024).contains(&text.len()) || name == "log.json", "{name}: {}", text.len());
            all.extend(records(text).into_iter().map(|(_, text)| text));
        }
        let expected: Vec<String> = (3000 - all.len()..3000).map(line).collect();
        assert_eq!(all, expected, "the last lines, each once, in order");
    }
}

/// How large any file of this process may become, for as long as it lives. One test at a time has such a limit.
struct Limit(Option<u64>);

impl Limit {
    fn set(size: u64) -> Limit {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        const SIGXFSZ: i32 = 25;
        sys::signal::ignore(SIGXFSZ);
        let before = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(size), ..before }).unwrap();
        Limit(before.current)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let now = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: self.0, ..now }).unwrap();
    }
}

static ONE: Mutex<()> = Mutex::new(());
/// Other tests write no files as large as this, and a start does not read this much.
const LIMIT: u64 = 64 << 30;

/// A log that is `room` bytes short of what a file may have.
fn nearly_full(room: u64) -> (Dir, Writer, String) {
    let dir = Dir::new();
    json_file(&dir, &[]).write(Stream::Stdout, b"before\n");
    let before = dir.read("log.json");
    // A hole: it takes no room, and what is looked at is only what comes after it.
    let file = std::fs::OpenOptions::new().append(true).open(dir.path().join("log.json")).unwrap();
    file.set_len(LIMIT - room - 1).unwrap();
    std::io::Write::write_all(&mut &file, b"\n").unwrap();
    let writer = json_file(&dir, &[]);
    (dir, writer, before)
}

/// What was written after the hole.
fn after(dir: &Dir, room: u64) -> String {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(dir.path().join("log.json")).unwrap();
    let length = file.metadata().unwrap().len() - (LIMIT - room);
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, LIMIT - room).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_disk_that_is_full_tears_no_record_and_loses_none_that_can_be_held() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    const ROOM: u64 = 1000;
    let (dir, mut writer, _) = nearly_full(ROOM);
    let lines: Vec<String> = (0..50).map(|n| format!("line {n} {}\n", "x".repeat(n))).collect();
    let limit = Limit::set(LIMIT);
    writer.write(Stream::Stdout, lines.concat().as_bytes());
    let whole = records(&after(&dir, ROOM));
    assert!((5..15).contains(&whole.len()), "{whole:?}");
    assert!(writer.retry_at().is_some_and(|at| at > Instant::now()));
    // Too early, and then in vain.
    writer.write(Stream::Stderr, b"more\n");
    writer.retry();
    assert_eq!(records(&after(&dir, ROOM)), whole);
    drop(limit);
    let early = writer.retry_at().unwrap();
    writer.write(Stream::Stderr, b"");
    assert!(records(&after(&dir, ROOM)) == whole || Instant::now() > early);
    writer.retry();
    assert_eq!(writer.retry_at(), None);
    let mut expected: Vec<(String, String)> = lines.into_iter().map(|line| ("stdout".to_owned(), line)).collect();
    expected.push(("stderr".to_owned(), "more\n".to_owned()));
    assert_eq!(records(&after(&dir, ROOM)), expected);
}

#[test]
fn what_cannot_be_held_is_dropped_by_whole_lines_and_told() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (dir, mut writer, _) = nearly_full(0);
    let line = |n| format!("line {n} {}\n", "x".repeat(100));
    let limit = Limit::set(LIMIT);
    writer.write(Stream::Stderr, b"first\nunended");
    for n in 0..10_000 {
        writer.write(Stream::Stdout, line(n).as_bytes());
    }
    assert!(writer.records.len() < MOST + 1000 && writer.records.capacity() <= 2 * MOST, "{}", writer.records.len());
    assert_eq!(after(&dir, 0), "");
    drop(limit);
    writer.retry();
    assert!(writer.records.is_empty() && after(&dir, 0).ends_with("}\n") && after(&dir, 0).contains(" are lost, "));
    writer.write(Stream::Stdout, b"last\n");
    writer.write(Stream::Stderr, b" line\n");
    let all = records(&after(&dir, 0));
    let kept = all.iter().filter(|(_, text)| text.starts_with("line ")).count();
    let lost: usize = (kept..10_000).map(|n| line(n).len()).sum();
    let told = format!(
        "mycontainer: {lost} bytes of {} lines are lost, for the log could not be written: File too large (os error 27)\n",
        10_000 - kept
    );
    let mut expected = pairs(&[("stderr", "first\n")]);
    expected.extend((0..kept).map(|n| ("stdout".to_owned(), line(n))));
    expected.extend(pairs(&[("stderr", &told), ("stdout", "last\n"), ("stderr", "unended line\n")]));
    assert_eq!(all, expected);
    assert!(kept > 500, "{kept}");
}

#[test]
fn a_line_of_which_a_piece_was_kept_is_ended_and_its_rest_is_dropped() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (dir, mut writer, _) = nearly_full(0);
    let limit = Limit::set(LIMIT);
    let endless = "x".repeat(10_000);
    for _ in 0..100 {
        writer.write(Stream::Stdout, endless.as_bytes());
    }
    assert!(writer.records.len() < MOST + 17_000, "{}", writer.records.len());
    drop(limit);
    writer.retry();
    writer.write(Stream::Stdout, format!("{endless}{endless}\nnext\n").as_bytes());
    writer.finish();
    let all = records(&after(&dir, 0));
    let short: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).filter(|text| text.len() < 1000).collect();
    let [end, told, more, next] = short[..] else { panic!("{short:?}") };
    assert_eq!((end, next), ("\n", "next\n"));
    let count = |text: &str| text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap();
    assert!(told.contains("bytes of 1 lines are lost") && more.contains("more bytes of that line"), "{told}{more}");
    let kept: usize = all.iter().map(|(_, text)| text.len()).filter(|length| *length > 1000).sum();
    assert_eq!(kept + count(told) + count(more), 102 * 10_000 + 1);
}

#[test]
fn memory_is_bounded() {
    let dir = Dir::new();
    let mut writer = json_file(&dir, &[]);
    // What takes most in a record: six bytes for one, and the true bytes beside.
    for bytes in [vec![0u8; 65_536], vec![0xff; 65_536], [b"\xff\n".as_slice(); 32_768].concat()] {
        for _ in 0..20 {
            writer.write(Stream::Stdout, &bytes);
            writer.write(Stream::Stderr, &bytes);
            assert!(
                writer.records.is_empty() && writer.records.capacity() <= 512 * 1024,
                "{}",
                writer.records.capacity()
            );
        }
    }
}

/// Megabytes a second, for lines of 100 bytes: `cargo test --release -p mycontainer-engine --lib log -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_fast_it_is() {
    const SIZE: usize = 1 << 30;
    let line = format!("{}\n", "The quick brown fox jumps over the lazy dog. ".repeat(3).get(..99).unwrap());
    let output = line.repeat(1000);
    for options in [&[][..], &["max-size=50m", "max-file=3"]] {
        let dir = Dir::new();
        let mut writer = json_file(&dir, options);
        let start = Instant::now();
        let mut left = SIZE;
        while left > 0 {
            for bytes in output.as_bytes().chunks(65_536) {
                writer.write(Stream::Stdout, bytes);
                left = left.saturating_sub(bytes.len());
            }
        }
        let took = start.elapsed().as_secs_f64();
        println!("{options:?}: {:.0} MB/s of output", SIZE as f64 / 1e6 / took);
    }
}
