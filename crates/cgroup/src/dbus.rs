//! A client of D-Bus, just large enough to talk to systemd: one connection, one call at a time, no descriptors.
//!
//! systemd listens on a socket of its own (`/run/systemd/private`), which needs no message bus and takes root only;
//! everyone else goes through the bus. Both speak the same protocol (D-Bus specification, "Authentication Protocol",
//! "Message Protocol"); the bus wants a greeting, and to be told which signals we wait for.
//!
//! Each call has one deadline for all that it waits for. Whatever is not understood ends the connection.

use crate::dbus_value::{Reader, Value, Writer};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

/// The largest message that is read; systemd's answers to us are a few hundred bytes.
const LARGEST: usize = 8 << 20;
/// How many signals are kept while an answer is waited for.
const KEPT: usize = 10_000;

// Message types and header fields of the specification.
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Why a call had no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The other side's own words.
    Refused {
        name: String,
        text: String,
    },
    /// The socket's.
    Socket(std::io::Error),
    TimedOut,
    /// What came is no D-Bus.
    Malformed(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { name, text } if text.is_empty() => f.write_str(name),
            Self::Refused { text, .. } => f.write_str(text.trim_end_matches('.')),
            Self::Socket(error) => match error.raw_os_error() {
                Some(errno) => write!(f, "{}", Errno::from_raw_os_error(errno)),
                None => write!(f, "{error}"),
            },
            Self::TimedOut => f.write_str("no answer came in time"),
            Self::Malformed(what) => write!(f, "its answer was not understood ({what})"),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Socket(error),
        }
    }
}

/// A message, as far as it matters to us.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Message {
    kind: u8,
    reply_to: Option<u32>,
    error: Option<String>,
    pub(crate) path: String,
    pub(crate) interface: String,
    pub(crate) member: String,
    pub(crate) body: Vec<Value>,
}

/// Whom a call goes to.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) destination: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<Message>,
    pub(crate) deadline: Instant,
}

impl Connection {
    /// Connects to an address such as `unix:path=/run/systemd/private`, of which there may be several with semicolons
    /// between them, and greets with the user id that the kernel vouches for.
    pub(crate) fn open(address: &str, patience: Duration) -> Result<Self, Fault> {
        let mut last = Fault::Malformed("an address looks like unix:path=/run/x");
        for candidate in address.split(';').filter_map(socket) {
            match candidate.and_then(|candidate| UnixStream::connect_addr(&candidate)) {
                Ok(stream) => {
                    let deadline = Instant::now() + patience;
                    let mut connection = Self { stream, serial: 0, signals: VecDeque::new(), deadline };
                    connection.authenticate()?;
                    return Ok(connection);
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Without naming a user id: inside a user namespace ours is another one than the bus sees. All of it in one write,
    /// as systemd's own clients do: systemd overlooks a message that it receives together with a late `BEGIN`, until
    /// more comes.
    fn authenticate(&mut self) -> Result<(), Fault> {
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let first = self.line()?;
        let answer = if first == "DATA" { self.line()? } else { first };
        if answer.starts_with("OK ") {
            return Ok(());
        }
        Err(Fault::Refused { name: "AUTH".into(), text: format!("it does not accept this user ({answer})") })
    }

    /// Joins a message bus. Not on a connection to systemd itself.
    pub(crate) fn greet_bus(&mut self) -> Result<(), Fault> {
        const BUS: Target<'_> = Target {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
        };
        self.call(BUS, "Hello", &[])?;
        let rule = "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager'";
        self.call(BUS, "AddMatch", &[Value::str(rule)]).map(drop)
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn call(&mut self, target: Target<'_>, member: &str, body: &[Value]) -> Result<Vec<Value>, Fault> {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let serial = self.serial;
        self.write(&method_call(target, member, body, serial))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                SIGNAL if self.signals.len() < KEPT => self.signals.push_back(message),
                METHOD_RETURN if message.reply_to == Some(serial) => return Ok(message.body),
                ERROR if message.reply_to == Some(serial) => {
                    let text = match message.body.into_iter().next() {
                        Some(Value::Str(text)) => text,
                        _ => String::new(),
                    };
                    return Err(Fault::Refused { name: message.error.unwrap_or_default(), text });
                }
                _ => {}
            }
        }
    }

    /// The next signal, also one that came before.
    pub(crate) fn signal(&mut self) -> Result<Message, Fault> {
        if let Some(signal) = self.signals.pop_front() {
            return Ok(signal);
        }
        loop {
            let message = self.receive()?;
            if message.kind == SIGNAL {
                return Ok(message);
            }
        }
    }

    fn time_left(&self) -> Result<Duration, Fault> {
        Some(self.deadline.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
            .ok_or(Fault::TimedOut)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.set_write_timeout(Some(self.time_left()?))?;
        // The standard library's socket writes raise no SIGPIPE.
        Ok(self.stream.write_all(bytes)?)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < bytes.len() {
            self.stream.set_read_timeout(Some(self.time_left()?))?;
            match self.stream.read(&mut bytes[done..]) {
                Ok(0) => return Err(Fault::Malformed("the connection was closed")),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A line of the greeting, without its end. By single bytes, so that nothing behind it is taken.
    fn line(&mut self) -> Result<String, Fault> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() > 1000 {
                return Err(Fault::Malformed("a greeting without an end"));
            }
            let mut byte = [0];
            self.read(&mut byte)?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn receive(&mut self) -> Result<Message, Fault> {
        let mut bytes = vec![0; FIXED];
        self.read(&mut bytes)?;
        let length = length(&bytes).ok_or(Fault::Malformed("the head of a message"))?;
        bytes.resize(length, 0);
        self.read(&mut bytes[FIXED..])?;
        message(&bytes).ok_or(Fault::Malformed("a message"))
    }
}

/// The socket of one address; None for transports that we do not know.
fn socket(address: &str) -> Option<std::io::Result<SocketAddr>> {
    address.strip_prefix("unix:")?.split(',').find_map(|pair| match pair.split_once('=')? {
        ("path", path) => Some(SocketAddr::from_pathname(unescaped(path))),
        ("abstract", name) => Some(SocketAddr::from_abstract_name(unescaped(name))),
        _ => None,
    })
}

/// `%2f` and its like. What is no such escape stays as it is.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn method_call(target: Target<'_>, member: &str, body: &[Value], serial: u32) -> Vec<u8> {
    let mut content = Writer::default();
    body.iter().for_each(|value| content.put(value));
    let signature: String = body.iter().map(Value::signature).collect();
    let field = |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
    let mut fields = vec![
        field(PATH, Value::Path(target.path.into())),
        field(INTERFACE, Value::str(target.interface)),
        field(MEMBER, Value::str(member)),
        field(DESTINATION, Value::str(target.destination)),
    ];
    if !signature.is_empty() {
        fields.push(field(SIGNATURE, Value::Signature(signature)));
    }
    // Little-endian, no flags, version 1.
    let mut message = Writer(vec![b'l', METHOD_CALL, 0, 1]);
    message.put(&Value::U32(content.0.len() as u32));
    message.put(&Value::U32(serial));
    message.put(&Value::Array("(yv)".into(), fields));
    message.align(8);
    message.0.extend(content.0);
    message.0
}

/// The part of a message that tells how long it is.
const FIXED: usize = 16;

fn big_endian(head: &[u8]) -> Option<bool> {
    match head.first()? {
        b'l' => Some(false),
        b'B' => Some(true),
        _ => None,
    }
}

/// The length of the whole message, from its first 16 bytes.
fn length(head: &[u8]) -> Option<usize> {
    let head = head.get(..FIXED)?;
    match Reader::new(head, big_endian(head)?).all("yyyyuuu")?[..] {
        [_, _, _, Value::Byte(1), Value::U32(body), _, Value::U32(fields)] => {
            let fields = (fields as usize).checked_add(FIXED)?.checked_next_multiple_of(8)?;
            fields.checked_add(body as usize).filter(|&length| length <= LARGEST)
        }
        _ => None,
    }
}

/// Reads a whole message.
fn message(bytes: &[u8]) -> Option<Message> {
    let whole = length(bytes)?;
    let bytes = bytes.get(..whole)?;
    let big_endian = big_endian(bytes)?;
    let mut reader = Reader::new(bytes, big_endian);
    let head = reader.all("yyyyuua(yv)")?;
    reader.align(8)?;
    let (Some(Value::Byte(kind)), Some(Value::U32(body))) = (head.get(1), head.get(4)) else { return None };
    let Some(Value::Array(_, fields)) = head.get(6) else { return None };
    let mut message = Message { kind: *kind, ..Message::default() };
    let mut signature = String::new();
    for field in fields {
        let Value::Struct(pair) = field else { return None };
        let [Value::Byte(code), Value::Variant(value)] = &pair[..] else { return None };
        match (*code, &**value) {
            (PATH, Value::Path(text)) => message.path = text.clone(),
            (INTERFACE, Value::Str(text)) => message.interface = text.clone(),
            (MEMBER, Value::Str(text)) => message.member = text.clone(),
            (ERROR_NAME, Value::Str(text)) => message.error = Some(text.clone()),
            (REPLY_SERIAL, Value::U32(serial)) => message.reply_to = Some(*serial),
            (SIGNATURE, Value::Signature(text)) => signature = text.clone(),
            (PATH | INTERFACE | MEMBER | ERROR_NAME | REPLY_SERIAL | SIGNATURE, _) => return None,
            _ => {}
        }
    }
    // The body is aligned in itself, and begins at a multiple of 8.
    let body = bytes.get(whole.checked_sub(*body as usize)?..)?;
    message.body = Reader::new(body, big_endian).all(&signature)?;
    Some(message)
}

#[cfg(test)]
#[path = "dbus_tests.rs"]
mod tests;
