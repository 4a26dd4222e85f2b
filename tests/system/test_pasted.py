"""What docs/recovery.md and docs/access.md say to paste is pasted where they say so.

The pages' own paths are taken for those of a daemon on a simulated host that outlives it. What an
emulated dom0 has and this machine may not (systemd's unit, xenstore's tools) is a script.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maxmemd.ledger.backup import backup
from maxmemd.ledger.reader import LedgerReader
from tests.support.certificates import needs_openssl
from tests.support.elsewhere import Elsewhere, elsewhere
from tests.support.process import ROOT
from tests.support.stand import Stand

DOCS, BIN = ROOT / "docs", Path(sys.executable).parent
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)

SYSTEMCTL = """\
case "$1" in
  show) cat {home}/pid; exit;;
  status) exit;;
esac
if [ "$1" != start ]; then kill $(cat {home}/pid); tail --pid=$(cat {home}/pid) -f /dev/null; fi
if [ "$1" != stop ]; then
  drift=$({python} -c 'import tomllib, sys
print(tomllib.load(open(sys.argv[1], "rb")).get("drift", "restore"))' {home}/etc/maxmemd.toml)
  cd {root}
  {python} -m tests.support.serve {host} {socket} {home}/lib/ledger.sqlite --drift $drift \\
    >> {home}/log 2>&1 < /dev/null &
  echo $! > {home}/pid
  for try in $(seq 600); do maxmemctl health > /dev/null 2>&1 && exit; sleep 0.1; done
  exit 1
fi
"""
INSTALL = """\
# without the service's user, whom the package makes
words=(); for word in "$@"; do case "$word" in -o|-g|maxmemd) ;; *) words+=("$word");; esac; done
exec /usr/bin/install "${{words[@]}}"
"""
SCRIPTS = {
    "systemctl": SYSTEMCTL,
    "install": INSTALL,
    "maxmemctl": 'exec {bin}/maxmemctl "$@"\n',
    "maxmemd": """case "$*" in
  *--database*) ;;
  *) set -- "$@" --database {home}/lib/ledger.sqlite;;
esac
exec {bin}/maxmemd "$@" --hypervisor simulated
""",
    "journalctl": "tail -n 50 {home}/log\n",
    "xenstore-ls": "echo name = Domain-0\n",
    "dmesg": "echo 'nvme0: I/O error'\n",
    "fuser": "test -e $2\n",
    "sqlite3": """exec {python} -c 'import sqlite3, sys
for row in sqlite3.connect(sys.argv[1], uri=True).execute(sys.argv[2]): print(row)' "$@"\n""",
}


class Dom0:
    """A folder for the pages' paths, a shell with its scripts, and the daemon that they start."""

    def __init__(self, home: Path, stand: Stand) -> None:
        self.home, self.stand = home, stand
        for name in ("lib", "backups", "etc", "bin"):
            (home / name).mkdir()
        shutil.copy(ROOT / "deploy" / "maxmemd.toml", home / "etc")
        known = {
            "home": home, "python": sys.executable, "bin": BIN, "root": ROOT,
            "host": stand.host.path, "socket": stand.socket,
        }  # fmt: skip
        for name, text in SCRIPTS.items():
            script = home / "bin" / name
            script.write_text("#!/bin/bash\n" + text.format(**known))
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
        self.paths = {
            "/var/lib/maxmemd": home / "lib", "/var/backups": home / "backups",
            "/etc/maxmemd": home / "etc", "/run/maxmemd/maxmemd.sock": stand.socket,
        }  # fmt: skip

    def paste(self, block: str) -> str:
        """Run a block in a shell that ends with the first command that fails; return its output."""
        for path, ours in self.paths.items():
            block = block.replace(path, str(ours))
        block = re.sub(r"\bDOMAIN\b", "guest-0", block)
        environment = {
            **os.environ, "MAXMEM_SOCKET": str(self.stand.socket),
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
        }  # fmt: skip
        ran = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", block], env=environment, cwd="/", check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip
        assert ran.returncode == 0, f"{block}\n{ran.stdout}"
        return ran.stdout

    @property
    def ledger(self) -> Path:
        """The ledger."""
        return self.home / "lib" / "ledger.sqlite"

    def maxima(self) -> list[int]:
        """Return what Xen holds."""
        return [fact.max_pages for fact in self.stand.facts()]

    def wish(self, mib: int) -> None:
        """Let a client decide."""
        assert "guest-0" in self.paste(f"maxmemctl component-set guest-0 device-model/rom {mib}m")

    def copy_to(self, name: str) -> None:
        """Have a backup there, older than what was decided last."""
        target = self.home / name
        target.unlink(missing_ok=True)
        backup(self.ledger, target)
        self.wish(self.paste("maxmemctl history -n 100 guest-0").count("\n"))


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    """Give it with the daemon running."""
    with Stand(2) as stand:
        found = Dom0(tmp_path, stand)
        try:
            start(found)
            yield found
        finally:
            stop_without_backup(found)


def stop(dom0: Dom0) -> None:
    """Stop the daemon, for blocks that begin after that."""
    dom0.copy_to("backups/maxmemd.sqlite")
    dom0.paste("systemctl stop maxmemd")


def stop_without_backup(dom0: Dom0) -> None:
    """Stop the daemon."""
    dom0.paste("systemctl stop maxmemd")


def start(dom0: Dom0) -> None:
    """Start the daemon."""
    dom0.paste("systemctl start maxmemd")


RECOVERY: dict[str, tuple[Callable[[Dom0], object] | None, Callable[[Dom0], object] | None, str]]
RECOVERY = {
    "maxmemctl health": (None, None, "ready"),
    "df -h": (None, None, "ledger.sqlite"),
    "maxmemd verify\n": (None, None, "are as they were written"),
    "fuser -v": (None, None, ""),
    "sqlite3 'file:": (None, None, "instance-began"),
    "dmesg -T": (None, None, "I/O error"),
    "ls -ld": (None, None, "ledger.sqlite"),
    "systemctl stop maxmemd\ncp -a": (None, start, ""),
    "cd /var/lib/maxmemd\nrm -f ledger.sqlite-wal": (stop, None, "Domain-0"),
    "cd /var/lib/maxmemd\nrm -f ledger.sqlite ": (stop_without_backup, None, ""),
    "maxmemd verify --database": (None, None, "are as they were written"),
    "maxmemd backup": (lambda dom0: (dom0.home / "backups/maxmemd.sqlite").unlink(), None, ""),
    "systemctl stop maxmemd\ncd": (
        lambda dom0: dom0.copy_to("lib/ledger.sqlite.before-REVISION-at-REVISION"), None, "before",
    ),
    "maxmemctl list &&": (None, None, "in force"),
    "systemctl status xenstored": (None, None, "name = Domain-0"),
    "for t in /proc/": (None, None, "python"),
}  # fmt: skip
"""How each block of docs/recovery.md begins: what comes before, what after, and what is printed."""


GOES_BACK = "systemctl stop maxmemd\ncd"
"""What was decided later is lost by it, the page says."""


def blocks(page: str) -> list[str]:
    """Return what a page says to paste."""
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


@pytest.mark.long
def test_the_page_on_recovery_does_what_it_says(dom0: Dom0) -> None:
    """From its top to its end: Xen's maxima stay, and the daemon is ready after each block."""
    found = blocks("recovery.md")
    names = [next(name for name in RECOVERY if block.startswith(name)) for block in found]
    assert names == list(RECOVERY)
    settings = (dom0.home / "etc/maxmemd.toml").read_bytes()
    dom0.wish(1)
    for name, block in zip(names, found, strict=True):
        before, after, printed = RECOVERY[name]
        if before is not None:
            before(dom0)
        maxima = dom0.maxima()
        assert printed in dom0.paste(block), block
        assert (dom0.maxima() == maxima) is (name != GOES_BACK), block
        if after is not None:
            after(dom0)
        assert dom0.paste("maxmemctl health").startswith("maxmemctl: this host is simulated")
        assert (dom0.home / "etc/maxmemd.toml").read_bytes() == settings, block
        assert LedgerReader(dom0.ledger).check() > 0
        private = {path.stat().st_mode & 0o077 for path in (dom0.home / "lib").iterdir()}
        assert private == {0}, block


@needs_openssl
def test_the_page_on_access_does_what_it_says(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each command in its order, those of root where the daemon is and the others over TCP."""
    root = tmp_path_factory.mktemp("root")
    with elsewhere(tmp_path) as far:
        (root / "me.pem").write_bytes((far.folder / "watcher.pem").read_bytes())
        (root / "ca.pem").write_bytes((far.folder / "ca.crt").read_bytes())
        [block] = blocks("access.md")
        printed = _paste_console(block, far, root)
    assert [line.split()[:2] for line in printed["maxmemctl token list"][1:]] == [
        ["auditor", "observer"], ["backup", "observer"],
    ]  # fmt: skip
    over_tcp = [lines for command, lines in printed.items() if "--url" in command]
    assert len(over_tcp) == 2
    assert all(lines[1].startswith("Domain-0 ") for lines in over_tcp)


def _paste_console(block: str, far: Elsewhere, root: Path) -> dict[str, list[str]]:
    """Run each line that has a prompt; return the lines that it printed on stdout."""
    environment: dict[str, Any] = {
        **os.environ, "MAXMEM_SOCKET": str(far.daemon.socket),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "SSL_CERT_FILE": str(root / "ca.pem"),  # the page's host has a certificate that all trust
    }  # fmt: skip
    printed = {}
    for command in re.findall(r"^[#$] (.*)$", block, re.MULTILINE):
        ours = command.replace("https://dom0.example.org:8443", far.url)
        ours = ours.replace("/root/", f"{root}/")
        ran = subprocess.run(
            ["bash", "-c", ours], env=environment, cwd=root, check=False, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"
        printed[command] = ran.stdout.splitlines()
    return printed
