"""maxmemd in dom0: the wheel of this checkout, installed and running there."""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.dom0.machine import RigError
from tests.dom0.rig import SOCKET, Done, Reply, Rig

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = "/etc/maxmemd/maxmemd.toml"
DATABASE = "/var/lib/maxmemd/ledger.sqlite"
LOG = "/var/log/maxmemd.log"
START_SECONDS = 300
MODULES = ("maxmemd.daemon", "maxmemd.cli", "maxmemd.xen.xencall", "maxmemd.xen.xenstore")


def install(rig: Rig) -> None:
    """Build the wheel of this checkout, install it in dom0, and have the agent import it, once."""
    with tempfile.TemporaryDirectory() as directory:
        build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run([sys.executable, *build, "-w", directory, str(CHECKOUT)], check=True)
        wheel = next(Path(directory).glob("*.whl"))
        rig.put(f"/root/{wheel.name}", wheel.read_bytes())
    offline = ["--no-index", "--no-deps", "--force-reinstall", "-q", f"/root/{wheel.name}"]
    rig.pycall("pip._internal.cli.main", ["pip", "install", *offline], timeout=120).check()
    rig.say(f"{wheel.name} is installed")
    rig.preload(*MODULES)


@dataclass
class Daemon:
    """`maxmemd serve` in dom0, a fork of the agent: it starts without the price of its imports."""

    rig: Rig
    pid: int = 0

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.pid != 0 and self.rig.is_on and self.rig.alive(self.pid)

    @property
    def pusher(self) -> int:
        """Return the pid of the process that pushes to Xen for it: its one child."""
        (child,) = self.rig.run(f"cat /proc/{self.pid}/task/*/children").check().stdout.split()
        return int(child)

    @property
    def log(self) -> str:
        """All that it has logged in this boot."""
        return self.rig.get(LOG).decode(errors="replace")

    def start(self, *arguments: str) -> None:
        """Start it and wait until it is ready."""
        argv = ["maxmemd", "serve", *arguments]
        self.pid = self.rig.spawn(argv, LOG, module="maxmemd.__main__")
        self.rig.arbitrated = True
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.rig.alive(self.pid):
                raise self.rig.error("maxmemd serve: it has ended")
            if self.rig.run(["test", "-S", SOCKET]).rc == 0 and self._healthy():
                self.rig.say("maxmemd is ready")
                return
            time.sleep(0.2)
        raise self.rig.error(f"maxmemd serve: not ready in {START_SECONDS} s")

    def stop(self, number: int = 15) -> int:
        """End it by a signal (SIGTERM) and return its exit code."""
        self.rig.kill(self.pid, number)
        code = self.rig.wait(self.pid)
        self.pid = 0
        self.rig.arbitrated = False
        return code

    def restart(self, number: int = 15) -> None:
        """End it by a signal (9: as a crash does), and start it."""
        self.stop(number)
        self.start()

    def configure(self, text: str) -> None:
        """Restart it with this configuration."""
        self.rig.put(CONFIG, text)
        self.restart()

    def forget(self) -> None:
        """Restart it with an empty ledger."""
        self.stop()
        self.rig.run(f"rm -f {DATABASE}*").check()
        self.start()

    def get(self, path: str, **headers: str) -> Reply:
        """GET a path, such as "/v1/domains/pv1"; If_Match="3" is the header If-Match: 3."""
        return self._send("GET", path, None, headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Reply:
        """PUT, such as "/v1/domains/pv1/limit" with the body {"max_mem_kib": 307200}."""
        return self._send("PUT", path, body, headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        """POST a body to a path."""
        return self._send("POST", path, body, headers)

    def delete(self, path: str, **headers: str) -> Reply:
        """DELETE a path."""
        return self._send("DELETE", path, None, headers)

    def ctl(self, *arguments: object, uid: int | None = None) -> Done:
        """Run maxmemctl, as root or as the user `uid`."""
        argv = ["maxmemctl", *map(str, arguments)]
        return self.rig.pycall("maxmemd.cli", argv, env={"MAXMEM_SOCKET": SOCKET}, uid=uid)

    def _healthy(self) -> bool:
        """Ask; a socket that was left behind, or does not answer yet, is not an error."""
        try:
            return self.get("/v1/health").status == 200
        except RigError:
            return False

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.rig.http(method, path, body, named)
