//! Bearer tokens: how often they are asked for, by whom, and who gets to see a password.

mod server;

use registry::{Access, Reference, Registries, Remote};
use server::{Reply, Scratch, Server, manifest, open, reply};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A registry that takes the token of the number that it has given last, and its place where tokens are had.
fn registry_with_tokens(life: u64, valid: impl Fn(usize) -> bool + Send + Sync + 'static) -> (Server, Server) {
    let given = Arc::new(AtomicUsize::new(0));
    let count = given.clone();
    let tokens = Server::start(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        reply(200, format!(r#"{{"token":"t{number}","expires_in":{life}}}"#))
    });
    let realm = format!("http://localhost:{}/token", tokens.port);
    let registry = Server::start(move |request| {
        let number = request.header("authorization").strip_prefix("Bearer t").and_then(|n| n.parse().ok());
        match number {
            Some(number) if valid(number) => reply(200, manifest().0),
            _ => challenge(&realm),
        }
    });
    (registry, tokens)
}

fn challenge(realm: &str) -> Reply {
    let value = format!(r#"Bearer realm="{realm}",service="reg.example",scope="repository:a:pull""#);
    reply(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#).with("www-authenticate", value)
}

fn get(remote: &Remote) -> String {
    remote
        .manifest("latest")
        .map_or_else(|error| format!("{error}; {}", error.hint().unwrap_or_default()), |_| "good".to_owned())
}

#[test]
fn one_token_serves_all_threads_and_requests() {
    let (registry, tokens) = registry_with_tokens(300, |_| true);
    let remote = registry.remote();
    assert_eq!(get(&remote), "good");
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| assert_eq!(get(&remote), "good"))));
    });
    assert_eq!(tokens.log(), ["GET /token?service=reg.example&scope=repository:a:pull"]);
    // One question without a token, and never again.
    assert_eq!(registry.log().len(), 6);
}

#[test]
fn a_token_is_for_its_scope() {
    let (registry, tokens) = registry_with_tokens(300, |_| true);
    let registries = server::registries(&[]);
    let reference = Reference::parse(&format!("{}/a", registry.host())).unwrap();
    for access in [Access::Pull, Access::Push, Access::Delete, Access::Pull] {
        assert_eq!(get(&registries.open(&reference, access).unwrap()), "good");
    }
    assert_eq!(get(&open(&registries, &format!("{}/b/c", registry.host()))), "good");
    let scopes: Vec<String> = tokens.log().iter().map(|line| line.split("scope=").nth(1).unwrap().to_owned()).collect();
    assert_eq!(
        scopes,
        ["repository:a:pull", "repository:a:pull,push", "repository:a:delete,pull", "repository:b/c:pull"]
    );
}

#[test]
fn a_token_is_renewed_before_its_end_and_when_it_is_refused() {
    let (registry, tokens) = registry_with_tokens(1, |_| true);
    let remote = registry.remote();
    assert_eq!(get(&remote), "good");
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(get(&remote), "good");
    assert_eq!((tokens.log().len(), registry.log().len()), (2, 3), "no 401 in between");

    let oldest = Arc::new(AtomicUsize::new(1));
    let valid = oldest.clone();
    let (registry, tokens) = registry_with_tokens(300, move |number| number >= valid.load(Ordering::SeqCst));
    let remote = registry.remote();
    assert_eq!(get(&remote), "good");
    oldest.store(2, Ordering::SeqCst);
    assert_eq!(get(&remote), "good");
    assert_eq!((tokens.log().len(), registry.log().len()), (2, 4));
}

#[test]
fn a_token_that_never_serves_is_no_loop() {
    let (registry, tokens) = registry_with_tokens(300, |_| false);
    let told = get(&registry.remote());
    assert!(told.contains("/a:latest needs a login: who are you (UNAUTHORIZED); it may be private"), "{told}");
    assert!(tokens.log().len() <= 2 && registry.log().len() <= 3, "{:?}", registry.log());
}

fn with_login(server: &Server, entry: &str) -> (Scratch, Registries) {
    let scratch = Scratch::new();
    scratch.write("home/.docker/config.json", &format!(r#"{{"auths":{{"{}":{entry}}}}}"#, server.host()));
    let registries = scratch.registries(&[]);
    (scratch, registries)
}

#[test]
fn a_login_buys_tokens() {
    let (registry, tokens) = registry_with_tokens(300, |_| true);
    let (_scratch, registries) = with_login(&registry, r#"{"auth":"bWU6c2VjcmV0"}"#);
    assert_eq!(get(&open(&registries, &format!("{}/a", registry.host()))), "good");
    assert_eq!(tokens.requests.lock().unwrap()[0].header("authorization"), "Basic bWU6c2VjcmV0");
    assert_eq!(tokens.count("&account=me"), 1);

    // And the next repository's, where the registry need not ask any more.
    assert_eq!(get(&open(&registries, &format!("{}/b", registry.host()))), "good");
    assert_eq!(tokens.requests.lock().unwrap()[1].header("authorization"), "Basic bWU6c2VjcmV0");

    let (registry, tokens) = registry_with_tokens(300, |_| true);
    let (_scratch, registries) = with_login(&registry, r#"{"identitytoken":"it&1"}"#);
    assert_eq!(get(&open(&registries, &format!("{}/a", registry.host()))), "good");
    let asked = tokens.requests.lock().unwrap()[0].clone();
    let form = String::from_utf8(asked.body.clone()).unwrap();
    assert_eq!((asked.method.as_str(), asked.header("authorization")), ("POST", ""));
    assert_eq!(
        form,
        "grant_type=refresh_token&service=reg.example&client_id=mycontainer&scope=repository%3Aa%3Apull&refresh_token=it%261"
    );
}

#[test]
fn where_tokens_are_had_may_fail() {
    for (answer, expected) in [
        (reply(200, "<html>welcome"), "something else than JSON: <html>welcome"),
        (reply(200, "{}"), "it gave none"),
        (reply(200, r#"{"token":"a\r\nb"}"#), "it gave none"),
        (reply(200, vec![b' '; 2 << 20]), "more than 1048576 bytes"),
        (
            reply(403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#),
            "/a needs a login: no (DENIED); it may be private",
        ),
        (reply(418, ""), "it answered 418"),
    ] {
        let tokens = Server::start(move |_| answer.clone());
        let realm = format!("http://localhost:{}/token", tokens.port);
        let registry = Server::start(move |_| challenge(&realm));
        let told = get(&registry.remote());
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn no_password_goes_from_https_to_http() {
    let scratch = Scratch::new();
    server::make_certificates(&scratch.0);
    let tokens = Server::start(|_| reply(200, r#"{"token":"x"}"#));
    let realm = format!("http://127.0.0.1:{}/token", tokens.port);
    let registry = Server::tls(&scratch.0, move |_| challenge(&realm));
    let host = format!("localhost:{}", registry.port);
    let authority = std::fs::read_to_string(scratch.0.join("ca.crt")).unwrap();
    scratch.write(&format!("etc/mycontainer/certs.d/{host}/ca.crt"), &authority);
    scratch.write("home/.docker/config.json", &format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#));
    let told = get(&open(&scratch.registries(&[]), &format!("{host}/a")));
    assert!(told.contains("which is not https: no password is sent there"), "{told}");
    assert!(tokens.log().is_empty());
}

#[test]
fn ways_that_are_not_known() {
    for header in ["Negotiate", "", "Bearer realm=\"ftp://x/\"", "Bearer service=\"x\""] {
        let server = Server::start(move |_| reply(401, "").with("www-authenticate", header));
        let told = get(&server.remote());
        assert!(told.contains("asks for a login in a way that is not known"), "{header}: {told}");
    }
}
