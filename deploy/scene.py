"""`make run`: start the daemon on a simulated host and show it at work in the terminal.

The guests are simulated, the daemon is the real one. After the scene it keeps running; with
RUN_ONCE=1 it ends, with exit status 0 only if every step had its expected result.
"""

import asyncio
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from maxmemd.backend import Backend
from maxmemd.cli import SIMULATED_HOST
from maxmemd.config.settings import Config
from maxmemd.daemon import serve_on
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost

PATIENCE_S = 20.0


@dataclass
class Scene:
    """Runs maxmemctl as a person would, and checks the result of each step."""

    host: SimulatedHost
    socket: Path
    failures: list[str] = field(default_factory=list)

    def play(self) -> None:
        """Play every step."""
        self.say("Some guests are running. maxmemd took their limits over without changing one:")
        self.ctl("list")
        self.say("The operator lets 'web' use 700 MiB at most. Xen's own unit is pages of 4 KiB.")
        self.ctl("mem-max web 700 --reason 'more traffic'")
        self.expect("web", pages=(700 + 1) * 256)
        self.say("web's device model needs 256 KiB for an option ROM: a component of its own.")
        self.ctl("component-increase web device-model/roms 256k")
        self.say("A new limit from the operator does not wipe it out, as xl and QEMU would:")
        self.ctl("mem-max web 800")
        self.expect("web", pages=(800 + 1) * 256 + 64)
        self.say("Too little is refused, with its numbers, and nothing is changed:")
        self.ctl("mem-max web 100", status=1)
        self.expect("web", pages=(800 + 1) * 256 + 64)
        self.say("Why is the limit what it is?")
        self.ctl("explain web")
        self.say("Another program writes web's maximum, 64 MiB. maxmemd notices, and sets it back:")
        self.host.foreign_write(self.domid("web"), Memory.of_mib(64))
        self.expect("web", pages=(800 + 1) * 256 + 64)
        self.say("The history shows it:")
        self.ctl("history -n 4 web")

    def say(self, text: str) -> None:
        """Print what comes next."""
        print(f"\n# {text}", flush=True)

    def ctl(self, command: str, *, status: int = 0) -> None:
        """Run a command of maxmemctl, and show it with its output."""
        print(f"$ maxmemctl {command}", flush=True)
        arguments = [sys.executable, "-m", "maxmemd.cli", *shlex.split(command)]
        environment = {**os.environ, "MAXMEM_SOCKET": str(self.socket)}
        ended = subprocess.run(
            arguments,
            env=environment,
            check=False,
            timeout=PATIENCE_S,
            stderr=subprocess.PIPE,
            text=True,
        )
        # the scene has said once what maxmemctl says with each command
        sys.stderr.write(ended.stderr.replace(f"maxmemctl: {SIMULATED_HOST}\n", ""))
        if ended.returncode != status:
            self.failures.append(f"{command!r} ended with {ended.returncode} instead of {status}")

    def domid(self, name: str) -> int:
        """Return a guest's domid."""
        xenstore = self.host.xenstore()
        return next(
            fact.domid
            for fact in self.host.hypervisor().domains()
            if xenstore.facts(fact.domid).name == name
        )

    def expect(self, name: str, *, pages: int) -> None:
        """Wait until a guest's maximum in Xen is `pages`, and show it."""
        hypervisor, domid = self.host.hypervisor(), self.domid(name)
        give_up_s = time.monotonic() + PATIENCE_S
        while (held := hypervisor.domain(domid).max_pages) != pages:
            if time.monotonic() > give_up_s:
                self.failures.append(f"Xen holds {held} pages for {name} instead of {pages}")
                return
            time.sleep(0.05)
        print(f"  (Xen holds max_pages = {held} for {name})", flush=True)


def main() -> int:
    """Run the daemon in this thread and the scene in another."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    directory = Path(tempfile.mkdtemp(prefix="maxmemd-"))
    config = Config(
        socket=directory / "maxmemd.sock", database=directory / "ledger.sqlite", poll_s=1.0
    )
    host = SimulatedHost.demo()
    backend = Backend.of_simulated(host, "scene", "the simulated host")
    scene = Scene(host, config.socket)
    thread = threading.Thread(target=_perform, args=(scene, directory), daemon=True)
    thread.start()
    asyncio.run(serve_on(config, lambda: backend))
    return 1 if scene.failures else 0


def _perform(scene: Scene, directory: Path) -> None:
    """Play the scene once the daemon listens; then print how to go on, or end the daemon."""
    print("maxmemd on a SIMULATED host: no Xen and no real guest is touched.", flush=True)
    try:
        _wait_for(scene.socket)
        scene.play()
    except Exception as error:  # noqa: BLE001 - the daemon must end, and the status say so
        scene.failures.append(repr(error))
    for failure in scene.failures:
        print(f"\nFAILED: {failure}", flush=True)
    if os.environ.get("RUN_ONCE"):
        print("\nEvery step had its expected result." if not scene.failures else "", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    command = f"export MAXMEM_SOCKET={scene.socket}"
    print(
        f"\n# The daemon keeps running (Ctrl-C ends it). Talk to it from another terminal:\n"
        f"  {command}\n"
        f"  {Path(sys.executable).parent}/maxmemctl list\n"
        f"  curl --unix-socket {scene.socket} http://maxmemd/v1/domains/web/explain\n"
        f"  curl --unix-socket {scene.socket} http://maxmemd/v1/docs > api.html\n"
        f"# Its ledger is {directory}/ledger.sqlite",
        flush=True,
    )


def _wait_for(socket: Path) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not socket.exists():
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"the daemon did not listen on {socket}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
