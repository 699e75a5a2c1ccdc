//! What comes out of a log, whatever was done to it.

use super::*;
use crate::log::testing::Dir;
use crate::log::{Attributes, LogOptions, Writer};
use std::fs::File;
use std::time::Instant;

/// What `read` writes to standard output and standard error, and what it notes.
struct Shown {
    out: String,
    err: String,
    notes: Vec<String>,
}

fn shown(dir: &Dir, query: &LogQuery) -> Shown {
    shown_of(dir, false, query)
}

fn shown_of(dir: &Dir, is_k8s: bool, query: &LogQuery) -> Shown {
    let to = Dir::new();
    let open = |name| File::create_new(to.path().join(name)).unwrap();
    let (out, err) = (open("out"), open("err"));
    let mut notes = Vec::new();
    let source = Source { dir: dir.path(), is_k8s, ended: None };
    read(&source, query, [out.as_fd(), err.as_fd()], &mut |note| notes.push(note.to_owned())).unwrap();
    let text = |name| String::from_utf8_lossy(&std::fs::read(to.path().join(name)).unwrap()).into_owned();
    Shown { out: text("out"), err: text("err"), notes }
}

fn writer(dir: &Dir, driver: &str, options: &[&str]) -> Writer {
    let mut read = LogOptions::default();
    read.set_driver(driver).unwrap();
    options.iter().for_each(|option| read.add_option(option).unwrap());
    Writer::open(dir.fd(), &read, "0123456789abcdef", "web", &Attributes::new()).unwrap()
}

fn time(text: &str) -> Option<Time> {
    Some(Time::parse(text).unwrap())
}

/// A record of a minute and a second of that day.
fn record(minute: u32, stream: &str, log: &str) -> String {
    format!(r#"{{"log":"{log}","stream":"{stream}","time":"2026-01-02T03:{minute:02}:05.123456789Z"}}"#) + "\n"
}

#[test]
fn what_was_printed_comes_out_as_it_was() {
    let every: Vec<u8> = (0..=255).collect();
    let long = ["€".repeat(20_000).into_bytes(), b"\n".to_vec()].concat();
    for driver in ["json-file", "k8s-file"] {
        let dir = Dir::new();
        let mut writer = writer(&dir, driver, &[]);
        let out = [b"one\ntwo\n", &every[..], &long, b"no end"].concat();
        let err = [b"\n\nerror\r\n", &every[..], b"\n"].concat();
        for (stream, bytes) in [(Stream::Stdout, &out), (Stream::Stderr, &err)] {
            bytes.chunks(777).for_each(|bytes| writer.write(stream, bytes));
        }
        writer.finish();
        let shown = shown_of(&dir, driver == "k8s-file", &LogQuery::default());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(shown.out == text(&out), "{driver}");
        assert_eq!((shown.err, shown.notes), (text(&err), vec![]), "{driver}");
    }
}

#[test]
fn both_streams_into_one_keep_their_order() {
    let dir = Dir::new();
    let log = [record(1, "stdout", "a\\n"), record(2, "stderr", "b\\n"), record(3, "stdout", "c\\n")].concat();
    dir.write("log.json", log.repeat(10_000));
    dir.write("both", "");
    let both = File::options().append(true).open(dir.path().join("both")).unwrap();
    let source = Source { dir: dir.path(), is_k8s: false, ended: None };
    read(&source, &LogQuery::default(), [both.as_fd(); 2], &mut |note| panic!("{note}")).unwrap();
    assert!(dir.read("both") == "a\nb\nc\n".repeat(10_000));
}

#[test]
fn what_is_asked_for() {
    let dir = Dir::new();
    dir.write("log.json.2", record(1, "stdout", "a\\n") + &record(2, "stderr", "b\\n"));
    dir.write("log.json.1", record(3, "stdout", "c") + &record(3, "stdout", "\\n"));
    dir.write("log.json", record(4, "stdout", "d\\n") + &record(5, "stdout", "e"));
    let at = |minute: u32| format!("2026-01-02T03:{minute:02}:05.123456789Z");
    let all = LogQuery::default();
    let tail = |count| LogQuery { tail: Some(count), ..all.clone() };
    let line = |minute, text: &str| format!("{} {text}", at(minute));
    for (query, out, err) in [
        (all.clone(), "a\nc\nd\ne".to_owned(), "b\n".to_owned()),
        (tail(0), String::new(), String::new()),
        (tail(1), "e".into(), String::new()),
        (tail(2), "d\ne".into(), String::new()),
        (tail(3), "c\nd\ne".into(), String::new()),
        (tail(4), "c\nd\ne".into(), "b\n".into()),
        (tail(5), "a\nc\nd\ne".into(), "b\n".into()),
        (tail(u64::MAX), "a\nc\nd\ne".into(), "b\n".into()),
        (LogQuery { stderr: false, ..tail(4) }, "a\nc\nd\ne".into(), String::new()),
        (LogQuery { stdout: false, ..tail(1) }, String::new(), "b\n".into()),
        (LogQuery { since: time(&at(3)), ..all.clone() }, "c\nd\ne".into(), String::new()),
        (LogQuery { since: time("2026-01-02T03:03:05.123456790Z"), ..all.clone() }, "d\ne".into(), String::new()),
        (LogQuery { until: time(&at(2)), ..all.clone() }, "a\n".into(), "b\n".into()),
        (LogQuery { until: time("2026-01-02T03:02:05Z"), ..all.clone() }, "a\n".into(), String::new()),
        (LogQuery { since: time(&at(2)), until: time(&at(3)), ..all.clone() }, "c\n".into(), "b\n".into()),
        (
            LogQuery { timestamps: true, ..all.clone() },
            [line(1, "a\n"), line(3, "c\n"), line(4, "d\n"), line(5, "e")].concat(),
            line(2, "b\n"),
        ),
    ] {
        let shown = shown(&dir, &query);
        assert_eq!((shown.out, shown.err, shown.notes), (out, err, vec![]), "{query:?}");
    }
}

#[test]
fn tail_finds_the_last_lines_of_many() {
    let dir = Dir::new();
    let line = |n: usize| format!("line {n} {}", "x".repeat(n % 300));
    for file in 0..3 {
        let text: String = (0..5000).map(|n| record(1, "stdout", &(line(file * 5000 + n) + "\\n"))).collect();
        dir.write(["log.json.2", "log.json.1", "log.json"][file], text);
    }
    for count in [1, 100, 4999, 5000, 5001, 14_999, 15_000, 20_000] {
        let shown = shown(&dir, &LogQuery { tail: Some(count as u64), ..LogQuery::default() });
        let expected: String = (15_000usize.saturating_sub(count)..15_000).map(|n| line(n) + "\n").collect();
        assert!(shown.out == expected, "{count}");
    }
}

#[test]
fn a_line_of_many_pieces_is_one_line() {
    for driver in ["json-file", "k8s-file"] {
        let dir = Dir::new();
        let mut writer = writer(&dir, driver, &[]);
        let long = "long".repeat(30_000) + "\n";
        writer.write(Stream::Stdout, format!("first\n{long}last\n").as_bytes());
        let query = LogQuery { tail: Some(2), timestamps: true, ..LogQuery::default() };
        let shown = shown_of(&dir, driver == "k8s-file", &query);
        let lines: Vec<&str> = shown.out.split_inclusive('\n').map(|line| &line[crate::when::FIXED + 1..]).collect();
        assert!(lines == [long.as_str(), "last\n"], "{driver}");
    }
}

#[test]
fn what_is_broken_is_passed_over_and_told() {
    let good = |text| record(1, "stdout", text);
    let (one, two) = ("one record of the log cannot be read", "2 records of the log cannot be read");
    let endless = "x".repeat(2 << 20);
    for (log, out, note) in [
        (String::new(), "", None),
        (good("a\\n"), "a\n", None),
        // A record that a crash has cut, at the end and where it went on.
        (good("a\\n") + "{\"log\":\"b", "a\n", Some(one)),
        (good("a\\n") + "{\"log\":\"b" + &good("c\\n") + &good("d\\n"), "a\nd\n", Some(one)),
        (good("a\\n") + "\0\0\0\0", "a\n", Some(one)),
        ("\n".to_owned() + &good("a\\n") + "\u{fffd}\n", "a\n", Some(two)),
        (good("a\\n") + &endless + "\n" + &good("b\\n"), "a\nb\n", Some(one)),
        (endless.clone(), "", Some(one)),
        (good("a\\n").replace("05.12", "99.12") + &good("b\\n"), "a\nb\n", None),
    ] {
        let dir = Dir::new();
        dir.write("log.json", &log);
        for tail in [None, Some(5)] {
            let shown = shown(&dir, &LogQuery { tail, ..LogQuery::default() });
            let part = &log[..log.len().min(200)];
            // From the end what is broken at the beginning is not seen.
            assert_eq!(shown.out, out, "{part}");
            let notes: Vec<&str> = shown.notes.iter().map(String::as_str).collect();
            assert!(
                notes.len() == usize::from(note.is_some())
                    && notes.first().is_none_or(|n| n.starts_with(note.unwrap())),
                "{notes:?} {part}"
            );
        }
    }
    // A time that is none matters to who asks for it.
    let dir = Dir::new();
    dir.write("log.json", good("a\\n").replace("05.12", "99.12") + &good("b\\n"));
    let shown = shown(&dir, &LogQuery { timestamps: true, ..LogQuery::default() });
    assert_eq!((shown.out.as_str(), shown.notes.len()), ("2026-01-02T03:01:05.123456789Z b\n", 1));
}

#[test]
fn where_there_is_no_log() {
    let dir = Dir::new();
    assert_eq!(shown(&dir, &LogQuery { follow: true, ..LogQuery::default() }).out, "");
    assert_eq!(shown(&dir, &LogQuery { tail: Some(1), ..LogQuery::default() }).out, "");
    std::fs::remove_dir(dir.path()).unwrap();
    assert_eq!(shown(&dir, &LogQuery::default()).out, "");
}

/// A log that is followed by another thread, into a file.
struct Followed<'a> {
    dir: &'a Dir,
    to: Dir,
    /// While it is there the writer lives.
    alive: Option<OwnedFd>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl<'a> Followed<'a> {
    fn start(dir: &'a Dir, query: LogQuery) -> Followed<'a> {
        let (ended, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let to = Dir::new();
        to.write("both", "");
        let both = File::options().append(true).open(to.path().join("both")).unwrap();
        let path = dir.path().to_owned();
        let thread = std::thread::spawn(move || {
            let mut notes = Vec::new();
            let source = Source { dir: &path, is_k8s: false, ended: Some(ended.as_fd()) };
            let query = LogQuery { follow: true, ..query };
            read(&source, &query, [both.as_fd(); 2], &mut |note| notes.push(note.to_owned())).unwrap();
            notes
        });
        Followed { dir, to, alive: Some(alive), thread: Some(thread) }
    }

    fn shown(&self) -> String {
        self.to.read("both")
    }

    fn until_shown(&self, end: &str) {
        let start = Instant::now();
        while !self.shown().ends_with(end) {
            assert!(start.elapsed() < Duration::from_secs(10), "{end:?} does not come; {:?}", self.dir.files().len());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(mut self) -> (String, Vec<String>) {
        drop(self.alive.take());
        let notes = self.thread.take().unwrap().join().unwrap();
        (self.shown(), notes)
    }
}

#[test]
fn followed_from_nothing_to_the_end() {
    let dir = Dir::new();
    let followed = Followed::start(&dir, LogQuery::default());
    let mut writer = writer(&dir, "json-file", &[]);
    writer.write(Stream::Stdout, b"one\n");
    followed.until_shown("one\n");
    writer.write(Stream::Stderr, b"two\nthree\nno ");
    followed.until_shown("three\n");
    writer.write(Stream::Stderr, b"end");
    writer.finish();
    assert_eq!(followed.end(), ("one\ntwo\nthree\nno end".to_owned(), vec![]));
}

#[test]
fn followed_across_rotations_nothing_is_lost_or_repeated() {
    let dir = Dir::new();
    let mut writer = writer(&dir, "json-file", &["max-size=2k", "max-file=1000"]);
    let line = |n: usize| format!("line {n}\n");
    writer.write(Stream::Stdout, (0..1000).map(line).collect::<String>().as_bytes());
    let followed = Followed::start(&dir, LogQuery { tail: Some(500), ..LogQuery::default() });
    for n in 1000..10_000 {
        writer.write(Stream::Stdout, line(n).as_bytes());
        // Now and then it has caught up, mostly it is behind.
        if n % 1111 == 0 {
            followed.until_shown(&line(n));
        }
    }
    let (shown, notes) = followed.end();
    let first: usize = shown.split_whitespace().nth(1).unwrap().parse().unwrap();
    // The writer may have gone on before its end was looked for.
    assert!((500..2000).contains(&first), "{first}");
    assert!(shown == (first..10_000).map(line).collect::<String>());
    assert_eq!(notes, [""; 0]);
}

#[test]
fn followed_across_a_replacement() {
    let dir = Dir::new();
    let mut writer = writer(&dir, "json-file", &["max-size=300"]);
    let followed = Followed::start(&dir, LogQuery::default());
    let line = |n: usize| format!("line {n}\n");
    for n in 0..100 {
        writer.write(Stream::Stdout, line(n).as_bytes());
        followed.until_shown(&line(n));
    }
    assert_eq!(dir.files().len(), 1);
    assert_eq!(followed.end(), ((0..100).map(line).collect(), vec![]));
}

#[test]
fn following_ends_when_its_time_is_over_or_nobody_reads() {
    let dir = Dir::new();
    dir.write("log.json", record(1, "stdout", "a\\n"));
    let soon = Time::parse_loosely("0s", Time::now()).map(|now| Time { seconds: now.seconds + 1, ..now });
    let mut followed = Followed::start(&dir, LogQuery { until: soon, ..LogQuery::default() });
    assert_eq!(followed.thread.take().unwrap().join().unwrap(), [""; 0]);
    assert_eq!(followed.shown(), "a\n");

    let (ended, _alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (reader, out) = std::io::pipe().unwrap();
    let path = dir.path().to_owned();
    let thread = std::thread::spawn(move || {
        let source = Source { dir: &path, is_k8s: false, ended: Some(ended.as_fd()) };
        let query = LogQuery { follow: true, ..LogQuery::default() };
        read(&source, &query, [out.as_fd(); 2], &mut |note| panic!("{note}")).unwrap();
    });
    let mut first = [0; 2];
    std::io::Read::read_exact(&mut &reader, &mut first).unwrap();
    drop(reader);
    thread.join().unwrap();
}

#[test]
fn what_is_being_written_is_not_waited_for() {
    let dir = Dir::new();
    dir.write("log.json", record(1, "stdout", "a\\n") + "{\"log\":\"b");
    let (ended, _alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let source = Source { dir: dir.path(), is_k8s: false, ended: Some(ended.as_fd()) };
    let out = File::create_new(dir.path().join("out")).unwrap();
    read(&source, &LogQuery::default(), [out.as_fd(); 2], &mut |note| panic!("{note}")).unwrap();
    assert_eq!(dir.read("out"), "a\n");
}

/// Milliseconds for a log of 100,000 lines of 100 bytes.
#[test]
#[ignore = "a measurement"]
fn how_fast_it_is() {
    let dir = Dir::new();
    let mut writer = writer(&dir, "json-file", &[]);
    let line = format!("{}\n", "The quick brown fox jumps over the lazy dog. ".repeat(3).get(..99).unwrap());
    writer.write(Stream::Stdout, line.repeat(100_000).as_bytes());
    let null = File::options().write(true).open("/dev/null").unwrap();
    let source = Source { dir: dir.path(), is_k8s: false, ended: None };
    let all = LogQuery::default();
    for query in [
        all.clone(),
        LogQuery { timestamps: true, ..all.clone() },
        LogQuery { since: time("2020-01-01T00:00:00Z"), ..all.clone() },
        LogQuery { tail: Some(10), ..all.clone() },
        LogQuery { tail: Some(50_000), ..all.clone() },
    ] {
        let start = Instant::now();
        read(&source, &query, [null.as_fd(); 2], &mut |note| panic!("{note}")).unwrap();
        println!("{:.1} ms: {query:?}", start.elapsed().as_secs_f64() * 1e3);
    }
}
