# SPDX-License-Identifier: MIT
# A clean tree of Debian, what is done over it, and how it is booted; read by packages. Root.
# shellcheck shell=bash
#
# $work is a folder of ours on a disk; $root is where the tree lies once it was laid over.

# make_tree SUITE FOLDER NAME...: with these packages; what their archive is is known to apt.
make_tree() {
    local suite=$1 folder=$2 mirror
    shift 2
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
    # python3 runs the tests inside; gcc, man and shells are what they try.
    nice debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,python3,gcc,libc6-dev,pkg-config,man-db,bash-completion,zsh,fish \
        "$suite" "$folder.new" "$mirror" >"$work/log" 2>&1 &&
        # Names that have become others by then are apt's matter.
        chroot "$folder.new" env DEBIAN_FRONTEND=noninteractive \
            apt-get --yes --no-install-recommends install "$@" >>"$work/log" 2>&1 &&
        mv "$folder.new" "$folder" && return
    tail -n 5 "$work/log"
    rm -rf --one-file-system "$folder.new"
    return 1
}

# lay_over FOLDER: what is written below $root from now on is forgotten in the end.
lay_over() {
    mkdir "$work/root" "$work/up"
    root=$work/root
    mount -t tmpfs -o size=2G tmpfs "$work/up" && mkdir "$work/up/up" "$work/up/wk" &&
        mount -t overlay overlay -o lowerdir="$1",upperdir="$work/up/up",workdir="$work/up/wk" "$root" &&
        mkdir -p "$root/proc" "$root/out" && mount -t proc proc "$root/proc"
}

take_off() {
    umount -R "$root" 2>/dev/null
    umount "$work/up" 2>/dev/null
}

inside() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# boot SECONDS COMMAND [OPTION OF NSPAWN...]: runs the command as root in the booted tree, and shuts it
# down. What it printed is in $root/out/words, the journal in $root/out/journal. False: it did not end well.
boot() {
    local seconds=$1 command=$2
    shift 2
    rm -f "$root"/out/*
    cat >"$root/etc/systemd/system/TEST.service" <<UNIT
[Unit]
After=multi-user.target moed.socket
Wants=moed.socket
[Service]
Type=oneshot
ExecStart=$command
ExecStopPost=/bin/sh -c 'echo "\$SERVICE_RESULT" >/out/result; journalctl --output=short-monotonic >/out/journal; systemctl --no-block poweroff'
StandardOutput=file:/out/words
StandardError=inherit
TimeoutStartSec=infinity
UNIT
    umount "$root/proc"
    # A private /run, or nspawn takes that of the machine for a disk. Without CAP_SYS_RESOURCE here there
    # is none to hand on, and memory is locked by right.
    timeout -k 5 "$seconds" unshare -m --propagation private bash -c '
        mount -t tmpfs tmpfs /run
        root=$1
        shift
        exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory="$root" --boot --register=no \
            --keep-unit --console=read-only --private-network --link-journal=no --capability=CAP_IPC_LOCK "$@" \
            -- systemd.unit=multi-user.target systemd.wants=TEST.service </dev/null' bash "$root" "$@" >"$work/console" 2>&1
    rm -f "$root/etc/systemd/system/TEST.service"
    for folder in /sys/fs/cgroup/*/payload /sys/fs/cgroup/*/supervisor; do
        [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null
    done
    mount -t proc proc "$root/proc"
    [ "$(cat "$root/out/result" 2>/dev/null)" = success ] && return
    cat "$root/out/journal" "$work/console" "$root/out/words" 2>/dev/null
    return 1
}
