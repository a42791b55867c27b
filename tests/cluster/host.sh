#!/bin/bash
# Process 1 of a lab host, in namespaces of its own (tests/cluster/lab.py starts it; one line on stdin says that the
# network is there).   host.sh NAME FOLDER VISIBLE...
#   FOLDER     the host's disk: what it sees as /root, /tmp, /home, /mnt and /run lies in there and survives power cuts
#   VISIBLE    folders of this machine that the host sees at the same place, read only; all else is read only anyway
set -euo pipefail
name=$1 folder=$2
shift 2
private="root tmp home mnt run"
read -r _
mount --make-rprivate /
hostname "$name"
mount --bind "$folder/etc-hosts" /etc/hosts
for visible in "$@"; do
  target=$visible
  for place in $private; do case $visible in /"$place"/*) target=$folder$visible ;; esac; done
  mkdir -p "$target"
  mount --bind "$visible" "$target"
  mount -o remount,bind,ro "$target"
done
mkdir -p "$folder/mnt/shared"
mount --bind "$folder/../../shared" "$folder/mnt/shared"
last=
for place in $private; do
  # The place that the host's disk is in goes last: it takes the disk's own path out of sight.
  case $folder in /"$place"/*) last=$place ;; *) mount --rbind "$folder/$place" "/$place" ;; esac
done
[ -z "$last" ] || mount --rbind "$folder/$last" "/$last"
chmod 1777 /tmp
mount -t tmpfs -o size=1g tmpfs /dev/shm
mount -o remount,bind,ro / 2>/dev/null || true
cd /root
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$(command -v sshd)" -D -e -f /run/lab/sshd_config &
while kill -0 $! 2>/dev/null; do wait $! || true; done # this shell takes care of orphans too
