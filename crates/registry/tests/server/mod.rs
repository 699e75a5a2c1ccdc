//! A registry that does what a test wants it to do wrong: HTTP/1.1 over `std::net`, with or without TLS.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use registry::{Descriptor, Digest, Environment, Patience, Registries, Remote};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What a client sent.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// `N` of `Range: bytes=N-`.
    pub fn range(&self) -> Option<usize> {
        self.header("range").strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What is sent back.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What `Content-Length` says; none for a chunked body.
    pub length: Option<usize>,
    pub then: Then,
}

/// What happens after the body.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    Next,
    Close,
    Stall,
}

pub fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    let body = body.into();
    Reply { status, headers: Vec::new(), length: Some(body.len()), body, then: Then::Next }
}

impl Reply {
    pub fn with(mut self, name: &str, value: impl ToString) -> Reply {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Only the first bytes of it, and then this.
    pub fn cut(mut self, at: usize, then: Then) -> Reply {
        self.body.truncate(at);
        self.then = then;
        self
    }

    pub fn chunked(mut self) -> Reply {
        self.length = None;
        self
    }
}

pub struct Server {
    pub port: u16,
    pub requests: Arc<Mutex<Vec<Request>>>,
    pub connections: Arc<AtomicUsize>,
}

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

impl Server {
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        Server::listen(None, Arc::new(handler), None)
    }

    /// Answers a PUT after so many bytes of its body, and closes. With TLS, if that is given.
    pub fn refusing(
        tls: Option<&Path>,
        after: usize,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Server {
        Server::listen(tls.map(server_config), Arc::new(handler), Some(after))
    }

    /// With TLS, by a certificate for localhost.
    pub fn tls(directory: &Path, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        Server::listen(Some(server_config(directory)), Arc::new(handler), None)
    }

    fn listen(tls: Option<Arc<rustls::ServerConfig>>, handler: Handler, after: Option<usize>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server { port, requests: Arc::default(), connections: Arc::default() };
        let (requests, connections) = (server.requests.clone(), server.connections.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, requests, tls) = (handler.clone(), requests.clone(), tls.clone());
                let connections = connections.clone();
                thread::spawn(move || {
                    let _ = match tls {
                        None => serve(stream, &handler, &requests, &connections, after),
                        Some(config) => {
                            let connection = rustls::ServerConnection::new(config).unwrap();
                            let stream = rustls::StreamOwned::new(connection, stream);
                            serve(stream, &handler, &requests, &connections, after)
                        }
                    };
                });
            }
        });
        server
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked for, as `GET /v2/...`.
    pub fn log(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|r| format!("{} {}", r.method, r.target)).collect()
    }

    pub fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|line| line.contains(what)).count()
    }

    pub fn remote(&self) -> Remote {
        open(&registries(&[]), &format!("{}/a", self.host()))
    }
}

pub fn open(registries: &Registries, name: &str) -> Remote {
    registries.open(&registry::Reference::parse(name).unwrap(), registry::Access::Pull).unwrap()
}

fn serve<S: Read + Write>(
    stream: S,
    handler: &Handler,
    requests: &Mutex<Vec<Request>>,
    connections: &AtomicUsize,
    after: Option<usize>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = true;
    while let Some(request) = read(&mut stream, after)? {
        if std::mem::take(&mut first) {
            connections.fetch_add(1, Ordering::SeqCst);
        }
        requests.lock().unwrap().push(request.clone());
        let reply = handler(&request);
        let stream = stream.get_mut();
        write!(stream, "HTTP/1.1 {} Whatever\r\n", reply.status)?;
        for (name, value) in &reply.headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        let head = request.method == "HEAD";
        match reply.length {
            Some(length) => write!(stream, "content-length: {length}\r\n\r\n")?,
            None => write!(stream, "transfer-encoding: chunked\r\n\r\n")?,
        }
        if !head {
            write_body(stream, &reply)?;
        }
        stream.flush()?;
        if after.is_some() && request.method == "PUT" {
            // With much of it unread, so that the kernel answers what comes by a reset.
            thread::sleep(Duration::from_millis(50));
            return Ok(());
        }
        match reply.then {
            Then::Next => {}
            Then::Close => return Ok(()),
            Then::Stall => thread::sleep(Duration::from_secs(20)),
        }
    }
    Ok(())
}

fn write_body(stream: &mut impl Write, reply: &Reply) -> io::Result<()> {
    if reply.length.is_some() {
        return stream.write_all(&reply.body);
    }
    for chunk in reply.body.chunks(10_000) {
        write!(stream, "{:x}\r\n", chunk.len())?;
        stream.write_all(chunk)?;
        stream.write_all(b"\r\n")?;
    }
    if reply.then == Then::Next { stream.write_all(b"0\r\n\r\n") } else { Ok(()) }
}

/// One request; what is no HTTP is answered as Go does, which is how a client finds out.
fn read<S: Read + Write>(stream: &mut BufReader<S>, after: Option<usize>) -> io::Result<Option<Request>> {
    let Some(first) = stream.fill_buf()?.first().copied() else { return Ok(None) };
    if !first.is_ascii_uppercase() {
        stream
            .get_mut()
            .write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")?;
        return Ok(None);
    }
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        ..Request::default()
    };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").parse().unwrap_or(0);
    let part = after.filter(|_| request.method == "PUT");
    request.body = vec![0; part.unwrap_or(length).min(length)];
    stream.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// A directory that goes when the test does.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("registry-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Its `etc` in place of `/etc`, its `home` as the user's.
    pub fn environment(&self, variables: &[(&str, &str)]) -> Environment {
        let home = self.0.join("home");
        let own = [("HOME", home.to_str().unwrap()), ("XDG_RUNTIME_DIR", self.0.to_str().unwrap())];
        let path = std::env::var("PATH").unwrap_or_default();
        let all = own.into_iter().chain([("PATH", path.as_str())]).chain(variables.iter().copied());
        Environment::new(&self.0.join("etc"), all)
    }

    pub fn registries(&self, variables: &[(&str, &str)]) -> Registries {
        Registries::patient(self.environment(variables), quick()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Without any configuration.
pub fn registries(variables: &[(&str, &str)]) -> Registries {
    let environment = Environment::new(Path::new("/nonexistent"), variables.iter().copied());
    Registries::patient(environment, quick()).unwrap()
}

pub fn quick() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(800),
        backoff: Duration::from_millis(5),
        wait_max: Duration::from_secs(2),
        ..Patience::default()
    }
}

/// Bytes that do not repeat, and their descriptor.
pub fn content(length: usize) -> (Vec<u8>, Descriptor) {
    let bytes: Vec<u8> = (0..length as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let descriptor = Descriptor::of("application/octet-stream", &bytes);
    (bytes, descriptor)
}

pub fn manifest() -> (String, Digest) {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{0}","config":{{"mediaType":"{1}","digest":"{2}","size":2}},"layers":[]}}"#,
        registry::media::OCI_MANIFEST,
        registry::media::OCI_CONFIG,
        Digest::of(b"{}")
    );
    let digest = Digest::of(text.as_bytes());
    (text, digest)
}

/// An authority (`ca.crt`) and a certificate of localhost by it (`server.crt`, `server.key`).
pub fn make_certificates(directory: &Path) {
    let script = r#"
        set -e
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-ca \
            -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.crt
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >ext
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.crt
    "#;
    let made = Command::new("sh").args(["-c", script]).current_dir(directory).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn server_config(directory: &Path) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(directory.join("server.crt")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
}
