//! A kubelet's side of the Container Runtime Interface: calls over gRPC, and the streams of an exec over WebSocket.
//!
//! Messages are written and read as protobuf's text; protoc makes bytes of them by `cri.proto`, curl carries them.

use super::Place;
use crate::common::{stderr, stdout};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Calls a method of the runtime service: the answer, or what went wrong.
pub fn call(place: &Place, socket: &str, method: &str, request: &str) -> Result<String, String> {
    let message = protoc(&format!("--encode=runtime.v1.{method}Request"), request.as_bytes());
    // gRPC's frame: not compressed, and the length.
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let socket = place.seen_from_here(socket).display().to_string();
    let curl =
        ["curl", "-sS", "--http2-prior-knowledge", "--max-time", "60", "--unix-socket", &socket, "-D", "/dev/stderr"];
    let headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", "@-"];
    let url = format!("http://localhost/runtime.v1.RuntimeService/{method}");
    let (answer, head) = pipe(Command::new(curl[0]).args(&curl[1..]).args(headers).arg(url), &frame);
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_start_matches(':').trim().to_owned())
    };
    match header("grpc-status").as_deref() {
        Some("0") => {
            Ok(String::from_utf8(protoc(&format!("--decode=runtime.v1.{method}Response"), &answer[5..])).unwrap())
        }
        status => Err(format!("{method}: status {status:?}: {}", header("grpc-message").unwrap_or(head.clone()))),
    }
}

fn protoc(what: &str, input: &[u8]) -> Vec<u8> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/callers");
    let (output, error) = pipe(Command::new("protoc").arg(what).arg("-I").arg(&data).arg("cri.proto"), input);
    assert!(error.is_empty(), "protoc {what} {}: {error}", String::from_utf8_lossy(input));
    output
}

fn pipe(command: &mut Command, input: &[u8]) -> (Vec<u8>, String) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("protoc and curl are installed");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.stdout.clone(), stderr(&output))
}

/// The value of the first field of this name in a message's text; empty when there is none.
pub fn field(message: &str, name: &str) -> String {
    let start = format!("{name}: ");
    let value = message.lines().find_map(|line| line.trim_start().strip_prefix(&start)).unwrap_or_default();
    value.trim_matches('"').replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"").replace("\\'", "'")
}

/// The streams of an exec or attach: a WebSocket with the protocol v4.channel.k8s.io, where a message's first byte says
/// which stream it belongs to: 0 input, 1 output, 2 errors, 3 the end, 4 the terminal's size.
pub struct Stream {
    carrier: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// What came on each of the streams.
    pub seen: [String; 4],
}

impl Stream {
    /// Opens the URL that the interface answered with.
    pub fn open(place: &Place, url: &str) -> Stream {
        let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
        let (address, port) = host.rsplit_once(':').expect("a port");
        let words = place.words(&["busybox", "nc", address, port], &[]);
        let mut carrier = Command::new(&words[0]);
        let mut carrier = carrier.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut to, mut from) = (carrier.stdin.take().unwrap(), BufReader::new(carrier.stdout.take().unwrap()));
        let head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n";
        write!(to, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{head}\r\n").unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            assert!(from.read_line(&mut answer).unwrap() > 0, "{answer}");
        }
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Stream { carrier, to, from, seen: Default::default() }
    }

    /// Sends on a stream.
    pub fn send(&mut self, stream: u8, text: &str) {
        let length = u8::try_from(text.len() + 1).ok().filter(|length| *length < 126).expect("a short message");
        // A whole message, binary; a client masks what it sends, here with nothing.
        let mut frame = vec![0x82, 0x80 | length, 0, 0, 0, 0, stream];
        frame.extend(text.as_bytes());
        self.to.write_all(&frame).unwrap();
        self.to.flush().unwrap();
    }

    /// Reads until `text` came on a stream, or to the end.
    #[track_caller]
    pub fn expect(&mut self, stream: usize, text: &str) {
        while !self.seen[stream].contains(text) {
            assert!(self.read(), "{text:?} did not come on {stream}: {:?}", self.seen);
        }
    }

    /// Reads to the end.
    pub fn end(&mut self) {
        while self.read() {}
    }

    /// Reads a message; false at the end.
    fn read(&mut self) -> bool {
        let mut head = [0; 2];
        if self.from.read_exact(&mut head).is_err() || head[0] & 0xf == 8 {
            return false;
        }
        let mut length = [0; 8];
        let size = match head[1] & 0x7f {
            126 => 2,
            127 => 8,
            short => {
                length[7] = short;
                0
            }
        };
        self.from.read_exact(&mut length[8 - size..]).unwrap();
        let mut message = vec![0; usize::try_from(u64::from_be_bytes(length)).unwrap()];
        self.from.read_exact(&mut message).unwrap();
        if let Some((stream, text)) = message.split_first() {
            self.seen[usize::from(*stream)].push_str(&String::from_utf8_lossy(text));
        }
        true
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.carrier.kill();
        let _ = self.carrier.wait();
    }
}

/// Standard output of a script in the place, without its end of line.
pub fn line(place: &Place, script: &str) -> String {
    stdout(&place.run(&["sh", "-c", script])).trim_end().to_owned()
}
