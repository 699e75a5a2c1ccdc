//! Containers of an ordinary user: everything as root has it, and no right of root's anywhere.

use crate::common::user::User;
use crate::common::{code, stderr, stdout, wait_until};
use std::os::unix::fs::MetadataExt;

/// As many as Debian sets aside.
const IDS: u32 = 65536;

#[test]
fn the_walk_through_is_the_same() {
    let Some(user) = User::new("the_walk_through_is_the_same", IDS) else { return };
    let look = "hostname; id -u; cat /proc/1/comm; ip -4 -o addr show dev eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'; \
                ps | grep -c .";
    let said = user.sh(&format!("mycontainer run --rm ./root sh -c \"{look}\""));
    let [hostname, uid, first, address, _] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert!(hostname.len() == 8 && hostname.bytes().all(|b| b.is_ascii_hexdigit()), "{said}");
    assert_eq!((uid, first), ("0", "sh"), "{said}");
    assert!(address.starts_with("172.17."), "{said}");
    // The host's own `/` as well, of which the user's own eyes see as much.
    let said = user.sh("mycontainer run --rm host sh -c 'id -u; ls /etc/os-release; touch /etc/new; ls -a /home /tmp'");
    assert!(said.starts_with("0\n/etc/os-release\n"), "{said}");
    assert!(!std::path::Path::new("/etc/new").exists());
    // Its shell is found without a word, and its users are.
    assert_eq!(user.sh("echo 'id -u' | mycontainer run --rm -i host"), "0\n");
    assert_eq!(user.sh("mycontainer run --rm -u daemon host id -un"), "daemon\n");
    let host = user.sh("mycontainer run --rm --network host ./root ip -4 -o addr");
    assert!(host.contains("203.0.113.2"), "{host}");
    // Outside is reached, as if the user's own program asked.
    let _server =
        user.host.outside().serve("busybox", &["httpd", "-f", "-p", "8000", "-h", "/etc"], "203.0.113.9", 8000);
    let got = user.sh("mycontainer run --rm ./root wget -q -O - http://203.0.113.9:8000/hostname");
    assert_eq!(got, std::fs::read_to_string("/etc/hostname").unwrap());
}

#[test]
fn images_volumes_and_a_days_verbs() {
    let Some(user) = User::new("images_volumes_and_a_days_verbs", IDS) else { return };
    user.sh("tar -C root -c . | mycontainer import - small > /dev/null; mycontainer images -q | grep -c .");
    assert_eq!(
        user.sh("mycontainer run --rm small sh -c 'touch /new; ls -n /new | cut -c1-40' | cut -d' ' -f1"),
        "-rw-r--r--\n"
    );
    user.sh("mycontainer run -d --name one -v vol:/data -l a=b small sh -c 'echo hello; exec sleep 100' > /dev/null");
    assert!(wait_until(5, || user.sh("mycontainer logs one") == "hello\n"));
    assert_eq!(user.sh("mycontainer exec one sh -c 'id -u; echo 1 > /data/x; cat /proc/1/comm'"), "0\nsleep\n");
    assert_eq!(user.sh("mycontainer ps --format '{{.Names}} {{.Image}} {{.Labels}}'"), "one small a=b\n");
    assert_eq!(user.sh("mycontainer top one -o comm | tail -n +2").trim(), "sleep");
    assert!(user.sh("mycontainer stats --no-stream --format '{{.Name}} {{.PIDs}}'").starts_with("one 1"));
    user.sh("echo copied > file; mycontainer cp file one:/tmp/file; mycontainer cp one:/tmp/file back; cmp file back");
    user.sh("mycontainer exec -u 1000:1000 one sh -c 'id -u | grep 1000'; mycontainer commit one kept > /dev/null");
    assert_eq!(user.sh("mycontainer run --rm -v vol:/data kept cat /tmp/file /data/x"), "copied\n1\n");
    assert_eq!(user.sh("mycontainer stop -t 0 one; mycontainer inspect -f '{{.State.Status}}' one"), "one\nexited\n");
    user.sh("mycontainer start one > /dev/null; mycontainer exec one true; mycontainer rm -f one > /dev/null");
    user.sh("mycontainer volume rm vol > /dev/null; mycontainer rmi small kept > /dev/null");
    // On the host every id is the user's or one of those that are set aside.
    user.sh("mycontainer run --rm -v $HOME/root:/m ./root sh -c 'touch /m/a; touch /m/b; chown 7:7 /m/b'");
    let owner = |name: &str| std::fs::metadata(user.home.join("root").join(name)).unwrap().uid();
    assert_eq!(owner("a"), user.uid);
    assert!(owner("b") >= 100_000, "{}", owner("b"));
}

/// The words of a user's command are read on the host, and once more inside.
#[test]
fn what_can_be_read_once_is_not_lost() {
    let Some(user) = User::new("what_can_be_read_once_is_not_lost", IDS) else { return };
    let run = "echo A=piped | mycontainer run --rm --network none --env-file /dev/stdin ./root sh -c 'echo $A'";
    assert_eq!(user.sh(run), "piped\n");
    let create = "echo a=piped | mycontainer create --name one --label-file /dev/stdin ./root true > /dev/null";
    assert_eq!(user.sh(&format!("{create}; mycontainer inspect -f '{{{{.Config.Labels.a}}}}' one")), "piped\n");
}

/// Only who is root over a namespace may mount what shows it: the host's is shown as it is mounted there.
#[test]
fn namespaces_can_be_the_hosts() {
    let Some(user) = User::new("namespaces_can_be_the_hosts", IDS) else { return };
    let ns = |kind: &str| user.sh(&format!("readlink /proc/self/ns/{kind}"));
    let seen = |kind: &str| {
        user.sh(&format!("mycontainer run --rm --network none --{kind} host ./root readlink /proc/self/ns/{kind}"))
    };
    assert_eq!((seen("pid"), seen("ipc")), (ns("pid"), ns("ipc")));
    // Who has the host's is joined as well, where nothing is to be entered that the user may not enter.
    for flags in ["--network none --pid host", "--network host --ipc host --uts host --cgroupns host"] {
        user.sh(&format!("mycontainer run -d --name shares {flags} ./root sleep 100 > /dev/null"));
        assert_eq!(user.sh("mycontainer exec shares echo joined"), "joined\n", "{flags}");
        user.sh("mycontainer rm -f shares > /dev/null");
    }
    // And a user of the container's writes to what it was given.
    assert_eq!(user.sh("mycontainer run --rm -u 1000 ./root sh -c 'echo out > /dev/stdout' | cat"), "out\n");
}

#[test]
fn devices_are_left_out_of_what_is_copied() {
    let Some(user) = User::new("devices_are_left_out_of_what_is_copied", IDS) else { return };
    user.sh("mycontainer run -d --name one --network none ./root sh -c 'touch /dev/shm/x; exec sleep 100' > /dev/null");
    let output = user.try_sh("mycontainer cp one:/dev out; test -e out/shm/x; test ! -e out/null");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("/null\" was left out: without root"), "{}", stderr(&output));
}

/// Podman's oldest complaint of containers without root.
#[test]
fn a_server_sees_who_asks() {
    let Some(user) = User::new("a_server_sees_who_asks", IDS) else { return };
    user.sh("mycontainer network create net > /dev/null");
    std::fs::write(user.home.join("server.py"), SERVER).unwrap();
    for (name, network, ports) in [("one", "bridge", "8080:80"), ("two", "net", "8081:80")] {
        let udp = ports.replace("808", "908");
        user.sh(&format!(
            "mycontainer run -d --name {name} --network {network} -p {ports} -p {udp}/udp -v $HOME/server.py:/tmp/server.py \
             host python3 /tmp/server.py > /dev/null"
        ));
    }
    let ask = |place: &crate::common::host::Place, address: &str, port: u16| {
        let tcp = place.try_sh(&format!("echo | timeout 2 nc -w 1 {address} {port}"));
        let udp = place.try_sh(&format!("echo | timeout 2 nc -u -w 1 {address} {}", port + 1000));
        (stdout(&tcp), stdout(&udp))
    };
    for (port, gateway) in [(8080, "172.17.0.1"), (8081, "172.18.0.1")] {
        let from = |who: &str| (format!("tcp {who}\n"), format!("udp {who}\n"));
        assert!(wait_until(10, || ask(user.host.outside(), "203.0.113.2", port) == from("203.0.113.9")), "{port}");
        assert_eq!(ask(&user.host, "203.0.113.2", port), from("203.0.113.2"), "{port}");
        assert_eq!(ask(&user.host, "127.0.0.1", port), from(gateway), "{port}");
    }
    // More than fits into a socket's buffers, and the whole of it.
    user.sh(
        "head -c 5000000 /dev/urandom > big; mycontainer run -d --name files -p 8082:80 -v $HOME/big:/w/big ./root \
         busybox httpd -f -p 80 -h /w > /dev/null",
    );
    let got = || user.host.outside().try_sh("timeout 10 busybox wget -q -O - http://203.0.113.2:8082/big | sha256sum");
    let sum = user.sh("sha256sum < big");
    assert!(wait_until(10, || stdout(&got()) == sum));
    // Whose port it is, is told before anything starts; and it is free when the container has ended.
    assert!(user.fails(125, "mycontainer run --rm -p 8080:80 ./root true").contains("8080"));
    assert!(user.fails(125, "mycontainer run --rm -p 80:80 ./root true").contains("80"));
    assert_eq!(user.sh("mycontainer port one 80"), "0.0.0.0:8080\n");
    user.sh("mycontainer stop -t 0 one > /dev/null; mycontainer run --rm -p 8080:80 ./root true");
}

const SERVER: &str = "\
import socket, threading
def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('0.0.0.0', 80))
    while True:
        data, who = s.recvfrom(2000)
        s.sendto(('udp ' + who[0] + '\\n').encode(), who)
threading.Thread(target=udp, daemon=True).start()
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('0.0.0.0', 80))
s.listen(50)
while True:
    c, who = s.accept()
    c.sendall(('tcp ' + who[0] + '\\n').encode())
    c.close()
";

#[test]
fn containers_of_a_network_know_each_other_by_name() {
    let Some(user) = User::new("containers_of_a_network_know_each_other_by_name", IDS) else { return };
    user.sh("mycontainer network create one > /dev/null; mycontainer network create two > /dev/null");
    user.sh("mycontainer run -d --name web --network one ./root sleep 100 > /dev/null");
    let said = user.sh("mycontainer run --rm --network one ./root sh -c 'ping -c 1 -W 2 web'");
    assert!(said.contains("1 packets received"), "{said}");
    let other = user.try_sh("mycontainer run --rm --network two ./root sh -c 'ping -c 1 -W 1 web'");
    assert_ne!(code(other.status), 0, "networks are kept apart");
    user.sh("mycontainer network connect two web");
    user.sh("mycontainer run --rm --network two ./root sh -c 'ping -c 1 -W 2 web'");
    user.sh(
        "mycontainer network disconnect two web; mycontainer rm -f web > /dev/null; mycontainer network rm one two",
    );
}

#[test]
fn without_subordinate_ids_there_is_one_user() {
    let Some(user) = User::new("without_subordinate_ids_there_is_one_user", 0) else { return };
    // Said once, by whoever makes the namespace.
    let first = user.try_sh("mycontainer run -d --name stays ./root sleep 100");
    assert!(first.status.success() && stderr(&first).contains("no subordinate ids"), "{}", stderr(&first));
    let second = user.try_sh("mycontainer run --rm ./root id -u");
    assert_eq!((stdout(&second).as_str(), stderr(&second).as_str()), ("0\n", ""));
    // Files of others become the user's own.
    user.sh("tar --owner 7 --group 7 --numeric-owner -C root -c . | mycontainer import - small > /dev/null");
    assert_eq!(user.sh("mycontainer run --rm small stat -c %u /bin/busybox"), "0\n");
    user.sh(
        "echo x > file; chmod 4755 file; tar --owner 7 --group 7 --numeric-owner -c file | mycontainer cp - stays:/",
    );
    assert_eq!(user.sh("mycontainer exec stays stat -c '%u %a' /file"), "0 755\n");
    // The view of the host is copied on write, whosever the host's directories are.
    assert_eq!(user.sh("mycontainer run --rm host sh -c 'echo new > /etc/new; cat /etc/new'"), "new\n");
    assert!(!std::path::Path::new("/etc/new").exists());
    let said = user.fails(125, "mycontainer run --rm -u 7 ./root id");
    assert!(said.contains("no subordinate ids") && said.contains("usermod"), "{said}");
}

/// Of such a user the kernel says "invalid argument".
#[test]
fn a_user_whom_nobody_set_aside_is_told_with_those_there_are() {
    let Some(user) = User::new("a_user_whom_nobody_set_aside_is_told_with_those_there_are", IDS) else { return };
    user.sh("mycontainer run -d --name one --network none ./root sleep 100 > /dev/null");
    for (words, id) in [
        ("run --rm --network none -u 2147483647 ./root true", "user 2147483647"),
        ("run --rm --network none -u 0:65537 ./root true", "group 65537"),
        ("run --rm --network none --group-add 65538 ./root true", "group 65538"),
        ("exec -u 65537 one true", "user 65537"),
    ] {
        let said = user.fails(125, &format!("mycontainer {words}"));
        assert!(said.contains(&format!("the {id} there: its user namespace has 0 to 65536")), "{words}: {said}");
        assert!(said.contains("usermod --add-subuids"), "{said}");
    }
    user.sh("mycontainer run --rm --network none -u 65536:65536 ./root true; mycontainer exec -u 65536 one true");
    user.sh("tar -C root -c . | mycontainer import - small > /dev/null");
    let said = user.fails(125, "mycontainer run --rm --network none --userns auto:size=10 -u 10 small true");
    assert!(said.contains("has 0 to 9, and no others") && said.contains("auto:size=N"), "{said}");
}

/// Who has no program that leads out has containers that reach each other, and is told.
#[test]
fn without_pasta_containers_still_meet() {
    let Some(user) = User::new("without_pasta_containers_still_meet", IDS) else { return };
    user.host.sh("mount --bind /bin/false $(command -v pasta)");
    let first = user.try_sh("mycontainer run -d --name web ./root sleep 100");
    assert!(first.status.success() && stderr(&first).contains("pasta"), "{}", stderr(&first));
    let address = user.sh("mycontainer inspect -f '{{.NetworkSettings.IPAddress}}' web");
    user.sh(&format!("mycontainer run --rm ./root ping -c 1 -W 2 {address}"));
}

/// Root of a container is the user, and nobody else.
#[test]
fn root_inside_is_nobody_on_the_host() {
    let Some(user) = User::new("root_inside_is_nobody_on_the_host", IDS) else { return };
    let secret = std::env::temp_dir().join(format!("{}-secret", user.name));
    std::fs::write(&secret, "secret").unwrap();
    let mode = |mode| std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o600);
    let path = secret.display();
    for container in [
        format!("-v {path}:/secret ./root cat /secret"),
        format!("--privileged -v {path}:/secret ./root cat /secret"),
        format!("-v {path}:/secret ./root sh -c 'chown 0 /secret || chmod 666 /secret'"),
        "--privileged ./root sh -c 'mknod /disk b 8 0; cat /disk'".into(),
        "--privileged --pid host ./root sh -c 'kill -0 1'".into(),
        "--privileged --network host ./root ip link add t0 type dummy".into(),
        "--privileged ./root sh -c 'echo 1 > /proc/sys/kernel/sysrq'".into(),
    ] {
        assert_ne!(code(user.try_sh(&format!("mycontainer run --rm {container}")).status), 0, "{container}");
    }
    mode(0o644);
    assert_eq!(user.sh(&format!("mycontainer run --rm -v {path}:/secret ./root cat /secret")), "secret");
    std::fs::remove_file(&secret).unwrap();
    // What is kept for the user's containers nobody else can read.
    user.sh(
        "tar -C root -c . | mycontainer import - small > /dev/null; mycontainer create --name cc small > /dev/null",
    );
    for dir in [user.home.join(".local/share/mycontainer"), format!("/run/user/{}/mycontainer", user.uid).into()] {
        let rights = user.host.sh(&format!("stat -c %a {}", dir.display()));
        assert_eq!(rights, "700\n", "{}", dir.display());
    }
    let other = user.host.try_sh(&format!("runuser -u nobody -- ls {}/.local/share/mycontainer", user.home.display()));
    assert!(!other.status.success());
}

#[test]
fn what_cannot_be_says_why() {
    let Some(user) = User::new("what_cannot_be_says_why", IDS) else { return };
    let said = user.fails(125, "mkdir none; PATH=$HOME:$HOME/none; exec mycontainer run --rm ./root true");
    assert!(said.contains("has no newuidmap in PATH") && said.contains("info --check"), "{said}");
    user.sh("mycontainer run -d --name one ./root sleep 100 > /dev/null");
    for (words, why) in [
        ("run --rm -m 64m ./root true", "control group"),
        ("run --rm --cpus 1 ./root true", "control group"),
        ("pause one", "control group"),
    ] {
        let output = user.try_sh(&format!("mycontainer {words}"));
        assert!(!output.status.success(), "{words}");
        assert!(stderr(&output).contains(why), "{words}: {}", stderr(&output));
    }
}

/// One process holds the namespaces of all, and goes when nobody needs them.
#[test]
fn the_holder_comes_and_goes() {
    let Some(user) = User::new("the_holder_comes_and_goes", IDS) else { return };
    // Eight at once make one.
    user.sh("for i in 1 2 3 4 5 6 7 8; do mycontainer run --rm --network none ./root true & done; wait");
    assert_eq!(user.holders().len(), 1);
    user.sh("mycontainer network create net > /dev/null");
    user.sh("mycontainer run -d --name one --network net ./root sleep 100 > /dev/null");
    // Killed, it takes nothing with it: another one enters what the container lives in.
    for pid in user.holders() {
        assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    }
    assert_eq!(user.sh("mycontainer ps --format '{{.Names}}'; mycontainer exec one id -u"), "one\n0\n");
    user.sh("mycontainer run --rm --network net ./root sh -c 'ping -c 1 -W 2 one'");
    assert_eq!(user.holders().len(), 1);
    user.sh("mycontainer rm -f one > /dev/null");
    assert!(wait_until(20, || user.processes().is_empty()), "{:?}", user.processes());
}

/// What is missing is told before anything else is tried, and with what to do about it.
#[test]
fn a_check_says_what_is_missing() {
    let Some(user) = User::new("a_check_says_what_is_missing", IDS) else { return };
    let said = user.sh("mycontainer info --check");
    for line in
        ["ok       kernel:", "ok       user namespaces:", "ok       subordinate ids: 65536 users and 65536 groups"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    let said = user.sh("mkdir empty; PATH=$HOME:$HOME/empty mycontainer info --check");
    for line in ["lacking  newuidmap: there is no newuidmap and no newgidmap in PATH", "install the package passt"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    user.host.sh("mount -t tmpfs none /etc/subuid 2>/dev/null || mount --bind /dev/null /etc/subuid");
    let said = user.sh("mycontainer info --check");
    assert!(said.contains("lacking  subordinate ids") && said.contains("usermod"), "{said}");
    user.host.sh("umount /etc/subuid");
    // It made nothing.
    assert_eq!(user.holders(), [0; 0]);
    assert!(stdout(&user.host.ours(&["info", "--check"])).contains("ok       control groups: version"));
}

#[test]
fn unshare_shows_files_as_containers_see_them() {
    let Some(user) = User::new("unshare_shows_files_as_containers_see_them", IDS) else { return };
    user.sh("mycontainer run --rm -v $HOME/root:/m ./root sh -c 'mkdir /m/dir; touch /m/dir/a; chown -R 7:7 /m/dir; chmod 700 /m/dir'");
    assert_ne!(code(user.try_sh("rm -r root/dir").status), 0);
    assert_eq!(user.sh("cd root; mycontainer unshare stat -c %u dir/a"), "7\n");
    user.sh("mycontainer unshare rm -r root/dir; test ! -e root/dir");
    // Within it the tool finds itself, and what the user has.
    user.sh("mycontainer run -d --name one ./root sleep 100 > /dev/null");
    assert_eq!(user.sh("mycontainer unshare mycontainer ps --format '{{.Names}}'"), "one\n");
    // A mount is seen there, and nowhere else.
    let said = user.fails(1, "mycontainer mount one");
    assert!(
        said.contains("where your containers are made, and not here") && said.contains("mycontainer unshare"),
        "{said}"
    );
    user.sh("mycontainer create --name other ./root true > /dev/null");
    for name in ["one", "other"] {
        let script = format!(
            "path=$(mycontainer mount {name}); echo mounted > $path/mounted; mycontainer mount | grep {name}; mycontainer unmount {name}"
        );
        user.sh(&format!(
            "mycontainer unshare sh -ec '{script}'; mycontainer cp {name}:/mounted - | tar -x -O | grep mounted"
        ));
    }
    user.fails(127, "mycontainer unshare no-such-program");
    user.host.ours_fails(1, &["unshare", "true"]);
}

#[test]
fn users_of_containers_are_told_apart_from_the_user() {
    let Some(user) = User::new("users_of_containers_are_told_apart_from_the_user", IDS) else { return };
    let uid = user.uid;
    user.sh("mkdir -p root/data; mycontainer run --rm -v ./root:/m ./root chown 7:7 /m/data; mkdir mine");
    user.sh("mycontainer run --rm -v ./root:/m ./root tar -c -C /m . | mycontainer import - small > /dev/null");
    let run = |flags: &str, script: &str| {
        user.sh(&format!("mycontainer run --rm --network none {flags} small sh -c '{script}'"))
    };
    let look = "id -u; stat -c %u /data /bin; touch /new; stat -c %u /new";
    // The user keeps their number: what is theirs outside is theirs inside, and root is somebody else.
    assert_eq!(run("--userns keep-id -u 0", look), "0\n7\n0\n0\n");
    assert_eq!(run("--userns keep-id -v ./mine:/mine", "id -u; id -g; echo x > /mine/kept; touch /new || echo no"), {
        format!("{uid}\n{}\nno\n", user.sh("id -g").trim())
    });
    let metadata = std::fs::metadata(user.home.join("mine/kept")).unwrap();
    assert_eq!(metadata.uid(), uid);
    assert_eq!(
        run("--userns keep-id:uid=1234,gid=5678 -v ./mine:/mine", "id -u; id -g; stat -c %u /mine/kept"),
        "1234\n5678\n1234\n"
    );
    assert_eq!(run("--userns keep-id -u 7", "id -u"), "7\n");
    // Or is nobody in it.
    assert_eq!(
        run(
            "--userns nomap -v ./mine:/mine",
            &format!("{look}; stat -c %u /mine; cat /mine/kept; rm /mine/kept || echo no")
        ),
        { "0\n7\n0\n0\n65534\nx\nno\n" }
    );
    // Containers with ids of their own have no others', and keep their files' owners wherever these go.
    user.sh("mycontainer run -d --name one --userns auto -v vol:/vol small sleep 100 > /dev/null");
    user.sh("mycontainer run -d --name other --userns auto:size=100 small sleep 100 > /dev/null");
    let map = |name: &str| user.sh(&format!("mycontainer exec {name} cat /proc/self/uid_map | tr -s ' '"));
    assert_eq!((map("one"), map("other")), (" 0 1 1024\n".into(), " 0 1025 100\n".into()));
    user.sh("mycontainer exec one sh -c 'touch /vol/x /new; chown 5:6 /vol/x /new; rm -r /data; mkdir /data; touch /data/y'");
    user.sh("echo z > z; mycontainer cp z one:/z");
    for _ in 0..2 {
        assert!(user.sh("mycontainer cp one:/new - | tar -t -v --numeric-owner").contains(" 5/6 "));
        let tar = user.sh("mycontainer export one | tar -t -v --numeric-owner");
        let owner = |name: &str| {
            tar.lines()
                .find(|line| line.ends_with(&format!(" {name}")))
                .map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
        };
        assert_eq!(
            (owner("new"), owner("z"), owner("bin/").is_some_and(|owner| owner.starts_with("0/"))),
            (Some("5/6".into()), Some("0/0".into()), true),
            "{tar}"
        );
        // What was a directory below and is another now is one in the image, too.
        user.sh("mycontainer commit one made > /dev/null");
        let seen = user
            .sh("mycontainer run --rm --network none made sh -c 'stat -c %u:%g /new; stat -c %u /bin /data; ls /data'");
        assert_eq!(seen, "5:6\n0\n0\ny\n");
        user.sh("mycontainer stop -t 0 one > /dev/null");
    }
    user.sh("mycontainer start one > /dev/null; mycontainer exec one stat -c %u /vol/x | grep -x 5");
    // A copy of the image for each map, until nobody needs it.
    let copies = || std::fs::read_dir(user.home.join(".local/share/mycontainer/roots")).unwrap().count();
    assert!(copies() >= 5, "{}", copies());
    user.sh("mycontainer system prune -f > /dev/null");
    assert_eq!(copies(), 2, "of those that run");
    let said = user.fails(125, "mycontainer run --rm --userns auto ./root true");
    assert!(said.contains("cannot be mapped here") && said.contains("mycontainer import"), "{said}");
    let said = user.fails(125, "mycontainer run --rm --userns auto:size=64413 small true");
    assert!(said.contains("there are no 64413 ids left"), "{said}");
    user.sh("mycontainer run --rm --network none --userns auto:size=64412 small true");
    let said = user.fails(125, "mycontainer run --rm -v ./mine:/m:idmap --userns auto small true");
    assert!(said.contains("only root can"), "{said}");
    user.sh("mycontainer rm -f -t 0 one other > /dev/null; mycontainer volume rm vol > /dev/null");
}

/// As Podman's.
#[test]
fn the_users_of_an_image_are_there_and_who_keeps_a_number_has_a_name() {
    let Some(user) = User::new("the_users_of_an_image_are_there_and_who_keeps_a_number_has_a_name", IDS) else {
        return;
    };
    user.sh(
        "mkdir -p root/etc; printf 'root:x:0:0::/:/bin/sh\\nfar:x:3000:7::/:\\nnobody:x:65534:65534::/:' > root/etc/passwd
         printf 'root:x:0:\\nlast:x:4999:\\nnogroup:x:65534:\\n' > root/etc/group
         tar -C root -c . | mycontainer import - many > /dev/null",
    );
    let run = |flags: &str, script: &str| {
        user.sh(&format!("mycontainer run --rm --network none {flags} many sh -c '{script}'"))
    };
    let map = "cat /proc/self/uid_map | tr -s \" \"";
    assert_eq!(run("--userns auto", map), " 0 1 5000\n");
    assert_eq!(run("--userns auto -u 6000", map), " 0 1 6001\n");
    assert_eq!(run("--userns auto:size=50", map), " 0 1 50\n");
    assert_eq!(run("--userns auto -u far:last", "id -u; id -g"), "3000\n4999\n");
    // The user is called as on the host, by the whole container, and its files are as they were.
    let (name, uid, gid) = (&user.name, user.uid, user.sh("id -g"));
    let who = "id -un; id -gn; wc -l < /etc/passwd; tail -n 1 /etc/passwd; grep -c nogroup /etc/group";
    assert_eq!(
        run("--userns keep-id", who),
        format!("{name}\n{name}\n4\n{name}:*:{uid}:{}::/:/bin/sh\n1\n", gid.trim())
    );
    assert_eq!(run("--userns keep-id:uid=77,gid=78", "id -un; id -gn"), format!("{name}\n{name}\n"));
    assert_eq!(run("--userns keep-id:uid=3000,gid=4999", "id -un; id -gn"), "far\nlast\n");
    assert_eq!(run("--userns auto", "wc -l < /etc/passwd"), "2\n");
    user.sh("echo mine:x:1:1::/: > passwd");
    assert_eq!(run("--userns keep-id -v ./passwd:/etc/passwd", "cat /etc/passwd"), "mine:x:1:1::/:\n");
    // One that stays has it again each time, and a program that joins it knows them, too.
    user.sh("mycontainer run -d --name one --network none --userns keep-id many sleep 100 > /dev/null");
    for _ in 0..2 {
        assert_eq!(user.sh(&format!("mycontainer exec -u {name} one id -un")), format!("{name}\n"));
        user.sh("mycontainer restart -t 0 one > /dev/null");
    }
}

#[test]
fn a_user_namespace_can_be_that_of_others() {
    let Some(user) = User::new("a_user_namespace_can_be_that_of_others", IDS) else { return };
    user.sh("tar -C root -c . | mycontainer import - small > /dev/null");
    let start = |flags: &str| user.sh(&format!("mycontainer run -d {flags} small sleep 100 > /dev/null"));
    start("--name one --userns auto --network none");
    start("--name two --userns container:one --network container:one --pid container:one");
    user.sh("mycontainer pod create --userns keep-id web > /dev/null");
    start("--name three --pod web");
    start("--name four --pod web");
    let look = |name: &str| {
        user.sh(&format!(
            "mycontainer exec {name} sh -c 'readlink /proc/self/ns/user; readlink /proc/self/ns/net; id -u; id -un; touch /tmp/x'"
        ))
    };
    assert_eq!(look("one"), look("two"));
    assert_eq!(look("three"), look("four"));
    // Also in a pod the user keeps number and name.
    assert!(look("four").ends_with(&format!("\n{}\n{}\n", user.uid, user.name)), "{}", look("four"));
    user.sh("mycontainer restart -t 0 two > /dev/null; mycontainer pod restart web > /dev/null");
    assert_eq!(look("one"), look("two"));
    assert_eq!(look("three"), look("four"));
}

#[test]
fn one_id_is_no_user_namespace() {
    let Some(user) = User::new("one_id_is_no_user_namespace", 0) else { return };
    let said = user.fails(125, "mycontainer run --rm --network none --userns keep-id ./root true");
    assert!(said.contains("no ids are set aside for you") && said.contains("usermod --add-subuids"), "{said}");
}

/// As an OCI runtime: the bundle says what it needs, and one of root's is refused with the reason.
#[test]
fn a_bundle_of_the_users_own() {
    for ids in [IDS, 0] {
        let Some(user) = User::new("a_bundle_of_the_users_own", ids) else { return };
        user.sh(
            "mkdir b; ln -s ../root b/rootfs; mycontainer runtime spec --rootless -b b
             sed -i 's/\"terminal\": true/\"terminal\": false/; s/\"sh\"/\"sh\", \"-c\", \"id -u; hostname; sleep 0.1\"/' b/config.json",
        );
        assert_eq!(user.sh("mycontainer runtime run -b b one"), "0\nmycontainer\n", "{ids} ids");
        user.sh("sed -i 's/sleep 0.1/sleep 1000/' b/config.json
             mycontainer runtime create -b b two > out; mycontainer runtime state two | grep -q created
             mycontainer runtime start two; mycontainer runtime exec two sh -c 'echo joined' | grep -q joined
             mycontainer runtime kill two KILL; mycontainer runtime delete --force two");
        user.sh("mkdir c; ln -s ../root c/rootfs; mycontainer runtime spec -b c");
        user.sh("sed -i 's/\"terminal\": true/\"terminal\": false/' c/config.json");
        let said = user.fails(1, "mycontainer runtime run -b c three");
        assert!(said.contains("who is not root needs a user namespace"), "{said}");
        assert_eq!(user.sh("mycontainer runtime list -q"), "");
    }
}
