"""What the dom0 of the rig is made of, for each Debian release that it may run.

`XEN=4.17` in the environment chooses the release; without it DEFAULT is taken.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

BUILD_SIDE = ["qemu-system-x86", "qemu-utils", "ipxe-qemu", "seabios", "mmdebstrap", "e2fsprogs"]
BUILD_SIDE_PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mke2fs")
PACKAGES = [
    "linux-image-amd64",
    "initramfs-tools",
    "cpio",
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "iproute2",
    "python3",
    "python3-venv",
    "xen-utils-common",
    "xenstore-utils",
    "qemu-system-xen",
    "busybox-static",
    "procps",
    "gcc",
    "libc6-dev",
    "libxen-dev",
    "strace",
    "libvirt-daemon-system",
    "libvirt-clients",
    "libvirt-daemon-driver-xen",
]
GUEST_SUITE, GUEST_PACKAGE = "bookworm", "linux-image-amd64"
"""The Linux of all guests is 6.1, of Debian 12: as a PVH guest 6.12, of Debian 13, dies of a triple
fault under emulation when it is suspended, so it can be neither saved nor migrated."""


@dataclass(frozen=True)
class Release:
    """A Debian release as dom0, and what is known of its Xen.

    `python` is the version of its python3, `domctl` and `sysctl` are Xen's interface versions.
    `cannot` has what does not run on it: the beginning of a test's id, and why.
    """

    xen: str
    debian: int
    suite: str
    python: str
    domctl: int
    sysctl: int
    cannot: Mapping[str, str] = field(default_factory=dict)

    @property
    def packages(self) -> list[str]:
        """Return the packages of dom0, the hypervisor's among them."""
        return [*PACKAGES, f"xen-utils-{self.xen}", f"xen-hypervisor-{self.xen}-amd64"]

    def why_not(self, test: str) -> str | None:
        """Return why a test, such as `test_virsh.py::test_libvirt_asks`, cannot run on it."""
        return next((why for start, why in self.cannot.items() if test.startswith(start)), None)


RELEASES = {
    release.xen: release
    for release in (
        Release("4.17", 12, "bookworm", python="3.11", domctl=0x15, sysctl=0x15),
        Release("4.20", 13, "trixie", python="3.13", domctl=0x17, sysctl=0x15),
    )
}
DEFAULT = "4.17"


def chosen() -> Release:
    """Return the release that the environment's XEN names; exit 2 where there is none."""
    xen = os.environ.get("XEN") or DEFAULT
    if xen not in RELEASES:
        raise SystemExit(f"cannot take XEN={xen}: there is {' and '.join(RELEASES)}")
    return RELEASES[xen]


# Only what dom0 needs to find its disk: a small initrd unpacks much faster under emulation, and is
# made much faster, by each of the packages that want it made.
EARLY_SCRIPT = """
mkdir -p "$1/etc/initramfs-tools/conf.d"
printf 'MODULES=list\\nCOMPRESS=gzip\\n' > "$1/etc/initramfs-tools/conf.d/rig"
"""
BASE_SCRIPT = """
printf 'virtio_pci\\nvirtio_blk\\next4\\n' >> "$1/etc/initramfs-tools/modules"
chroot "$1" update-initramfs -u
"""

# A guest is a kernel and this initramfs: it balloons, reboots, powers off, and does what is
# typed on its console, so that a test can have something done from inside.
GUEST_SCRIPT = r"""
set -e
cd "$(mktemp -d)"
mkdir -p bin sbin proc sys dev
cp /bin/busybox bin/busybox
ln -s busybox bin/sh
printf '#!/bin/sh\nexec /bin/busybox poweroff -f\n' > sbin/poweroff
printf '#!/bin/sh\nexec /bin/busybox reboot -f\n' > sbin/reboot
cat > init <<'END'
#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
while :; do
  read -r words </dev/hvc0 && $words || /bin/busybox sleep 1
done
END
chmod 755 init sbin/poweroff sbin/reboot
find . | cpio --quiet -o -H newc | gzip -1 > /opt/guest/initrd
"""

# The serial getty's vhangup kills whatever else writes to hvc0; nothing here may start by itself.
DOM0_SCRIPT = r"""
set -e
systemctl -q mask serial-getty@hvc0.service getty.target getty@tty1.service apt-daily.timer \
  apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer xendomains.service \
  e2scrub_reap.service systemd-logind.service systemd-timesyncd.service \
  systemd-networkd-wait-online.service libvirt-guests.service
systemctl -q disable libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket \
  virtlockd.socket virtlogd.socket 2>/dev/null || true
systemctl -q enable rig-agent.service
"""

AGENT_UNIT = """[Unit]
Description=Agent of the test rig
After=xen.service
Wants=xen.service
[Service]
ExecStartPre=/bin/mkdir -p /opt/rig
ExecStartPre=/bin/tar -xf /dev/vdb -C /opt/rig
ExecStart=/opt/maxmemd/venv/bin/python -u /opt/rig/agent.py
StandardError=file:/var/log/rig-agent.log
KillMode=process
LimitNOFILE=65536
[Install]
WantedBy=multi-user.target
"""
