#!/bin/sh
# Install or remove the interposing library: install.sh install | remove; as a package's command it
# is called maxmemd-interpose.
# Builds it where need be: a library that lies beside this script already (a dom0 without a
# compiler) is taken as it is, unless make and its sources are there and one is newer. DESTDIR puts
# everything below another root, for packages and tests.
set -eu

name=${0##*/}
here=$(dirname "$(readlink -f "$0")")
root=${DESTDIR:-}
library=/usr/local/lib/maxmemd/libmaxmem-interpose.so
conf=/etc/maxmemd/interpose.conf
wrapper=/usr/local/sbin/xl
units="libvirtd virtxend xendomains xencommons xen"
mark="# Written by maxmemd's install.sh; install.sh remove takes it away."

dropin() {
    echo "$root/etc/systemd/system/$1.service.d/maxmemd-interpose.conf"
}

is_foreign() { # a file that is there, and not ours
    [ -e "$1" ] && ! grep -qF "$mark" "$1"
}

reload() {
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
}

install_all() {
    if is_foreign "$root$wrapper"; then
        echo "cannot install: $root$wrapper was not installed by maxmemd; move it away first" >&2
        exit 1
    fi
    if [ -e "$here/Makefile" ] && command -v make >/dev/null; then
        make -s -C "$here"
    elif [ ! -e "$here/libmaxmem-interpose.so" ]; then
        echo "cannot install: there is no make to build the library with, and none built lies in $here" >&2
        exit 1
    fi
    install -D -m 0755 "$here/libmaxmem-interpose.so" "$root$library.new"
    mv "$root$library.new" "$root$library" # a running program keeps the old one
    [ -e "$root$conf" ] || install -D -m 0644 "$here/interpose.conf" "$root$conf"

    mkdir -p "$root$(dirname $wrapper)"
    cat >"$root$wrapper.new" <<EOF
#!/bin/sh
$mark
LD_PRELOAD="$library\${LD_PRELOAD:+:\$LD_PRELOAD}" exec /usr/sbin/xl "\$@"
EOF
    chmod 0755 "$root$wrapper.new"
    mv "$root$wrapper.new" "$root$wrapper"
    for unit in $units; do
        mkdir -p "$(dirname "$(dropin "$unit")")"
        printf '%s\n[Service]\nEnvironment=LD_PRELOAD=%s\n' "$mark" "$library" >"$(dropin "$unit")"
    done
    reload
    echo "installed $library; new xl and new guests go through maxmemd"
    echo "restart libvirtd (or virtxend) if you use it; maxmemctl doctor finds who does not ask"
}

remove_all() {
    if [ -e "$root$wrapper" ] && ! is_foreign "$root$wrapper"; then rm "$root$wrapper"; fi
    for unit in $units; do
        rm -f "$(dropin "$unit")"
        rmdir --ignore-fail-on-non-empty "$(dirname "$(dropin "$unit")")" 2>/dev/null || true
    done
    rm -f "$root$library" "$root"/run/xen/qemu-root-*/maxmemd.sock # libxl wants them empty
    rmdir --ignore-fail-on-non-empty "$root$(dirname $library)" 2>/dev/null || true
    reload
    echo "removed; programs that run keep asking until they are restarted ($conf stays)"
}

case "${1:-}" in
install) install_all ;;
remove) remove_all ;;
*)
    echo "usage: $name install | remove" >&2
    exit 2
    ;;
esac
