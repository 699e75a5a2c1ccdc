//! The driver journald: each record a datagram to systemd's journal, with the fields that Docker gives it.
//!
//! [systemd, native journal protocol] A field is `NAME=text` and a newline, or `NAME`, a newline, the length and the text
//! where that may have a newline in it, as only a label or a variable has. A
//! journal that does not take more for now, or is being started anew, is like a disk that is full.

use super::{Attributes, LogOptions, Piece, Stream};
use crate::error::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with};
use std::os::fd::OwnedFd;

const SOCKET: &str = "/run/systemd/journal/socket";
/// How long the journal may take to make room.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Before each datagram in the buffer stands its length.
const LENGTH: usize = size_of::<u32>();

/// A connection to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: String,
    /// None when it broke.
    socket: Option<OwnedFd>,
    /// The fields that are the same in every record.
    fields: Vec<u8>,
}

impl Journal {
    pub(super) fn open(options: &LogOptions, id: &str, name: &str, attributes: &Attributes) -> Result<Journal, Error> {
        Journal::open_at(SOCKET, options, id, name, attributes)
    }

    fn open_at(
        path: &str,
        options: &LogOptions,
        id: &str,
        name: &str,
        attributes: &Attributes,
    ) -> Result<Journal, Error> {
        let socket = reach(path).map_err(Error::file("reach the journal at", path))?;
        let short = id.get(..12).unwrap_or(id);
        let tag = options.tag_of(id, name);
        let fields = format!(
            "CONTAINER_ID={short}\nCONTAINER_ID_FULL={id}\nCONTAINER_NAME={name}\nCONTAINER_TAG={tag}\n\
             SYSLOG_IDENTIFIER={tag}\n"
        );
        let mut fields = fields.into_bytes();
        attributes.iter().for_each(|(name, value)| add_field(name, value, &mut fields));
        Ok(Journal { path: path.to_owned(), socket: Some(socket), fields })
    }

    /// Adds the record of a piece.
    pub(super) fn frame(&self, piece: &Piece<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH]);
        out.extend_from_slice(b"MESSAGE=");
        out.extend_from_slice(piece.text);
        // As Docker: what is printed as an error has the priority of one.
        out.extend_from_slice(match piece.stream {
            Stream::Stdout => b"\nPRIORITY=6\n",
            Stream::Stderr => b"\nPRIORITY=3\n",
        });
        if !piece.ends {
            out.extend_from_slice(b"CONTAINER_PARTIAL_MESSAGE=true\n");
        }
        out.extend_from_slice(&self.fields);
        let length = u32::try_from(out.len() - start - LENGTH).unwrap_or(0);
        out[start..start + LENGTH].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sends records, and takes off `records` what was sent.
    pub(super) fn add(&mut self, records: &mut Vec<u8>) -> Result<(), Errno> {
        let mut done = 0;
        let sent = loop {
            let Some((length, rest)) = records[done..].split_first_chunk::<LENGTH>() else { break Ok(()) };
            let length = rest.len().min(u32::from_ne_bytes(*length) as usize);
            match self.send(&rest[..length]) {
                Ok(()) => done += LENGTH + length,
                Err(error) => break Err(error),
            }
        };
        records.drain(..done);
        sent
    }

    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => reach(&self.path)?,
        };
        let try_it = || rustix::io::retry_on_intr(|| send(&socket, datagram, SendFlags::NOSIGNAL));
        let mut sent = try_it();
        if sent == Err(Errno::AGAIN) {
            // What the container prints faster than the journal takes it, it waits for, as with any pipe.
            let _ = poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&PATIENCE));
            sent = try_it();
        }
        if matches!(sent, Ok(_) | Err(Errno::AGAIN)) {
            self.socket = Some(socket);
        }
        sent.map(drop)
    }
}

/// Adds a label or a variable, by a name that the journal takes: as Docker's, of A-Z, 0-9 and `_`, a letter first.
fn add_field(name: &str, value: &str, fields: &mut Vec<u8>) {
    let name = name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    // More characters it does not take, and drops all of the record.
    let name = &name[..name.len().min(64)];
    if name.is_empty() {
        return;
    }
    fields.extend_from_slice(name.as_bytes());
    fields.push(b'\n');
    fields.extend_from_slice(&(value.len() as u64).to_le_bytes());
    fields.extend_from_slice(value.as_bytes());
    fields.push(b'\n');
}

fn reach(path: &str) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::Dir;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_record_is_a_datagram_with_its_fields() {
        let dir = Dir::new();
        let path = dir.path().join("socket");
        let listen = || UnixDatagram::bind(&path).unwrap();
        let none = Attributes::new();
        let open =
            || Journal::open_at(path.to_str().unwrap(), &LogOptions::default(), "0123456789abcdef", "web", &none);
        assert!(open().unwrap_err().to_string().contains("cannot reach the journal at"));
        let server = listen();
        let mut journal = open().unwrap();
        let mut out = Vec::new();
        journal.frame(&Piece { stream: Stream::Stdout, text: b"a=b \xff", ends: true }, &mut out);
        journal.frame(&Piece { stream: Stream::Stderr, text: b"", ends: false }, &mut out);
        journal.add(&mut out).unwrap();
        assert!(out.is_empty());
        let fields = "CONTAINER_ID=0123456789ab\nCONTAINER_ID_FULL=0123456789abcdef\nCONTAINER_NAME=web\n\
                      CONTAINER_TAG=0123456789ab\nSYSLOG_IDENTIFIER=0123456789ab\n";
        let mut space = [0; 4096];
        let mut next = |server: &UnixDatagram| {
            let got = server.recv(&mut space).unwrap();
            space[..got].to_vec()
        };
        assert_eq!(next(&server), [b"MESSAGE=a=b \xff\nPRIORITY=6\n", fields.as_bytes()].concat());
        let partial = "MESSAGE=\nPRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\n";
        assert_eq!(next(&server), [partial, fields].concat().as_bytes());
        // It is started anew: what it does not take is held, and sent when it is there again.
        drop(server);
        std::fs::remove_file(&path).unwrap();
        journal.frame(&Piece { stream: Stream::Stdout, text: b"later", ends: true }, &mut out);
        assert_eq!(journal.add(&mut out), Err(Errno::CONNREFUSED));
        assert_eq!(journal.add(&mut out), Err(Errno::NOENT));
        assert!(!out.is_empty());
        let server = listen();
        journal.add(&mut out).unwrap();
        assert!(next(&server).starts_with(b"MESSAGE=later\n"));
    }

    #[test]
    fn labels_and_variables_are_fields() {
        for (name, expected) in [
            ("role", Some("ROLE")),
            ("com.example/x", Some("COM_EXAMPLE_X")),
            ("_1a", Some("A")),
            ("ä", None),
            ("", None),
            (&"x".repeat(70), Some(&*"X".repeat(64))),
        ] {
            let mut fields = Vec::new();
            add_field(name, "a\nMESSAGE=b", &mut fields);
            let field = |name: &str| [name.as_bytes(), b"\n\x0b\0\0\0\0\0\0\0a\nMESSAGE=b\n"].concat();
            assert_eq!(fields, expected.map(field).unwrap_or_default(), "{name}");
        }
    }

    #[test]
    fn a_journal_that_does_not_keep_up_stops_nobody() {
        let dir = Dir::new();
        let path = dir.path().join("socket");
        let _server = UnixDatagram::bind(&path).unwrap();
        let (path, none) = (path.to_str().unwrap(), Attributes::new());
        let mut journal = Journal::open_at(path, &LogOptions::default(), "0", "web", &none).unwrap();
        let mut out = Vec::new();
        (0..2000).for_each(|_| journal.frame(&Piece { stream: Stream::Stdout, text: b"x", ends: true }, &mut out));
        let before = out.len();
        assert_eq!(journal.add(&mut out), Err(Errno::AGAIN));
        assert!((1..before).contains(&out.len()));
    }
}
