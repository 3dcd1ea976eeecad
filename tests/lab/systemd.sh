# The way of a host's first process to systemd. $1 is the host's control group, as named from the root
# of cgroup2; with a $2 the root tree is the host's own. Whatever of the machine's own systemd might write is
# covered first; all mounts are in the host's own namespace.

# The host's own subtree of control groups, which is to the host what the machine's is to the machine.
mkdir /run/groups
mount -t cgroup2 cgroup2 /run/groups
mkdir "/run/groups/$1/systemd"
# 0 is the process that writes.
echo 0 >"/run/groups/$1/systemd/cgroup.procs"
umount /run/groups
rmdir /run/groups

if [ -z "${2-}" ]; then
    # Its own /etc, kept on its disk, over the machine's, but nothing of the machine's units.
    mkdir -p /run/disk/etc/work /run/disk/etc/units
    mount -t overlay -o lowerdir=/etc,upperdir=/run/disk/etc/new,workdir=/run/disk/etc/work overlay /etc
    mount --bind /run/disk/etc/units /etc/systemd/system
    # Of the units that the distribution ships, those alone that every boot needs.
    mount --bind /run/lab/units /usr/lib/systemd/system
    mount -t overlay -o lowerdir=/run/lab/bin:/usr/local/bin overlay /usr/local/bin
    for place in /usr/lib/systemd/system-generators /var/log /var/tmp; do
        mount -t tmpfs -o mode=755 tmpfs "$place"
    done
    chmod 1777 /var/tmp
fi

# No devices but harmless ones, and no settings of the machine's kernel.
mkdir /run/dev
mount -t tmpfs -o mode=755 tmpfs /run/dev
for device in null zero full random urandom tty; do
    : >"/run/dev/$device"
    mount --bind "/dev/$device" "/run/dev/$device"
done
mkdir /run/dev/shm /run/dev/pts
ln -s /proc/self/fd /run/dev/fd
ln -s pts/ptmx /run/dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs /run/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts /run/dev/pts
# Bound, since where mounts are shared none can be moved.
mount --rbind /run/dev /dev
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys

# By its variable systemd knows that it has no machine to itself.
exec env -i container=lab PATH="$PATH" unshare --cgroup sh -ec '
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec /lib/systemd/systemd --system --unit=multi-user.target
'
