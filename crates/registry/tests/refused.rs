//! A registry that does not want an upload says so in the middle of it, and closes the connection.

mod server;

use registry::{Access, Error, Reference, Remote};
use server::{Reply, Request, Scratch, Server, content, make_certificates, registries, reply};
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// More than sockets buffer.
const SIZE: usize = 48 << 20;

fn upload(status: u16, said: &'static str) -> impl Fn(&Request) -> Reply + Send + Sync {
    move |request| match request.method.as_str() {
        "POST" => reply(202, "").with("location", "/v2/a/blobs/uploads/1"),
        "PUT" if status == 401 => reply(status, said).with("www-authenticate", "Basic realm=\"x\""),
        "PUT" => reply(status, said),
        _ => reply(200, ""),
    }
}

/// Pushes a blob; the error, and how much of the blob was read.
fn push(remote: &Remote) -> (Error, u64) {
    let (bytes, descriptor) = content(SIZE);
    let (bytes, read) = (Arc::new(bytes), Arc::new(AtomicU64::new(0)));
    let open = {
        let read = read.clone();
        move || -> io::Result<Box<dyn Read + Send>> {
            let (cursor, read) = (Cursor::new(Shared(bytes.clone())), read.clone());
            Ok(Box::new(Counted(cursor, read)))
        }
    };
    let error = remote.push_blob(&descriptor, &open).unwrap_err();
    (error, read.load(Ordering::SeqCst))
}

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

struct Counted<R>(R, Arc<AtomicU64>);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.0.read(buffer)?;
        self.1.fetch_add(got as u64, Ordering::SeqCst);
        Ok(got)
    }
}

fn open(registries: &registry::Registries, name: &str) -> Remote {
    registries.open(&Reference::parse(name).unwrap(), Access::Push).unwrap()
}

const QUOTA: &str = r#"{"errors":[{"code":"DENIED","message":"quota exceeded"}]}"#;

#[test]
fn what_it_said_is_told_and_it_is_asked_once() {
    for (status, said, expected) in [
        (413, "too large", "answered 413: \"too large\""),
        (403, QUOTA, "is not allowed: quota exceeded (DENIED)"),
        (401, "", "needs a login"),
        (400, QUOTA, "answered 400: quota exceeded"),
    ] {
        let server = Server::refusing(None, 100_000, upload(status, said));
        let (error, read) = push(&open(&registries(&[]), &format!("{}/a", server.host())));
        assert!(error.to_string().contains(expected), "{status}: {error}");
        assert_eq!(server.count("PUT"), 1, "{status}: {:?}", server.log());
        assert!(read < SIZE as u64, "{status}: all of it was read, for nobody");
    }
}

#[test]
fn over_tls_too() {
    let scratch = Scratch::new();
    make_certificates(&scratch.0);
    let server = Server::refusing(Some(&scratch.0), 100_000, upload(403, QUOTA));
    let authority = scratch.0.join("ca.crt");
    let registries = scratch.registries(&[("SSL_CERT_FILE", authority.to_str().unwrap())]);
    let (error, _) = push(&open(&registries, &format!("localhost:{}/a", server.port)));
    assert!(error.to_string().contains("is not allowed: quota exceeded"), "{error}");
    assert_eq!(server.count("PUT"), 1, "{:?}", server.log());
}

/// One that says that it is busy may do better the next time.
#[test]
fn a_busy_one_is_asked_again() {
    let server = Server::refusing(None, 100_000, |request| match request.method.as_str() {
        "PUT" => reply(503, "busy"),
        _ => upload(0, "")(request),
    });
    let (error, _) = push(&open(&registries(&[]), &format!("{}/a", server.host())));
    assert!(error.to_string().contains("answered 503: \"busy\""), "{error}");
    assert_eq!(server.count("PUT"), 5, "{:?}", server.log());
}
