//! A file by its URL.

mod server;

use registry::{Environment, Registries};
use server::{Reply, Request, Server, Then, content, quick, registries, reply};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

fn in_turn(replies: Vec<Reply>) -> impl Fn(&Request) -> Reply + Send + Sync {
    let next = AtomicUsize::new(0);
    move |_| replies[next.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1)].clone()
}

fn fetch(registries: &Registries, url: &str) -> Result<Vec<u8>, String> {
    let mut download = registries.download(url).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    download.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[test]
fn what_comes_of_answers() {
    let (bytes, _) = content(200_000);
    let good = || reply(200, bytes.clone());
    let led = |to: &str| reply(302, "").with("location", to);
    // Name, answers in turn, the error or none, how many requests it takes.
    let cases: Vec<(&str, Vec<Reply>, Option<&str>, usize)> = vec![
        ("plain", vec![good()], None, 1),
        ("chunked", vec![good().chunked()], None, 1),
        ("busy", vec![reply(503, ""), good()], None, 2),
        ("elsewhere", vec![led("/other?x=1"), good()], None, 2),
        ("in a circle", vec![led("/root.tar")], Some("leads on and on"), 11),
        ("elsewhere without http", vec![led("file:///etc/passwd")], Some("no URL that may be followed"), 1),
        ("broken before a byte came", vec![good().cut(0, Then::Close), good()], None, 2),
        ("broken later", vec![good().cut(1000, Then::Close), good()], Some("broke"), 1),
        ("broken for ever", vec![good().cut(0, Then::Close)], Some("broke"), 5),
        ("not there", vec![reply(404, "no such file")], Some("answered 404: \"no such file\""), 1),
        ("nothing", vec![reply(204, "")], Some("answered 204"), 1),
    ];
    for (name, replies, expected, requests) in cases {
        let server = Server::start(in_turn(replies));
        let got = fetch(&registries(&[]), &format!("http://{}/root.tar?secret=s", server.host()));
        match (expected, got) {
            (None, Ok(got)) => assert!(got == bytes, "{name}: {} bytes", got.len()),
            (Some(why), Err(error)) => assert!(error.contains(why) && !error.contains("secret"), "{name}: {error}"),
            (_, got) => panic!("{name}: {:?}", got.map(|bytes| bytes.len())),
        }
        assert_eq!(server.log().len(), requests, "{name}: {:?}", server.log());
    }
}

#[test]
fn what_is_no_url_is_not_fetched_nor_told() {
    for url in ["", "x", "ftp://a/b", "file:///etc/passwd", "http://", "http://me:secret@127.0.0.1/x", "http://a b/c"] {
        let error = fetch(&registries(&[]), url).unwrap_err();
        assert!(error.contains("no URL that can be fetched") && !error.contains("secret"), "{url}: {error}");
    }
}

/// What the HTTP client could not do, it would go around.
#[test]
fn a_proxy_that_speaks_socks_is_refused() {
    let environment = Environment::new(std::path::Path::new("/nonexistent"), [("ALL_PROXY", "socks5://me:it@proxy:1")]);
    let registries = Registries::patient(environment, quick()).unwrap();
    let error = fetch(&registries, "http://reg.example/x").unwrap_err();
    assert!(error.contains("cannot use the proxy proxy:1: SOCKS is not spoken"), "{error}");
}
