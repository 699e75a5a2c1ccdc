#!/bin/sh
# A machine of a test's own, for callers that are daemons or keep state:
#
#   place.sh NAME DIR                       makes it, and keeps it
#   place.sh enter NAME PID COMMAND...      runs a command inside
#
# Inside are a process tree, mounts, a network and control groups of its own. /run, /var/lib, /dev/shm and DIR are
# empty file systems in memory, and what is written to /etc goes there too; the control groups are all below one, NAME,
# that looks like the root from inside. So whatever a caller leaves, on purpose or not, ends with the place, and the place ends
# when its standard input does: also when the test is killed. What the host then still has (DIR, the groups called
# NAME) is removed here; if this script is killed too, the next one finds them by the dead process in their names.
#
# Says "ready PID": the first process inside, as the host counts.
set -eu

# The mount points of this machine's control groups: one on v2, one each controller on v1.
hierarchies() {
    while read -r _ point type _; do
        case $type in cgroup | cgroup2) echo "$point" ;; esac
    done </proc/self/mounts
}

# The group NAME in each hierarchy, with what a group below it needs.
make_groups() {
    for hierarchy in $(hierarchies); do
        mkdir "$hierarchy/$1"
        if [ -e "$hierarchy/cpuset.cpus" ] && [ -e "$hierarchy/tasks" ]; then
            cat "$hierarchy/cpuset.cpus" >"$hierarchy/$1/cpuset.cpus"
            cat "$hierarchy/cpuset.mems" >"$hierarchy/$1/cpuset.mems"
        fi
    done
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then delegate /sys/fs/cgroup; fi
}

# Every controller of a v2 group to the groups below it. One that this kernel cannot delegate is left out.
delegate() {
    for controller in $(cat "$1/cgroup.controllers"); do
        echo "+$controller" >"$1/cgroup.subtree_control" 2>/dev/null || true
    done
}

# This process goes into a group of each hierarchy. By `tasks` where there is one: that needs no RCU grace period.
join_groups() {
    for hierarchy in $(hierarchies); do
        group=$hierarchy/$1
        if [ -e "$group/tasks" ]; then echo 0 >"$group/tasks"; else echo 0 >"$group/cgroup.procs"; fi
    done
}

# The last processes may need a moment yet to be gone.
remove_groups() {
    for hierarchy in $(hierarchies); do
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            if ! [ -d "$hierarchy/$1" ]; then break; fi
            find "$hierarchy/$1" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
        done
    done
}

# What places whose test is dead, and whose script too, have left: NAME is mctest-WORD-PID-NUMBER.
sweep() {
    for group in $(hierarchies | sed 's,$,/mctest-*,'); do
        pid=${group%-*} pid=${pid##*-}
        if [ -d "$group" ] && ! [ -d "/proc/$pid" ]; then remove_groups "${group##*/}"; fi
    done
}

case $1 in
between)
    # NAME is the root of this namespace now. On v2 a group with groups below it holds no processes itself.
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mkdir "/sys/fs/cgroup/$2/init"
        join_groups "$2/init"
        delegate "/sys/fs/cgroup/$2"
    fi
    exec unshare --pid --fork --kill-child sh "$0" inside "$2" "$3"
    ;;
inside)
    dir=$3
    read -r pid _ </proc/self/stat # The host's count, for this /proc is still the host's.
    mount -t proc -o nosuid,nodev,noexec proc /proc
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        umount /sys/fs/cgroup
        mount -t cgroup2 none /sys/fs/cgroup
    else
        # Mounted anew from inside, each hierarchy shows this place's groups only.
        for hierarchy in $(hierarchies); do
            type=$(findmnt -n -o FSTYPE "$hierarchy")
            options=$(findmnt -n -o FS-OPTIONS "$hierarchy" | sed 's/^r[wo],*//; s/xattr,*//')
            umount "$hierarchy"
            mount -t "$type" ${options:+-o "$options"} none "$hierarchy"
        done
    fi
    mount -t tmpfs -o mode=755 none /run
    mount -t tmpfs -o mode=755 none /var/lib
    mount -t tmpfs -o mode=1777 none /dev/shm
    mount -t tmpfs -o mode=755 none "$dir"
    mkdir -p /run/lock "$dir/etc" "$dir/etc.work" "$dir/tmp"
    chmod 1777 "$dir/tmp" /run/lock
    mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work" none /etc
    ip link set lo up
    echo "ready $pid"
    # Orphans come to this process, and waiting reaps them.
    exec 3<&0
    cat <&3 >/dev/null &
    wait $! || true
    ;;
enter)
    # From outside: who is in the namespace already cannot come into its groups from one that it does not see.
    group=$2 pid=$3
    shift 3
    if [ -e "/sys/fs/cgroup/$group/init" ]; then group=$group/init; fi
    join_groups "$group"
    exec nsenter --target "$pid" --mount --net --pid --cgroup --wd=/ -- "$@"
    ;;
*)
    name=$1 dir=$2
    sweep
    trap 'remove_groups "$name"; rm -rf --one-file-system "$dir"' EXIT
    trap 'exit 143' TERM INT HUP
    make_groups "$name"
    (
        join_groups "$name"
        exec unshare --cgroup --mount --net --propagation private sh "$0" between "$name" "$dir"
    )
    ;;
esac
