"""What the dom0 of the rig is made of: its packages, and the scripts that finish it."""

SUITE = "bookworm"
XEN = "4.17"
BUILD_SIDE = ["qemu-system-x86", "qemu-utils", "ipxe-qemu", "seabios", "mmdebstrap", "e2fsprogs"]
BUILD_SIDE_PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mke2fs")
PACKAGES = f"""
    linux-image-amd64 initramfs-tools systemd systemd-sysv dbus udev kmod iproute2
    python3 python3-venv xen-utils-{XEN} xen-utils-common xenstore-utils qemu-system-xen
    busybox-static procps gcc libc6-dev libxen-dev strace libvirt-daemon-system libvirt-clients
    libvirt-daemon-driver-xen
""".split()

# Only what dom0 needs to find its disk: a small initrd unpacks much faster under emulation.
BASE_SCRIPT = """
printf 'MODULES=list\\nCOMPRESS=gzip\\n' > "$1/etc/initramfs-tools/conf.d/rig"
printf 'virtio_pci\\nvirtio_blk\\next4\\n' >> "$1/etc/initramfs-tools/modules"
chroot "$1" update-initramfs -u
"""

# The guest is the dom0 kernel and an initramfs: it balloons, reboots, powers off, and does what is
# typed on its console, so that a test can have something done from inside.
GUEST_SCRIPT = r"""
set -e
cp /boot/vmlinuz-* /opt/guest/vmlinuz
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
