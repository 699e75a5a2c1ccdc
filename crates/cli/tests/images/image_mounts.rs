//! How an image is mounted, on whatever kernel this is: once for all of its containers, until it is removed.

use crate::fixtures::has;
use crate::fixtures::peers::Peers;

/// In one mount namespace, as on a host: two images, of one layer and of two, and what is mounted of them.
#[test]
fn an_image_is_mounted_once_and_goes_with_it() {
    if !has("an_image_is_mounted_once_and_goes_with_it", &["busybox"]) {
        return;
    }
    let peers = Peers::new();
    peers.sh("mkdir -p root/bin; cp $(command -v busybox) root/bin/busybox; ln -s busybox root/bin/sh
         echo content >root/file; tar -C root -cf root.tar .");
    let script = format!(
        r#"tool={tool}
        # This machine's own are seen, too.
        before=0
        mounts() {{ echo $(($(grep -c ' erofs ' /proc/self/mounts) - before)); }}
        before=$(mounts)
        loops() {{ cat /sys/block/loop*/loop/backing_file 2>/dev/null | grep -c "$PWD" || :; }}
        run() {{ $tool run --rm --network none "$@"; }}
        $tool import root.tar one >/dev/null
        run one sh -c 'cat /file; echo changed >/file; echo more >/more'
        run one sh -c 'cat /file /more'  2>&1 || :
        echo one: $(mounts)
        id=$($tool create one); $tool commit -c 'ENV A=b' $id two >/dev/null
        $tool export $id | tar t | grep -v bin | sort | tr '\n' ' '; echo
        $tool rm $id >/dev/null
        run two sh -c 'cat /file; echo $A'
        echo two: $(mounts)
        MYCONTAINER_LAYERS=directories run two sh -c 'cat /file; echo $A'
        # A container holds what it runs from, whoever removes it.
        mkfifo fifo; (run -i two sh -c 'read line; cat /file; echo $line' <fifo >late) &
        exec 9>fifo; sleep 1
        $tool rmi -f one two >/dev/null 2>&1 && echo removed || echo in use
        echo on >&9; exec 9>&-; wait; cat late
        $tool rmi two >/dev/null
        echo gone: $(mounts) $(loops) $(ls /var/lib/mycontainer/images/mounts | wc -l)
        "#,
        tool = crate::common::tool()
    );
    let said = peers.sh(&script);
    // Without EROFS there is nothing to be mounted.
    let has_erofs = std::fs::read_to_string("/proc/filesystems").is_ok_and(|known| known.contains("\terofs\n"));
    let (one, two) = if has_erofs { (1, 2) } else { (0, 0) };
    let expected = format!(
        "content\ncontent\ncat: can't open '/more': No such file or directory\none: {one}\n\
         dev/ etc/ etc/hostname etc/hosts etc/resolv.conf file proc/ sys/ \ncontent\nb\ntwo: {two}\ncontent\nb\n\
         in use\ncontent\non\ngone: 0 0 0\n"
    );
    assert_eq!(said, expected);
}
