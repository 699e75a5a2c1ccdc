//! `login` and `logout`: against a real registry; what is kept is found by skopeo and Podman, and the other way round.

use crate::common::pty::Session;
use crate::common::{stderr, stdout, tool};
use crate::fixtures::authority::Authority;
use crate::fixtures::has;
use crate::fixtures::peers::Peers;
use crate::fixtures::registry::Registry;
use std::io::Write;
use std::process::{Output, Stdio};

const NEEDED: [&str; 5] = ["docker-registry", "openssl", "htpasswd", "skopeo", "podman"];

fn start() -> (Peers, Authority, Registry, String) {
    let (peers, authority) = (Peers::new(), Authority::new());
    let registry = Registry::setup().tls(&authority).password("ann", "secret word").start();
    let certs = authority.certs_d(&peers.path("state/home/.config/containers/certs.d"), &registry.host());
    (peers, authority, registry, format!("--cert-dir={}", certs.display()))
}

fn piped(peers: &Peers, words: &[&str], input: &str) -> Output {
    let mut command = peers.ours_command(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_login_is_tried_kept_and_forgotten() {
    if !has("a_login_is_tried_kept_and_forgotten", &NEEDED) {
        return;
    }
    let (peers, _authority, registry, certs) = start();
    let host = registry.host();
    let words = ["login", "-u", "ann", "--password-stdin", host.as_str()];
    let output = piped(&peers, &words, "wrong\n");
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(1)));
    assert!(stderr(&output).contains("does not know this name and password"), "{}", stderr(&output));
    peers.ours_fails(1, &["login", "--get-login", &host]);

    let output = piped(&peers, &words, "secret word\n");
    assert_eq!(stdout(&output), "Login Succeeded\n", "{}", stderr(&output));
    assert!(stderr(&output).contains("auth.json, not encrypted"), "{}", stderr(&output));
    let mode = peers.sh("stat -c %a state/auth.json");
    assert_eq!(mode, "600\n");
    assert_eq!(peers.ours_ok(&["login", "--get-login", &host]), "ann\n");
    assert_eq!(peers.ok(&["skopeo", "login", "--get-login", &host]), "ann\n");
    let said = peers.fails(&["skopeo", "list-tags", &certs, &format!("docker://{host}/none")]);
    assert!(said.contains("404"), "it is let in, and there is nothing: {said}");
    assert_eq!(peers.ours_ok(&["logout", &host]), format!("Removing login credentials for {host}\n"));
    assert_eq!(peers.ours_ok(&["logout", &host]), format!("Not logged in to {host}\n"));
    assert!(!peers.run(&["skopeo", "login", "--get-login", &host]).status.success());

    peers.ok(&["podman", "login", &certs, "-u", "ann", "-p", "secret word", &host]);
    assert_eq!(peers.ours_ok(&["login", "--get-login", &host]), "ann\n");
    peers.ours_ok(&["logout", &host]);
    assert!(!peers.run(&["podman", "login", "--get-login", &host]).status.success());

    // On the command line, with a warning.
    let output = peers.ours(&["login", "-u", "ann", "-p", "secret word", &format!("https://{host}/v2/")]);
    assert_eq!(stdout(&output), "Login Succeeded\n");
    assert!(stderr(&output).contains("warning: everybody on this machine sees a password"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("secret word"));
}

#[test]
fn dockers_file_without_a_name_for_it() {
    if !has("dockers_file_without_a_name_for_it", &NEEDED) {
        return;
    }
    let (peers, _authority, registry, _) = start();
    let output = peers
        .ours_command(&["login", "-u", "ann", "-p", "secret word", &registry.host()])
        .env_remove("REGISTRY_AUTH_FILE")
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "Login Succeeded\n", "{}", stderr(&output));
    let kept = std::fs::read_to_string(peers.path("state/home/.docker/config.json")).unwrap();
    assert!(kept.contains(&registry.host()) && !kept.contains("secret word"), "{kept}");
}

#[test]
fn a_terminal_is_asked_and_shows_no_password() {
    if !has("a_terminal_is_asked_and_shows_no_password", &NEEDED) {
        return;
    }
    let (peers, _authority, registry, _) = start();
    let auth = format!("REGISTRY_AUTH_FILE={}", peers.path("state/auth.json").display());
    let config = format!("XDG_CONFIG_HOME={}", peers.path("state/home/.config").display());
    let words = ["env", &auth, &config, tool(), "login", &registry.host()];
    let mut session = Session::of(&words, (24, 80), "; stty -a | tr ' ;' '\\n\\n' | grep -x -e '-*echo' -e '-*icanon'");
    session.expect("Username: ");
    session.send("ann\r");
    session.expect("Password: ");
    // Corrected by backspace, and by control and U.
    session.send("nonsense\u{15}secret worx\u{7f}d\r");
    let seen = session.expect("Login Succeeded");
    assert!(["secret", "worx", "nonsense"].iter().all(|typed| !seen.contains(typed)), "{seen:?}");
    assert!(session.expect("echo").ends_with("\necho"), "the terminal is as it was");

    let mut session = Session::of(&[&words[..5], &["-u", "ann", &registry.host()]].concat(), (24, 80), "");
    session.expect("Password: ");
    session.send("sec\u{3}");
    session.expect("the login was given up");
    assert_eq!(session.status(), 130);
}

#[test]
fn wrong_words() {
    if !has("wrong_words", &[]) {
        return;
    }
    let peers = Peers::new();
    for (words, code, why) in [
        (&["login", "--password-stdin", "localhost:1"][..], 125, "needs a name beside it"),
        (&["login", "-u", "a", "-p", "b", "--password-stdin", "localhost:1"], 125, "contradict"),
        (&["login", "localhost:1"], 1, "cannot ask for the username: standard input is no terminal"),
        (&["login", "-u", "a", "localhost:1"], 1, "cannot ask for the password"),
        (&["login", "-u", "a", "--password-stdin", "localhost:1"], 1, "needs a name and a password"),
        (&["login", "-u", "a", "-p", "b", "localhost:1"], 1, "cannot reach localhost:1"),
        (&["login", "-u", "a", "-p", "b", "no host"], 1, "no host"),
        (&["login", "--tls-verify=false", "localhost:1"], 125, "login has no flag --tls-verify"),
        (&["logout", "--all"], 125, "logout has no flag --all"),
        (&["logout", "a", "b"], 125, "one too many"),
    ] {
        let said = peers.ours_fails(code, words);
        assert!(said.contains(why), "{words:?}: {said}");
    }
    assert_eq!(peers.ours_ok(&["logout"]), "Not logged in to docker.io\n");
}
