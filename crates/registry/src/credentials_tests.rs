//! Files of a home that is a directory of the test.

use super::*;
use std::os::unix::fs::PermissionsExt;

struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Home {
        let path = std::env::temp_dir().join(format!("registry-home-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Home(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_default()
    }

    fn environment(&self, more: &[(&str, &str)]) -> Environment {
        let home = self.0.to_str().unwrap();
        let path = format!("{home}/bin:/usr/bin:/bin");
        let own = [("HOME", home), ("XDG_RUNTIME_DIR", home), ("PATH", path.as_str())];
        Environment::new(&self.0.join("etc"), own.into_iter().chain(more.iter().copied()))
    }

    fn found(&self, registry: &str, repository: &str) -> String {
        match find(&self.environment(&[]), registry, repository) {
            Ok(Some(login)) => format!("{}:{}", login.parts().0, login.parts().1),
            Ok(None) => String::new(),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(login: &str) -> String {
    format!(r#"{{"auth":"{}"}}"#, STANDARD.encode(login))
}

#[test]
fn the_most_specific_key_of_the_first_file() {
    let home = Home::new("specific");
    let docker = format!(
        r#"{{"auths":{{"https://index.docker.io/v1/":{},"old.example":{},"https://url.example/v2/":{},"tok.example":{{"auth":"","identitytoken":"T"}},"empty.example":{{}}}}}}"#,
        entry("hub:1"),
        entry("docker:2"),
        entry("url:3:4"),
    );
    home.write(".docker/config.json", &docker);
    let podman = format!(
        r#"{{"auths":{{"old.example":{},"host:5000/a/b":{},"host:5000/a":{},"host:5000":{}}}}}"#,
        entry("podman:5"),
        entry("ab:6"),
        entry("a:7"),
        entry("host:8"),
    );
    home.write("containers/auth.json", &podman);
    for (registry, repository, expected) in [
        ("docker.io", "library/alpine", "hub:1"),
        ("old.example", "x", "podman:5"),
        ("url.example", "x", "url:3:4"),
        ("tok.example", "x", "<token>:T"),
        ("empty.example", "x", ""),
        ("other.example", "x", ""),
        ("host:5000", "a/b/c", "ab:6"),
        ("host:5000", "a/bc", "a:7"),
        ("host:5000", "b", "host:8"),
    ] {
        assert_eq!(home.found(registry, repository), expected, "{registry}/{repository}");
    }
    let named = home.environment(&[("REGISTRY_AUTH_FILE", "/nonexistent/auth.json")]);
    assert_eq!(find(&named, "docker.io", "library/alpine").unwrap(), None);
}

#[test]
fn what_is_broken_is_told_without_the_secret() {
    let home = Home::new("broken");
    for text in
        [r#"{"auths":{"a.b":{"auth":"c2VjcmV0"}}}"#, r#"{"auths": secret"#, r#"{"auths":{"a.b":{"auth":"secret!"}}}"#]
    {
        home.write(".docker/config.json", text);
        let told = home.found("a.b", "x");
        assert!(told.contains("config.json") && !told.contains("secret") && !told.contains("c2Vj"), "{told}");
    }
    assert_eq!(format!("{:?}", Credentials::of("me", "secret")), "Password { username: \"me\", .. }");
}

#[test]
fn a_login_is_kept_beside_what_else_is_there() {
    let home = Home::new("store");
    let environment = home.environment(&[]);
    home.write(".docker/config.json", r#"{"psFormat":"x","auths":{"a.b":{"auth":"eDp5"},"https://docker.io":{}}}"#);
    store(&environment, "docker.io", &Credentials::of("me", "it")).unwrap();
    store(&environment, "host:5000", &Credentials::of("<token>", "T")).unwrap();
    let path = home.0.join(".docker/config.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let file: Value = serde_json::from_str(&home.read(".docker/config.json")).unwrap();
    assert_eq!(file["psFormat"], "x");
    assert_eq!(file["auths"]["https://index.docker.io/v1/"]["auth"], STANDARD.encode("me:it"));
    assert_eq!((home.found("docker.io", "a/b"), home.found("host:5000", "x")), ("me:it".into(), "<token>:T".into()));
    assert_eq!(erase(&environment, "docker.io").unwrap(), [path.display().to_string()]);
    assert_eq!(erase(&environment, "docker.io").unwrap(), [""; 0]);
    assert_eq!((home.found("docker.io", "a/b"), home.found("a.b", "x")), (String::new(), "x:y".into()));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside the file");
}

#[test]
fn many_logins_at_once_lose_none() {
    let home = Home::new("many");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let environment = home.environment(&[]);
            scope.spawn(move || store(&environment, &format!("host:{n}"), &Credentials::of("u", "p")).unwrap());
        }
    });
    assert!((0..8).all(|n| home.found(&format!("host:{n}"), "x") == "u:p"));
}

#[test]
fn helpers_keep_logins() {
    let home = Home::new("helper");
    home.write(
        "bin/docker-credential-test",
        r#"#!/bin/sh
read -r request
case $1 in
    get) [ -e "$HOME/kept-${request##*/}" ] && cat "$HOME/kept-${request##*/}" && exit; echo "credentials not found in native keychain"; exit 1;;
    store) echo "$request" >"$HOME/kept-host:1";;
    erase) rm "$HOME/kept-${request##*/}";;
esac
"#,
    );
    home.write(
        ".docker/config.json",
        r#"{"credHelpers":{"host:1":"test","host:2":"absent","host:3":"../test"},"auths":{"host:1":{}}}"#,
    );
    let environment = home.environment(&[]);
    assert_eq!(home.found("host:1", "x"), "");
    assert_eq!(store(&environment, "host:1", &Credentials::of("me", "it")).unwrap(), "docker-credential-test");
    assert_eq!(home.found("host:1", "x"), "me:it");
    assert!(!home.read(".docker/config.json").contains("bWU6aXQ"));
    assert_eq!(erase(&environment, "host:1").unwrap()[0], "docker-credential-test");
    assert_eq!(home.found("host:1", "x"), "");
    for registry in ["host:2", "host:3"] {
        assert!(home.found(registry, "x").contains("no such program in PATH"), "{}", home.found(registry, "x"));
    }
    home.write("bin/docker-credential-test", "#!/bin/sh\necho it is locked; exit 2\n");
    assert!(home.found("host:1", "x").contains("it is locked"));
    home.write("bin/docker-credential-test", "#!/bin/sh\nyes\n");
    assert!(home.found("host:1", "x").contains("not JSON") || home.found("host:1", "x").contains("\"y y"));
}
