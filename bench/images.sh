#!/bin/sh
# Makes the layers of the images that `mycontainer-bench images` moves in DIR, once: images.sh DIR
#
#   debian-1/00.*           one layer: Debian 12 with a compiler, Python, git and systemd
#   debian-12/00.* ... 11.* the same tree in twelve of about the same size
#   busybox-1/00.*          a small tree that runs
#   busybox-60/00.* ...     the same tree in sixty: busybox, and 59 of one file each
#   busybox-root/           that tree as a directory
#
# A layer is `.gzip` and `.zstd`, each with a `.digest`; `.id` is the archive's own digest, `.size` its bytes.
# DIR appears when all of it is there. Remove it to follow the distribution's updates.
set -eu
export LC_ALL=C
dir=$1
if [ -e "$dir" ]; then exit 0; fi
mkdir -p "${dir%/*}"
work=$dir.half
rm -rf --one-file-system "$work"
mkdir "$work"
cd "$work"

digest() {
    printf 'sha256:%s\n' "$(sha256sum | cut -d' ' -f1)"
}

# layer FILE: packs FILE.tar, and removes it.
layer() {
    digest <"$1.tar" >"$1.id"
    wc -c <"$1.tar" >"$1.size"
    gzip -n -6 -c "$1.tar" >"$1.gzip"
    zstd -q -3 -c "$1.tar" >"$1.zstd"
    for kind in gzip zstd; do digest <"$1.$kind" >"$1.$kind.digest"; done
    rm "$1.tar"
}

# split ROOT COUNT DIR: the tree as so many layers of about the same size, in the order of its names. Each of them has
# the directories above its own entries too, as a real image's have.
split() {
    mkdir "$3"
    (cd "$1" && find . -path './dev/*' -prune -o -printf '%s %p\n') | sort -k2 >list
    awk -v count="$2" -v dir="$3" '
        { path = substr($0, length($1) + 2); size = $1 + 512 }
        NR == FNR { all += size; next }
        {
            to = sprintf("%s/%02d.list", dir, int(sum * count / all)); sum += size
            above = ""; n = split(path, names, "/")
            for (i = 1; i < n; i++) {
                above = above (i > 1 ? "/" : "") names[i]
                if (!((to, above) in seen)) { seen[to, above] = 1; print above >to }
            }
            if (!((to, path) in seen)) { seen[to, path] = 1; print path >to }
        }' list list
    for names in "$3"/*.list; do
        tar -C "$1" --no-recursion --numeric-owner --format=gnu -T "$names" -cf "${names%.list}.tar"
        layer "${names%.list}"
        rm "$names"
    done
    rm list
}

keys=/usr/share/keyrings/debian-archive-keyring.gpg
# Mounts of its own: interrupted, mmdebstrap leaves its /proc and /dev mounted.
unshare --mount --propagation private \
    mmdebstrap --quiet --variant=apt --mode=root --format=directory --keyring="$keys" \
    --include=gcc,python3,git,curl,systemd,tzdata bookworm debian http://deb.debian.org/debian
split debian 1 debian-1
split debian 12 debian-12
rm -rf --one-file-system debian

root=busybox-root
mkdir -p $root/bin $root/dev $root/etc $root/proc $root/run $root/sys $root/tmp $root/layers
cp /bin/busybox $root/bin/
for applet in $(/bin/busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
mkdir busybox-60
tar -C $root --numeric-owner -cf busybox-60/00.tar .
layer busybox-60/00
for number in $(seq -w 1 59); do
    echo "$number" >"$root/layers/$number"
    tar -C $root --numeric-owner -cf "busybox-60/$number.tar" "./layers/$number"
    layer "busybox-60/$number"
done
mkdir busybox-1
tar -C $root --numeric-owner -cf busybox-1/00.tar .
layer busybox-1/00
cd /
mv "$work" "$dir"
