//! The protocol against a peer that the test plays.

use super::*;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

const MANAGER: Target<'_> =
    Target { destination: "org.freedesktop.systemd1", path: "/a", interface: "org.freedesktop.systemd1.Manager" };

/// A message of the other side's.
fn answer(kind: u8, reply_to: Option<u32>, name: (u8, &str), body: &[Value]) -> Vec<u8> {
    let mut content = Writer::default();
    body.iter().for_each(|value| content.put(value));
    let field = |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
    let mut fields = vec![field(name.0, Value::str(name.1))];
    fields.extend(reply_to.map(|serial| field(REPLY_SERIAL, Value::U32(serial))));
    let signature: String = body.iter().map(Value::signature).collect();
    fields.push(field(SIGNATURE, Value::Signature(signature)));
    let mut message = Writer(vec![b'l', kind, 0, 1]);
    message.put(&Value::U32(content.0.len() as u32));
    message.put(&Value::U32(99));
    message.put(&Value::Array("(yv)".into(), fields));
    message.align(8);
    message.0.extend(content.0);
    message.0
}

/// A peer at a socket of its own that greets with `greeting` and then says `words`, whatever it is asked.
fn peer(what: &str, greeting: &'static str, words: Vec<u8>) -> (PathBuf, std::thread::JoinHandle<()>) {
    let path = std::env::temp_dir().join(format!("mycontainer-test-bus-{}-{what}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let talk = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let _ = stream.write_all(greeting.as_bytes());
        let _ = stream.read(&mut buffer);
        let _ = stream.write_all(&words);
        // Until the other side is done.
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    });
    (path, talk)
}

fn open(path: &std::path::Path, patience: Duration) -> Result<Connection, Fault> {
    let address = format!("tcp:host=x;unix:guid=1,path={}", path.display().to_string().replace("/", "%2F"));
    let opened = Connection::open(&address, patience);
    std::fs::remove_file(path).unwrap();
    opened
}

const WELCOME: &str = "DATA\r\nOK 1234\r\n";

#[test]
fn a_call_has_its_answer_and_signals_are_kept() {
    let mut words = answer(SIGNAL, None, (MEMBER, "JobRemoved"), &[Value::U32(7), Value::str("done")]);
    words.extend(answer(METHOD_RETURN, Some(77), (INTERFACE, "x"), &[Value::str("of another call")]));
    words.extend(answer(METHOD_RETURN, Some(1), (INTERFACE, "x"), &[Value::Path("/job/7".into())]));
    let (path, talk) = peer("answer", WELCOME, words);
    let mut connection = open(&path, Duration::from_secs(10)).unwrap();
    let body = [Value::str("x"), Value::Array("(sv)".into(), vec![])];
    assert_eq!(connection.call(MANAGER, "Start", &body).unwrap(), [Value::Path("/job/7".into())]);
    let signal = connection.signal().unwrap();
    assert_eq!((signal.member.as_str(), &signal.body[1]), ("JobRemoved", &Value::str("done")));
    drop(connection);
    talk.join().unwrap();
}

#[test]
fn what_goes_wrong_is_told() {
    let refused = answer(ERROR, Some(1), (ERROR_NAME, "org.x.NoSuchUnit"), &[Value::str("Unit x not loaded.")]);
    let cut = refused[..refused.len() - 3].to_vec();
    let huge = [b'l', 2, 0, 1, 255, 255, 255, 127, 1, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let cases: Vec<(&str, &'static str, Vec<u8>, &str)> = vec![
        ("refused", WELCOME, refused, "Unit x not loaded"),
        ("cut", WELCOME, cut, "no answer came in time"),
        ("silent", WELCOME, Vec::new(), "no answer came in time"),
        ("huge", WELCOME, huge, "the head of a message"),
        ("garbage", WELCOME, vec![b'x'; 64], "the head of a message"),
        ("stranger", "REJECTED EXTERNAL\r\n", Vec::new(), "it does not accept this user (REJECTED EXTERNAL)"),
    ];
    for (name, greeting, words, expected) in cases {
        let (path, talk) = peer(name, greeting, words);
        let told =
            open(&path, Duration::from_millis(400)).and_then(|mut bus| bus.call(MANAGER, "Start", &[]).map(drop));
        let told = told.unwrap_err().to_string();
        assert!(told.contains(expected), "{name}: {told}");
        talk.join().unwrap();
    }
    let told = Connection::open("unix:path=/nonexistent", Duration::from_secs(1)).unwrap_err().to_string();
    assert_eq!(told, "No such file or directory (os error 2)");
    assert!(Connection::open("tcp:host=localhost", Duration::from_secs(1)).is_err());
}

#[test]
fn our_calls_are_read_as_they_were_meant() {
    let body = [Value::str("x.scope"), Value::U32(3)];
    let bytes = method_call(MANAGER, "Start", &body, 5);
    assert_eq!(length(&bytes), Some(bytes.len()));
    let read = message(&bytes).unwrap();
    assert_eq!((read.kind, read.path.as_str(), read.member.as_str()), (METHOD_CALL, "/a", "Start"));
    assert_eq!(read.body, body);
}

/// No message with bytes changed, cut or added may do more than be refused.
#[test]
fn hostile_messages_are_only_refused() {
    let good = answer(
        SIGNAL,
        Some(1),
        (MEMBER, "JobRemoved"),
        &[
            Value::U32(1),
            Value::Path("/job/1".into()),
            Value::Array(
                "{sv}".into(),
                vec![Value::Entry(
                    Box::new(Value::str("k")),
                    Box::new(Value::Variant(Box::new(Value::Array("s".into(), vec![Value::str("v")])))),
                )],
            ),
        ],
    );
    assert!(message(&good).is_some());
    let mut seed = 3u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    for _ in 0..50_000 {
        let mut bytes = good.clone();
        for _ in 0..=next(5) {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
        }
        match next(3) {
            0 => bytes.truncate(next(bytes.len() + 1)),
            1 => bytes.extend((0..next(40)).map(|n| n as u8)),
            _ => {}
        }
        let _ = message(&bytes);
    }
    for size in 0..good.len() {
        assert_eq!(message(&good[..size]), None, "{size}");
    }
}

#[test]
fn addresses_are_those_of_the_specification() {
    assert_eq!(unescaped("/run/a%20b%zz%2"), "/run/a b%zz%2");
    let path = socket("unix:guid=1,path=/run/x").unwrap().unwrap();
    assert_eq!(path.as_pathname(), Some(std::path::Path::new("/run/x")));
    let name = socket("unix:abstract=x").unwrap().unwrap();
    assert_eq!(name.as_abstract_name(), Some(b"x".as_slice()));
    assert!(socket("tcp:host=x").is_none() && socket("unix:tmpdir=/tmp").is_none());
}
