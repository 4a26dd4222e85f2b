"""What a test does with the machine: programs, files, xenstore, the daemon, in dom0 of a real Xen.

with Rig() as rig:
    rig.run("xl info").check()
"""

import base64
import inspect
import json
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.dom0.machine import Machine, RigError

VENV = "/opt/maxmemd/venv"
SOCKET = "/run/maxmemd/maxmemd.sock"


@dataclass(frozen=True)
class Done:
    """How a program in dom0 ended; `rc` is None where it ran out of time and was killed."""

    command: str
    rc: int | None
    stdout: str
    stderr: str

    def check(self) -> "Done":
        """Return self, or raise with all that it said."""
        if self.rc != 0:
            raise RigError(f"{self.command}: exit {self.rc}\n{self.stdout}{self.stderr}")
        return self


@dataclass(frozen=True)
class Reply:
    """The daemon's reply to one request."""

    status: int
    headers: Mapping[str, str]
    body: str

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)


class Rig(Machine):
    """A machine with friendly verbs; they may be called from several threads at once.

    `arbitrated` means that maxmemd runs there: then no other program sets a maximum for good.
    """

    arbitrated = False

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 120,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run shell text, or a program with its arguments, to its end."""
        argv = command if isinstance(command, str) else list(command)
        asked = {"argv": argv, "stdin": stdin, "env": dict(env or {}), "timeout": timeout}
        return _done(str(command), self.ask("run", timeout, **asked))

    def pycall(
        self,
        module: str,
        argv: Sequence[str],
        *,
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
        uid: int | None = None,
    ) -> Done:
        """Call `module`'s main() with sys.argv = argv in a fork of the agent: no Python starts."""
        asked = {"module": module, "argv": list(argv), "env": dict(env or {}), "uid": uid}
        answer = self.ask("pycall", timeout, timeout=timeout, **asked)
        return _done(" ".join(argv), answer)

    def call(self, function: Callable[..., Any], *args: Any, timeout: float = 120) -> Any:
        """Run a function (with its imports inside) in a fork in dom0; return its JSON value."""
        source = textwrap.dedent(inspect.getsource(function))
        name = function.__name__
        asked = {"source": source, "name": name, "args": list(args), "timeout": timeout}
        done = _done(name, self.ask("function", timeout, **asked)).check()
        said, _, value = done.stdout.rpartition("\0")
        sys.stderr.write(said + done.stderr)
        return json.loads(value)

    def spawn(
        self,
        argv: Sequence[str],
        log: str,
        *,
        module: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Start a program - or `module`'s main() in a fork of the agent - that lives on."""
        if log not in self.logs:
            self.logs.append(log)
        asked = {"argv": list(argv), "log": log, "module": module, "env": dict(env or {})}
        return int(self.ask("spawn", 30, **asked)["pid"])

    def kill(self, pid: int, number: int = signal.SIGTERM) -> None:
        """Signal a spawned process."""
        self.ask("kill", 10, pid=pid, number=int(number))

    def wait(self, pid: int, timeout: float = 30) -> int:
        """Wait for a spawned process to end and return its exit code (-N: signal N)."""
        return int(self.ask("wait", timeout, pid=pid, timeout=timeout)["rc"])

    def alive(self, pid: int) -> bool:
        """Say whether a spawned process runs."""
        return bool(self.ask("wait", 10, pid=pid, timeout=0)["rc"] is None)

    def put(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Write a file in dom0."""
        raw = data.encode() if isinstance(data, str) else data
        self.ask("put", 60, path=path, data=base64.b64encode(raw).decode(), mode=mode)

    def get(self, path: str, tail: int | None = None) -> bytes:
        """Read a file of dom0, or its last `tail` bytes."""
        return base64.b64decode(self.ask("get", 60, path=path, tail=tail)["data"])

    def http(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        sock: str = SOCKET,
        timeout: float = 30,
        uid: int | None = None,
    ) -> Reply:
        """Send one request to the daemon's Unix socket; a body that is not text is sent as JSON.

        The kernel tells the daemon who asks: root, or the user `uid`.
        """
        sent = dict(headers or {})
        if body is not None and not isinstance(body, str):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        asked = {"method": method, "path": path, "sock": sock, "body": body, "headers": sent}
        if uid is None:
            answer = self.ask("web", timeout, timeout=timeout, **asked)
        else:
            done = self.ask("web_as", timeout, timeout=timeout, uid=uid, **asked)
            answer = json.loads(_done(f"{method} {path}", done).check().stdout)
        return Reply(answer["status"], answer["headers"], answer["body"])

    def preload(self, *modules: str) -> None:
        """Import modules in the agent, once, so that no fork has to."""
        seconds = self.ask("preload", 120, modules=list(modules))["seconds"]
        self.say(f"{', '.join(modules)}: imported in {seconds:.1f} s")

    def domains(self) -> dict[int, dict[str, Any]]:
        """List Xen's domains by domid with Xen's own Python binding: the tests' oracle.

        Keys: domid, uuid, maxmem_kb, mem_kb, hvm, paused, running, blocked, dying, shutdown, ...
        """
        return {row["domid"]: row for row in self.ask("domains", 30)["domains"]}

    def named(self, name: str) -> int | None:
        """Return the domid of the domain with that name, or None."""
        domid: int | None = self.ask("named", 30, name=name)["domid"]
        return domid

    def setmaxmem(self, domid: int, kib: int) -> None:
        """Set a maximum behind the daemon's back (below 2^31 KiB)."""
        self.ask("setmaxmem", 30, domid=domid, kib=kib)

    def xenstore(self, action: str, path: str, value: str | None = None) -> Any:
        """Do read, write, ls or rm in xenstore with Xen's own binding; None: nothing is there."""
        return self.ask("xenstore", 30, action=action, path=path, value=value)["value"]


def _done(command: str, answer: Mapping[str, Any]) -> Done:
    return Done(command, answer["rc"], answer["stdout"], answer["stderr"])
