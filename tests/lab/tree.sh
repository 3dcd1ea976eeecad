# A root tree of the host's own: the machine's file system below, which nothing writes, and the host's disk above.
# $1 is the lab's directory, $2 the host. All mounts are in the host's own namespace.
disk=$1/hosts/$2/tree
root=$disk/root
is_new=
[ -d "$disk" ] || is_new=yes
mkdir -p "$disk/new" "$disk/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$disk/new,workdir=$disk/work" overlay "$root"

# As after an installation of the machine's packages: without units, logs, keys and homes of its own. An index of all
# pages at each installation, and the most expensive key exchange, would keep a machine busy that is all hosts at once.
if [ "$is_new" ]; then
    units=$root/usr/lib/systemd/system
    rm -rf "$units" "$root/etc/systemd/system" "$root/usr/lib/systemd/system-generators" "$root/var/log" \
        "$root"/etc/ssh/ssh_host_* "$root/usr/sbin/policy-rc.d" "$root/var/lib/man-db/auto-update" \
        "$root/etc/mirror" "$root/usr/local/bin/mirror"
    mkdir "$root/etc/systemd/system" "$root/usr/lib/systemd/system-generators" "$root/var/log"
    cp -r "$1/shared/units" "$units"
    echo "$2" >"$root/etc/hostname"
    echo "KexAlgorithms curve25519-sha256" >"$root/etc/ssh/sshd_config.d/lab.conf"
fi
for place in run tmp var/tmp home; do
    mount -t tmpfs -o mode=755 tmpfs "$root/$place"
done
chmod 1777 "$root/tmp" "$root/var/tmp"
hostname "$2"
mkdir -p "$root/run/lab" "$root/run/disk" "$root/run/sshd" "$root/run/machine"
mount --bind "$1/shared" "$root/run/lab"
mount --bind "$1/hosts/$2" "$root/run/disk"
mount --bind "$1/hosts/$2/root" "$root/root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
cat "$root/proc/sys/kernel/random/uuid" >"$root/run/boot_id"
mount --bind "$root/run/boot_id" "$root/proc/sys/kernel/random/boot_id"

# From here on the machine's own root is out of reach.
cd "$root"
pivot_root . run/machine
umount --lazy /run/machine
rmdir /run/machine
