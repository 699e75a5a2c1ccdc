//! What is done when a registry, or what is between, does something wrong.

mod server;

use registry::{Error, MANIFEST_MAX, Remote};
use server::{Reply, Request, Scratch, Server, Then, content, make_certificates, manifest, open, registries, reply};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Says the next thing of a list each time; then the last one over and over.
fn in_turn(replies: Vec<Reply>) -> impl Fn(&Request) -> Reply + Send + Sync {
    let next = AtomicUsize::new(0);
    move |_| replies[next.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1)].clone()
}

fn good_manifest() -> Reply {
    reply(200, manifest().0).with("content-type", registry::media::OCI_MANIFEST)
}

fn told(remote: &Remote) -> String {
    match remote.manifest("latest") {
        Ok(it) if it.digest == manifest().1 => "good".to_owned(),
        Ok(it) => format!("{it:?}"),
        Err(error) => format!("{error}; {}", error.hint().unwrap_or_default()),
    }
}

#[test]
fn answers_to_a_manifest() {
    let page = || reply(200, "<html>Please log in to the hotel</html>").with("content-type", "text/html");
    let errors = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"so it is"}}]}}"#);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let dropped = || good_manifest().cut(10, Then::Close);
    // Name, answers in turn, what comes of it, how many requests it takes at most.
    let cases: Vec<(&str, Vec<Reply>, &str, usize)> = vec![
        ("plain", vec![good_manifest()], "good", 1),
        ("chunked", vec![good_manifest().chunked()], "good", 1),
        ("right header", vec![good_manifest().with("docker-content-digest", manifest().1)], "good", 1),
        ("wrong header", vec![good_manifest().with("docker-content-digest", wrong)], "should be sha256:0000", 1),
        (
            "not there",
            vec![reply(404, errors("MANIFEST_UNKNOWN"))],
            "/a:latest is not there: so it is (MANIFEST_UNKNOWN); check the name",
            1,
        ),
        ("denied", vec![reply(403, errors("DENIED"))], "is not allowed: so it is (DENIED); it may be private", 1),
        (
            "a page",
            vec![page()],
            "something else than JSON: \"<html>Please log in to the hotel</html>\"; this may be the page of a proxy",
            1,
        ),
        ("500 twice", vec![reply(500, ""), reply(502, ""), good_manifest()], "good", 3),
        ("500 for ever", vec![reply(500, "oops")], "answered 500: \"oops\"", 5),
        ("501", vec![reply(501, "")], "answered 501: 501 Not Implemented", 1),
        ("408", vec![reply(408, ""), good_manifest()], "good", 2),
        ("429", vec![reply(429, "").with("retry-after", 1), good_manifest()], "good", 2),
        (
            "429 for hours",
            vec![reply(429, errors("TOOMANYREQUESTS")).with("retry-after", 9999)],
            "too many requests: so it is (TOOMANYREQUESTS); who logs in",
            1,
        ),
        ("dropped head", vec![reply(200, "").cut(0, Then::Close), good_manifest()], "JSON", 2),
        ("dropped body", vec![dropped(), dropped(), good_manifest()], "good", 3),
        (
            "too big",
            vec![reply(200, "{}").with("x", 1).cut(2, Then::Close)]
                .into_iter()
                .map(|mut r| {
                    r.length = Some(100 << 20);
                    r
                })
                .collect(),
            "has more than 4194304 bytes",
            1,
        ),
        ("too big, chunked", vec![reply(200, vec![b'{'; 8 << 20]).chunked()], "has more than 4194304 bytes", 1),
        ("terminal", vec![reply(418, "\u{1b}[2J\u{7}tea")], "answered 418: \"[2J tea\"", 1),
    ];
    for (name, replies, expected, requests) in cases {
        let server = Server::start(in_turn(replies));
        let told = told(&server.remote());
        assert!(told.contains(expected), "{name}: {told}");
        assert!(server.log().len() <= requests, "{name}: {:?}", server.log());
    }
}

#[test]
fn retry_after_is_obeyed() {
    let server = Server::start(in_turn(vec![reply(503, "").with("retry-after", 1), good_manifest()]));
    let before = Instant::now();
    assert_eq!(told(&server.remote()), "good");
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());

    // A date, by the server's clock, of long ago here.
    let date = |second: u32| format!("Sun, 06 Nov 1994 08:49:{second} GMT");
    let later = |second| reply(503, "").with("date", date(37)).with("retry-after", date(second));
    let server = Server::start(in_turn(vec![later(38), good_manifest()]));
    let before = Instant::now();
    assert_eq!(told(&server.remote()), "good");
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
    // And one that is too far away is not waited for.
    let server = Server::start(in_turn(vec![later(59), good_manifest()]));
    let before = Instant::now();
    assert!(told(&server.remote()).contains("answered 503"));
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

#[test]
fn a_digest_that_was_asked_for_is_what_comes() {
    let server = Server::start(|_| good_manifest());
    let remote = server.remote();
    assert!(remote.manifest(manifest().1.as_str()).is_ok());
    let other = format!("sha256:{}", "1".repeat(64));
    assert!(matches!(remote.manifest(&other), Err(Error::WrongDigest { .. })));
    for bad in ["../x", "sha256:1", "a b", ""] {
        assert!(remote.manifest(bad).is_err(), "{bad}");
    }
    assert_eq!(server.log().len(), 2);
}

#[test]
fn a_tag_is_looked_up_without_its_content() {
    let server = Server::start(|request| match request.target.as_str() {
        "/v2/a/manifests/there" => good_manifest().with("docker-content-digest", manifest().1),
        "/v2/a/manifests/terse" => good_manifest(),
        _ => reply(404, ""),
    });
    let remote = server.remote();
    for tag in ["there", "terse"] {
        let found = remote.resolve(tag).unwrap().unwrap();
        assert_eq!((found.digest, found.size), (manifest().1, manifest().0.len() as u64));
        assert_eq!(found.media_type, registry::media::OCI_MANIFEST);
    }
    assert_eq!(remote.resolve("gone").unwrap(), None);
    assert_eq!((server.count("GET /v2/a/manifests"), server.count("/there")), (1, 1));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "one connection serves all");
}

#[test]
fn redirects() {
    let target = Server::start(|_| good_manifest());
    let there = format!("http://localhost:{}/x", target.port);
    let moved = |to: &str| {
        let to = to.to_owned();
        Server::start(move |_| reply(307, "").with("location", &to))
    };
    assert_eq!(told(&moved(&there).remote()), "good");
    for (to, expected) in [
        ("/v2/loop", "leads on and on: 10 redirects"),
        ("file:///etc/passwd", "no URL that may be followed"),
        ("http://u:p@127.0.0.1/", "no URL that may be followed"),
        ("", "no URL that may be followed"),
        ("gopher://x/", "no URL that may be followed"),
    ] {
        let told = told(&moved(to).remote());
        assert!(told.contains(expected), "{to}: {told}");
    }
}

#[test]
fn what_is_private_stays_with_its_host() {
    let scratch = Scratch::new();
    let storage = Server::start(|_| good_manifest());
    let to = format!("http://localhost:{}/x", storage.port);
    let server = Server::start(move |request| match request.header("authorization") {
        "" => reply(401, "").with("www-authenticate", "Basic realm=\"x\""),
        _ => reply(302, "").with("location", &to),
    });
    // What is led to asks for the password, too.
    let greedy = Server::start(|_| reply(401, "").with("www-authenticate", "Basic realm=\"x\""));
    let to = format!("http://localhost:{}/x", greedy.port);
    let leading = Server::start(move |_| reply(302, "").with("location", &to));
    let auth = r#"{"auth":"bWU6c2VjcmV0"}"#;
    scratch.write(
        "home/.docker/config.json",
        &format!(r#"{{"auths":{{"{}":{auth},"{}":{auth}}}}}"#, server.host(), leading.host()),
    );
    let registries = scratch.registries(&[]);
    assert_eq!(told(&open(&registries, &format!("{}/a", server.host()))), "good");
    assert_eq!(server.requests.lock().unwrap()[1].header("authorization"), "Basic bWU6c2VjcmV0");
    assert_eq!(storage.requests.lock().unwrap()[0].header("authorization"), "");

    let told = told(&open(&registries, &format!("{}/a", leading.host())));
    assert!(told.contains("needs a login") && !told.contains("secret"), "{told}");
    let asked = greedy.requests.lock().unwrap();
    assert!(asked.iter().all(|request| request.header("authorization").is_empty()), "{asked:?}");
}

#[test]
fn tls_is_not_left_and_not_believed_without_an_authority() {
    let scratch = Scratch::new();
    make_certificates(&scratch.0);
    let plain = Server::start(|_| good_manifest());
    let to = format!("http://127.0.0.1:{}/x", plain.port);
    let server = Server::tls(&scratch.0, move |request| match request.target.contains("down") {
        true => reply(302, "").with("location", &to),
        false => good_manifest(),
    });
    let name = format!("localhost:{}/a", server.port);
    let stranger = told(&open(&scratch.registries(&[]), &name));
    assert!(
        stranger.contains("cannot trust localhost:") && stranger.contains("/etc/docker/certs.d/localhost:"),
        "{stranger}"
    );

    let host = format!("etc/docker/certs.d/localhost:{}/ca.crt", server.port);
    scratch.write(&host, &std::fs::read_to_string(scratch.0.join("ca.crt")).unwrap());
    let trusting = open(&scratch.registries(&[]), &name);
    assert_eq!(told(&trusting), "good");
    let down = trusting.manifest("down").unwrap_err().to_string();
    assert!(down.contains("leads from https to http"), "{down}");
    assert!(plain.log().is_empty());

    // Insecure: whoever answers.
    let scratch = Scratch::new();
    scratch.write(
        "etc/mycontainer/registries.conf",
        &format!("[[registry]]\nlocation='localhost:{}'\ninsecure=true", server.port),
    );
    assert_eq!(told(&open(&scratch.registries(&[]), &name)), "good");
    // The system's authorities may be others.
    let scratch = Scratch::new();
    make_certificates(&scratch.0);
    let other = scratch.0.join("ca.crt");
    let refused = told(&open(&scratch.registries(&[("SSL_CERT_FILE", other.to_str().unwrap())]), &name));
    assert!(refused.contains("cannot trust"), "{refused}");
}

#[test]
fn nobody_there() {
    let before = Instant::now();
    let told = told(&open(&registries(&[]), "127.0.0.1:1/a"));
    assert!(told.contains("cannot reach 127.0.0.1:1: ") && told.contains("refused"), "{told}");
    assert!(before.elapsed() < Duration::from_millis(500), "no waiting for who is not there");
}

#[test]
fn one_who_never_answers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let held = std::thread::spawn(move || listener.incoming().take(3).collect::<Vec<_>>().len());
    let brief = Duration::from_millis(200);
    let patience = registry::Patience { connect: brief, stall: brief, attempts: 1, ..server::quick() };
    let environment = registry::Environment::new(std::path::Path::new("/nonexistent"), [("", "")]);
    let registries = registry::Registries::patient(environment, patience).unwrap();
    let told = told(&open(&registries, &format!("{host}/a")));
    assert!(told.contains(&format!("{host} did not answer in time")), "{told}");
    assert!(!held.is_finished(), "asked for TLS, asked in plain, and no more");
}

#[test]
fn mirrors_then_the_registry() {
    let scratch = Scratch::new();
    let (mirror, origin) = (Server::start(|_| reply(404, "")), Server::start(|_| good_manifest()));
    let broken = Server::start(|_| reply(404, "broken"));
    scratch.write(
        "etc/mycontainer/registries.conf",
        &format!(
            "[[registry]]\nprefix='good.example'\nlocation='{}/sub'\n[[registry.mirror]]\nlocation='{}/m'\n
             [[registry]]\nprefix='bad.example'\nlocation='{}'\n[[registry.mirror]]\nlocation='{}'\n
             [[registry]]\nprefix='never.example'\nblocked=true",
            origin.host(),
            mirror.host(),
            mirror.host(),
            broken.host()
        ),
    );
    let registries = scratch.registries(&[]);
    let good = open(&registries, "good.example/a/b");
    assert_eq!((told(&good), told(&good)), ("good".into(), "good".into()));
    assert_eq!(mirror.log(), ["HEAD /v2/", "GET /v2/m/a/b/manifests/latest"][1..], "asked once only");
    assert_eq!(origin.log(), ["GET /v2/sub/a/b/manifests/latest"; 2]);
    let bad = open(&registries, "bad.example/a").manifest("latest").unwrap_err();
    assert!(bad.is_not_found() && bad.to_string().contains("\"broken\""), "{bad}");
    let blocked = registry::Reference::parse("never.example/a").unwrap();
    assert!(matches!(registries.open(&blocked, registry::Access::Pull), Err(Error::Blocked { .. })));
}

/// By CONNECT, for what is no address of this machine.
#[test]
fn through_a_proxy() {
    let server = Server::start(|_| good_manifest());
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://user:secret@{}", proxy.local_addr().unwrap());
    let (asked, to) = (std::sync::Arc::new(std::sync::Mutex::new(Vec::new())), server.host());
    let log = asked.clone();
    std::thread::spawn(move || {
        for client in proxy.incoming().flatten() {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                let mut byte = [0];
                (&client).read_exact(&mut byte).unwrap();
                head.push(byte[0].into());
            }
            log.lock().unwrap().push(head);
            (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let upstream = std::net::TcpStream::connect(&to).unwrap();
            let (from, back) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut &from, &mut &back));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &upstream, &mut &client);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    let scratch = Scratch::new();
    scratch.write("etc/mycontainer/registries.conf", "[[registry]]\nlocation='reg.example'\ninsecure=true");
    let registries = scratch.registries(&[("HTTP_PROXY", &address), ("HTTPS_PROXY", &address)]);
    assert_eq!(told(&open(&registries, "reg.example/a")), "good");
    let asked = asked.lock().unwrap();
    assert!(
        asked[0].starts_with("CONNECT reg.example:443 ") && asked[1].starts_with("CONNECT reg.example:80 "),
        "{asked:?}"
    );
    assert!(asked[1].to_lowercase().contains("proxy-authorization: basic"), "{asked:?}");
    assert_eq!(server.requests.lock().unwrap()[0].header("proxy-authorization"), "");
    // And one that is not there is told of without its password.
    let registries = scratch.registries(&[("ALL_PROXY", "http://user:secret@127.0.0.1:1")]);
    let told = told(&open(&registries, "reg.example/a"));
    assert!(told.contains("cannot reach") && !told.contains("secret"), "{told}");
}

#[test]
fn all_of_it_goes_between_threads() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<registry::Registries>();
    shared::<Remote>();
    shared::<Error>();
    sent::<registry::BlobReader>();
}

/// A blob server that does what `fault` says to its n-th request; all others it serves well.
fn blob_server(bytes: Vec<u8>, ranges: bool, fault: impl Fn(usize, Reply) -> Reply + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        let good = match request.range().filter(|_| ranges) {
            Some(start) => reply(206, &bytes[start..])
                .with("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
            None => reply(200, bytes.clone()),
        };
        fault(n, good)
    })
}

#[test]
fn a_blob_mends_itself() {
    let (bytes, descriptor) = content(300_000);
    type Fault = Box<dyn Fn(usize, Reply) -> Reply + Send + Sync>;
    let cases: Vec<(&str, bool, Fault, &str, usize)> = vec![
        ("whole", true, Box::new(|_, r| r), "", 1),
        ("chunked", true, Box::new(|_, r: Reply| r.chunked()), "", 1),
        ("dropped", true, Box::new(|n, r: Reply| if n < 3 { r.cut(50_000, Then::Close) } else { r }), "", 4),
        (
            "dropped, no ranges",
            false,
            Box::new(|n, r: Reply| if n < 3 { r.cut(50_000 * (n + 1), Then::Close) } else { r }),
            "",
            4,
        ),
        (
            "chunked and dropped",
            true,
            Box::new(|n, r: Reply| if n < 2 { r.chunked().cut(50_000, Then::Close) } else { r }),
            "",
            3,
        ),
        ("stalls", true, Box::new(|n, r: Reply| if n < 1 { r.cut(70_000, Then::Stall) } else { r }), "", 2),
        ("dropped for ever", true, Box::new(|_, r: Reply| r.cut(10, Then::Close)), "broke", 5),
        (
            "416",
            true,
            Box::new(|n, r: Reply| match n {
                0 => r.cut(50_000, Then::Close),
                1 => reply(416, ""),
                _ => r,
            }),
            "",
            3,
        ),
        (
            "wrong part",
            true,
            Box::new(|n, r: Reply| match n {
                0 => r.cut(50_000, Then::Close),
                1 => Reply { headers: vec![("content-range".into(), "bytes 0-9/300000".into())], ..r },
                _ => r,
            }),
            "",
            3,
        ),
        ("another size", true, Box::new(|_, _| reply(200, "short")), "the registry has 5", 1),
        (
            "more, chunked",
            true,
            Box::new(|_, mut r: Reply| {
                r.body.push(1);
                r.chunked()
            }),
            "the registry sends more",
            1,
        ),
        ("500", true, Box::new(|n, r| if n < 2 { reply(500, "") } else { r }), "", 3),
        ("gone", true, Box::new(|_, _| reply(404, "")), "is not there", 1),
        (
            "gone in the middle",
            true,
            Box::new(|n, r: Reply| if n < 1 { r.cut(9, Then::Close) } else { reply(404, "") }),
            "is not there",
            2,
        ),
    ];
    for (name, ranges, fault, expected, requests) in cases {
        let server = blob_server(bytes.clone(), ranges, fault);
        let mut got = Vec::new();
        let told = match server.remote().blob(&descriptor, 0) {
            Ok(mut reader) => reader.read_to_end(&mut got).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        assert!(
            told.clone().unwrap_or_default().contains(expected) && told.is_some() != expected.is_empty(),
            "{name}: {told:?}"
        );
        assert!(!expected.is_empty() || got == bytes, "{name}: {} bytes", got.len());
        assert!(got.len() <= bytes.len(), "{name}");
        assert_eq!(server.log().len(), requests, "{name}");
    }
}

#[test]
fn a_blob_from_the_middle() {
    let (bytes, descriptor) = content(100_000);
    for ranges in [true, false] {
        let server = blob_server(bytes.clone(), ranges, |_, r| r);
        let mut got = Vec::new();
        server.remote().blob(&descriptor, 60_000).unwrap().read_to_end(&mut got).unwrap();
        assert!(got == bytes[60_000..], "{ranges}: {}", got.len());
        assert_eq!(server.requests.lock().unwrap()[0].header("range"), "bytes=60000-");
        assert_eq!(server.remote().blob(&descriptor, 100_000).unwrap().read_to_end(&mut got).unwrap(), 0);
    }
    let (_, empty) = content(0);
    let server = blob_server(Vec::new(), true, |_, r| r);
    assert_eq!(server.remote().blob(&empty, 0).unwrap().read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn many_threads_share_connections() {
    let (bytes, descriptor) = content(200_000);
    let server = blob_server(bytes.clone(), true, |_, r| r);
    let remote = server.remote();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let mut got = Vec::new();
                    remote.blob(&descriptor, 0).unwrap().read_to_end(&mut got).unwrap();
                    assert!(got == bytes);
                }
            });
        }
    });
    let connections = server.connections.load(Ordering::SeqCst);
    assert!(connections <= 5, "{connections} connections for 20 blobs");
}

#[test]
fn a_layer_that_is_elsewhere() {
    let scratch = Scratch::new();
    make_certificates(&scratch.0);
    let (bytes, mut descriptor) = content(1000);
    let served = bytes.clone();
    let elsewhere = Server::tls(&scratch.0, move |_| reply(200, served.clone()));
    let host = format!("localhost:{}", elsewhere.port);
    let authority = std::fs::read_to_string(scratch.0.join("ca.crt")).unwrap();
    scratch.write(&format!("etc/containers/certs.d/{host}/ca.crt"), &authority);
    let server = Server::start(|_| reply(404, ""));
    let remote = open(&scratch.registries(&[]), &format!("{}/a", server.host()));
    descriptor.urls = vec!["file:///etc/passwd".into(), "http://127.0.0.1:1/x".into(), format!("https://{host}/layer")];
    let mut got = Vec::new();
    remote.blob(&descriptor, 0).unwrap().read_to_end(&mut got).unwrap();
    assert!(got == bytes);
    assert_eq!(elsewhere.requests.lock().unwrap()[0].header("authorization"), "");
}

#[test]
fn tags_on_many_pages() {
    let server = Server::start(|request| match request.target.as_str() {
        "/v2/a/tags/list" => {
            reply(200, r#"{"name":"a","tags":["1","2"]}"#).with("link", "</v2/a/tags/list?last=2&n=2>; rel=\"next\"")
        }
        "/v2/a/tags/list?last=2&n=2" => {
            reply(200, r#"{"tags":["3"]}"#).with("link", "</v2/a/tags/list?last=3>; rel=\"next\"")
        }
        _ => reply(200, r#"{"tags":null}"#).with("link", "</v2/a/tags/list?last=4>; rel=\"next\""),
    });
    assert_eq!(server.remote().tags().unwrap(), ["1", "2", "3"]);
    assert!(MANIFEST_MAX > 0 && server.log().len() == 3);
}
