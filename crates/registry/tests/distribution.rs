//! The real registry (Debian's `docker-registry`), and skopeo as the judge of what we read and write there.

mod server;

use registry::{Access, Credentials, Descriptor, Digest, Error, Reference, Registries, Remote, media};
use server::{Scratch, content, make_certificates};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A registry on a port of loopback, with its storage in a scratch directory.
struct Real {
    child: Child,
    port: u16,
    scratch: Scratch,
}

impl Real {
    fn start(more: impl Fn(&Scratch, u16) -> String) -> Real {
        let scratch = Scratch::new();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {0}/data}}\n  delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{port}\n{1}",
            scratch.0.display(),
            more(&scratch, port),
        );
        scratch.write("config.yml", &config);
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(scratch.0.join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry is installed by scripts/setup-tests");
        let real = Real { child, port, scratch };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the registry did not start: {config}");
            std::thread::sleep(Duration::from_millis(10));
        }
        real
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    fn open(&self, registries: &Registries, repository: &str, access: Access) -> Remote {
        let reference = Reference::parse(&format!("{}/{repository}", self.host())).unwrap();
        registries.open(&reference, access).unwrap()
    }

    /// Runs skopeo; gives what it says.
    fn skopeo(&self, arguments: &[&str]) -> String {
        let output = Command::new("skopeo").args(arguments).current_dir(&self.scratch.0).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plain() -> Real {
    Real::start(|_, _| String::new())
}

fn push_bytes(remote: &Remote, media_type: &str, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    let owned = bytes.to_vec();
    remote.push_blob(&descriptor, &move || Ok(Box::new(std::io::Cursor::new(owned.clone())))).unwrap();
    descriptor
}

/// An image of one layer that nobody unpacks.
fn push_image(remote: &Remote, tag: &str, length: usize) -> (Digest, Descriptor) {
    let layer = push_bytes(remote, media::OCI_LAYER, &content(length).0);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        layer.digest
    );
    let config = push_bytes(remote, media::OCI_CONFIG, config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        media::OCI_MANIFEST,
        serde_json::to_string(&config).unwrap(),
        serde_json::to_string(&layer).unwrap()
    );
    (remote.push_manifest(tag, media::OCI_MANIFEST, manifest.as_bytes()).unwrap(), layer)
}

fn read(remote: &Remote, descriptor: &Descriptor) -> Vec<u8> {
    let mut bytes = Vec::new();
    remote.blob(descriptor, 0).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_we_push_skopeo_reads() {
    let real = plain();
    let registries = real.scratch.registries(&[]);
    let remote = real.open(&registries, "a/b", Access::Push);
    let (digest, layer) = push_image(&remote, "one", 3_000_000);
    let name = format!("docker://{}/a/b:one", real.host());
    let inspected = real.skopeo(&["inspect", "--tls-verify=false", &name]);
    assert!(inspected.contains(digest.as_str()) && inspected.contains(layer.digest.as_str()), "{inspected}");
    real.skopeo(&["copy", "--src-tls-verify=false", &name, "dir:out"]);
    assert!(std::fs::read(real.scratch.0.join("out").join(layer.digest.hex())).unwrap() == content(3_000_000).0);
    // And under its digest alone.
    let pinned = remote.manifest("one").unwrap();
    assert_eq!(remote.push_manifest(digest.as_str(), &pinned.media_type, &pinned.bytes).unwrap(), digest);
    let other = Digest::of(b"other");
    assert!(matches!(remote.push_manifest(other.as_str(), media::OCI_MANIFEST, b"{}"), Err(Error::WrongDigest { .. })));
}

#[test]
fn what_skopeo_pushes_we_read() {
    let real = plain();
    let registries = real.scratch.registries(&[]);
    let (_, layer) = push_image(&real.open(&registries, "from", Access::Push), "1", 500_000);
    let (from, to) = (format!("docker://{}/from:1", real.host()), format!("docker://{}/to/x:2", real.host()));
    let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    real.skopeo(&["copy", insecure[0], insecure[1], "--format=v2s2", &from, &to]);

    // The name is a short one, which the machine's owner has given to this registry.
    real.scratch.write("etc/containers/registries.conf", &format!("[aliases]\nmine='{}/to/x'", real.host()));
    let registries = real.scratch.registries(&[]);
    let reference = registries.candidates("mine:2").unwrap().remove(0);
    let remote = registries.open(&reference, Access::Pull).unwrap();
    let fetched = remote.manifest(reference.object()).unwrap();
    assert_eq!(fetched.media_type, media::DOCKER_MANIFEST);
    let registry::Manifest::Image(image) = registry::Manifest::parse(&fetched.bytes, &fetched.media_type).unwrap()
    else {
        panic!("no image")
    };
    // Which skopeo compressed on its way.
    assert!(image.layers[0].digest.is_of(&read(&remote, &image.layers[0])));
    assert!(image.config.digest.is_of(&read(&remote, &image.config)));
    let found = remote.resolve("2").unwrap().unwrap();
    assert_eq!((found.digest, found.size), (fetched.digest, fetched.bytes.len() as u64));
    assert_eq!(remote.tags().unwrap(), ["2"]);
    assert_eq!(remote.resolve("3").unwrap(), None);
    let told = remote.manifest("3").unwrap_err();
    assert!(told.is_not_found() && told.to_string().contains("MANIFEST_UNKNOWN"), "{told}");
    assert_eq!(remote.referrers(&layer.digest).unwrap().manifests, []);
}

#[test]
fn blobs_are_mounted_resumed_and_deleted() {
    let real = plain();
    let registries = real.scratch.registries(&[]);
    let one = real.open(&registries, "one", Access::Push);
    let (digest, layer) = push_image(&one, "1", 2_000_000);
    let two = real.open(&registries, "two", Access::Push);
    assert_eq!((one.has_blob(&layer.digest).unwrap(), two.has_blob(&layer.digest).unwrap()), (true, false));
    assert!(two.mount_blob(&layer.digest, "one").unwrap() && two.has_blob(&layer.digest).unwrap());
    assert!(!two.mount_blob(&Digest::of(b"nowhere"), "one").unwrap());
    assert!(two.mount_blob(&layer.digest, "one repository:x:push").is_err());

    let mut rest = Vec::new();
    two.blob(&layer, 1_500_000).unwrap().read_to_end(&mut rest).unwrap();
    assert!(rest == content(2_000_000).0[1_500_000..]);

    let delete = real.open(&registries, "one", Access::Delete);
    delete.delete_manifest(&digest).unwrap();
    assert_eq!(one.resolve("1").unwrap(), None);
}

#[test]
fn a_push_that_is_not_what_it_says() {
    let real = plain();
    let registries = real.scratch.registries(&[]);
    let remote = real.open(&registries, "a", Access::Push);
    let (bytes, mut descriptor) = content(100_000);
    let short = bytes[..50_000].to_vec();
    let told = remote.push_blob(&descriptor, &|| Ok(Box::new(std::io::Cursor::new(short.clone())))).unwrap_err();
    assert!(told.to_string().contains("50000 bytes early"), "{told}");
    descriptor.digest = Digest::of(b"another");
    let told = remote.push_blob(&descriptor, &|| Ok(Box::new(std::io::Cursor::new(bytes.clone())))).unwrap_err();
    assert!(told.to_string().contains("DIGEST_INVALID"), "{told}");
    let told = remote.push_blob(&descriptor, &|| Err(std::io::Error::other("no such file"))).unwrap_err();
    assert!(matches!(told, Error::Source { .. }), "{told}");
}

fn with_tls(more: &str) -> Real {
    Real::start(|scratch, port| {
        make_certificates(&scratch.0);
        let more = more.replace("PORT", &port.to_string());
        format!("  tls: {{certificate: {0}/server.crt, key: {0}/server.key}}\n{more}", scratch.0.display())
    })
}

#[test]
fn over_tls_with_an_authority_of_its_own() {
    let real = with_tls("");
    let untrusting = real.open(&real.scratch.registries(&[]), "a", Access::Pull);
    assert!(matches!(untrusting.manifest("1"), Err(Error::Tls { .. })));
    let authority = std::fs::read_to_string(real.scratch.0.join("ca.crt")).unwrap();
    real.scratch.write(&format!("etc/containers/certs.d/{}/ca.crt", real.host()), &authority);
    let registries = real.scratch.registries(&[]);
    let remote = real.open(&registries, "a", Access::Push);
    let (_, layer) = push_image(&remote, "1", 1_000_000);
    assert!(layer.digest.is_of(&read(&remote, &layer)));
    // By the system's authorities, too.
    let file = real.scratch.0.join("ca.crt");
    std::fs::remove_dir_all(real.scratch.0.join("etc")).unwrap();
    let registries = real.scratch.registries(&[("SSL_CERT_FILE", file.to_str().unwrap())]);
    assert!(real.open(&registries, "a", Access::Pull).resolve("1").unwrap().is_some());
}

#[test]
fn an_upload_does_not_leave_tls() {
    let real = with_tls("  host: http://localhost:PORT\n");
    let file = real.scratch.0.join("ca.crt");
    let registries = real.scratch.registries(&[("SSL_CERT_FILE", file.to_str().unwrap())]);
    let remote = real.open(&registries, "a", Access::Push);
    let (bytes, descriptor) = content(10);
    let told = remote.push_blob(&descriptor, &|| Ok(Box::new(std::io::Cursor::new(bytes.clone())))).unwrap_err();
    assert!(matches!(told, Error::Downgrade { .. }), "{told}");
}

#[test]
fn a_login_is_tried_kept_used_and_forgotten() {
    let real = Real::start(|scratch, _| {
        let made = Command::new("htpasswd").args(["-Bbn", "me", "it:is"]).output().unwrap();
        scratch.write("htpasswd", &String::from_utf8(made.stdout).unwrap());
        format!("auth:\n  htpasswd: {{realm: test, path: {}/htpasswd}}\n", scratch.0.display())
    });
    let registries = real.scratch.registries(&[]);
    let told = real.open(&registries, "a", Access::Pull).manifest("1").unwrap_err();
    assert!(told.is_unauthorized() && told.hint().unwrap().contains("mycontainer login localhost:"), "{told}");

    let login = |password: &str| Credentials::Password { username: "me".into(), password: password.into() };
    let told = registries.login(&real.host(), &login("wrong")).unwrap_err();
    assert!(
        told.to_string().contains("does not know this name and password") && !told.to_string().contains("wrong"),
        "{told}"
    );
    let file = real.scratch.0.join("home/.docker/config.json");
    assert!(!file.exists(), "what is wrong is not kept");
    assert_eq!(
        registries.login(&format!("http://{}/", real.host()), &login("it:is")).unwrap(),
        file.display().to_string()
    );
    assert_eq!(registries.login_of(&real.host()).unwrap(), Some(login("it:is")));

    let registries = real.scratch.registries(&[]);
    push_image(&real.open(&registries, "a", Access::Push), "1", 100_000);
    let name = format!("docker://{}/a:1", real.host());
    let inspected = real.skopeo(&["inspect", "--tls-verify=false", "--authfile", file.to_str().unwrap(), &name]);
    assert!(inspected.contains("sha256:"), "skopeo reads our file: {inspected}");

    assert_eq!(registries.logout(&real.host()).unwrap(), [file.display().to_string()]);
    let told = real.open(&real.scratch.registries(&[]), "a", Access::Pull).manifest("1").unwrap_err();
    assert!(told.is_unauthorized(), "{told}");
}

#[test]
fn a_login_that_a_helper_keeps() {
    let real = Real::start(|scratch, _| {
        let made = Command::new("htpasswd").args(["-Bbn", "me", "it"]).output().unwrap();
        scratch.write("htpasswd", &String::from_utf8(made.stdout).unwrap());
        format!("auth:\n  htpasswd: {{realm: test, path: {}/htpasswd}}\n", scratch.0.display())
    });
    let helper = "#!/bin/sh\nread -r request\ncase $1 in store) echo \"$request\" >\"$HOME/kept\";; get) cat \"$HOME/kept\";; esac\n";
    real.scratch.write("home/bin/docker-credential-ours", helper);
    real.scratch.write("home/.docker/config.json", r#"{"credsStore":"ours"}"#);
    let program = real.scratch.0.join("home/bin/docker-credential-ours");
    std::fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}/home/bin:/usr/bin:/bin", real.scratch.0.display());
    let registries = real.scratch.registries(&[("PATH", &path)]);
    let login = Credentials::Password { username: "me".into(), password: "it".into() };
    assert_eq!(registries.login(&real.host(), &login).unwrap(), "docker-credential-ours");
    push_image(&real.open(&registries, "a", Access::Push), "1", 1000);
    let file = std::fs::read_to_string(real.scratch.0.join("home/.docker/config.json")).unwrap();
    assert!(!file.contains("auths"), "{file}");
}
