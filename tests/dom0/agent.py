"""The rig's hand in dom0: one long-lived Python that does what the test side asks, line by line.

Starting a Python costs 0.5 s under emulation and importing the daemon's dependencies 7 s, so code
is run by *forking* this interpreter, with those modules loaded once. Output of children goes to
files, never to pipes: no process ever blocks on the agent. One thread; nothing here waits for long.
"""

import base64
import contextlib
import http.client
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

PORT = "/dev/virtio-ports/rig"
LIBRARIES = Path("/usr/lib")

Answer = dict[str, Any]
Environ = dict[str, str]


class Child:
    """A process: who waits for it, until when, and where its output is."""

    def __init__(self, pid: int, outputs: list[IO[bytes]], deadline: float | None) -> None:
        self.pid, self.outputs, self.deadline = pid, outputs, deadline
        self.pidfd = os.pidfd_open(pid)
        self.waiters: list[int] = []

    def output(self) -> Answer:
        """Return what it has written so far, as text."""
        texts = []
        for file in self.outputs:
            size = os.fstat(file.fileno()).st_size
            texts.append(os.pread(file.fileno(), size, 0).decode(errors="replace"))
        return dict(zip(("stdout", "stderr"), texts, strict=False))


class Agent:
    """The port, the children, and a method `do_VERB` for each thing that can be asked.

    A verb returns its answer, or None and answers later.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.pending: list[bytes] = []
        self.children: dict[int, Child] = {}
        self.ended: dict[int, int] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(port, selectors.EVENT_READ, self.receive)

    def serve(self) -> None:
        """Serve the port until dom0 ends."""
        self.send({"id": 0, "ready": True, "pid": os.getpid()})
        while True:
            for key, _ in self.selector.select(timeout=0.5):
                key.data()
            for child in list(self.children.values()):
                self.expire(child)

    def receive(self) -> None:
        """Take what has come in and do each whole line."""
        chunk = os.read(self.port, 1 << 20)
        if not chunk:
            time.sleep(0.05)  # the other side is away
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self.do(json.loads(b"".join([*self.pending, line])))
            self.pending.clear()
        self.pending.append(rest)

    def do(self, message: dict[str, Any]) -> None:
        """Do one request; whatever goes wrong is the answer."""
        request, verb = message.pop("id"), message.pop("verb")
        try:
            answer = getattr(self, f"do_{verb}")(request, **message)
        except Exception as error:  # noqa: BLE001
            said = f"{type(error).__name__}: {error}"
            answer = {"error": said, "traceback": traceback.format_exc()}
        if answer is not None:
            self.send({"id": request, **answer})

    def send(self, message: Answer) -> None:
        """Write one line, whole."""
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self.port, data) :]

    def do_run(
        self, request: int, *, argv: list[str] | str, timeout: float, stdin: str, env: Environ
    ) -> None:
        """Run a program (a list) or shell text (a string); answer when it has ended."""
        out, err = _outputs()
        with tempfile.TemporaryFile() as source:
            source.write(stdin.encode())
            source.seek(0)
            pid = _program(argv, source, out, err, env)
        self.follow(pid, [out, err], request, timeout)

    def do_pycall(
        self,
        request: int,
        *,
        module: str,
        argv: list[str],
        timeout: float,
        env: Environ,
        uid: int | None,
    ) -> None:
        """Fork and call the module's main() with sys.argv = argv: a console script for cheap."""
        out, err = _outputs()
        pid = _fork(lambda: _script(module, argv), out, err, env, uid)
        self.follow(pid, [out, err], request, timeout)

    def do_function(
        self, request: int, *, source: str, name: str, args: list[Any], timeout: float
    ) -> None:
        """Fork, define a function from its source; its JSON value is the last of stdout."""

        def body() -> None:
            space: dict[str, Any] = {"__name__": "rig_function"}
            exec(compile(source, f"<{name}>", "exec"), space)
            value = space[name](*args)
            sys.stdout.flush()
            os.write(1, b"\0" + json.dumps(value).encode())

        out, err = _outputs()
        self.follow(_fork(body, out, err, {}), [out, err], request, timeout)

    def do_spawn(
        self, _: int, *, argv: list[str], log: str, env: Environ, module: str | None
    ) -> Answer:
        """Start a program, or the module's main() in a fork, that lives on."""
        with Path(log).open("ab") as file, Path(os.devnull).open("rb") as nothing:
            if module is None:
                pid = _program(argv, nothing, file, file, env)
            else:
                pid = _fork(lambda: _script(module, argv), file, file, env)
        self.follow(pid, [], None, None)
        return {"pid": pid}

    def do_wait(self, request: int, *, pid: int, timeout: float) -> Answer | None:
        """Answer when a spawned process has ended; at once for a timeout of 0."""
        if pid in self.ended:
            return {"rc": self.ended[pid]}
        if timeout == 0:
            return {"rc": None}
        self.children[pid].waiters.append(request)
        return None

    def do_kill(self, _: int, *, pid: int, number: int) -> Answer:
        """Send a signal to a spawned process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return {}

    def do_put(self, _: int, *, path: str, data: str, mode: int) -> Answer:
        """Write a file whole."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(data))
        file.chmod(mode)
        return {}

    def do_get(self, _: int, *, path: str, tail: int | None) -> Answer:
        """Read a file, or its last `tail` bytes."""
        with Path(path).open("rb") as file:
            if tail is not None:
                file.seek(max(0, os.fstat(file.fileno()).st_size - tail))
            return {"data": base64.b64encode(file.read()).decode()}

    def do_web(
        self,
        _: int,
        *,
        method: str,
        path: str,
        sock: str,
        body: str | None,
        headers: dict[str, str],
        timeout: float,
    ) -> Answer:
        """Send one HTTP request to a Unix socket."""
        return _web(
            method=method, path=path, sock=sock, body=body, headers=headers, timeout=timeout
        )

    def do_web_as(self, request: int, *, uid: int, timeout: float, **asked: Any) -> None:
        """Send one HTTP request as another user, from a fork; the answer is in stdout."""
        out, err = _outputs()
        pid = _fork(lambda: print(json.dumps(_web(**asked, timeout=timeout))), out, err, {}, uid)
        self.follow(pid, [out, err], request, timeout)

    def do_preload(self, _: int, *, modules: list[str]) -> Answer:
        """Import modules here, once, for every fork to come."""
        started = time.monotonic()
        for module in modules:
            importlib.import_module(module)
        return {"seconds": time.monotonic() - started}

    def do_domains(self, _: int) -> Answer:
        """List Xen's domains with Xen's own binding (not the adapter under test)."""
        rows = _xen("xc").xc().domain_getinfo(0, 1024)
        for info in rows:
            info["uuid"] = str(uuid.UUID(bytes=bytes(info.pop("handle"))))
        return {"domains": rows}

    def do_named(self, _: int, *, name: str) -> Answer:
        """Find the domain of that name; None where there is none."""
        handle = _xen("xs").xs()
        try:
            for domid in handle.ls("", "/local/domain") or []:
                if handle.read("", f"/local/domain/{domid}/name") == name.encode():
                    return {"domid": int(domid)}
        finally:
            handle.close()
        return {"domid": None}

    def do_setmaxmem(self, _: int, *, domid: int, kib: int) -> Answer:
        """Set a maximum without maxmemd, as a foreign tool does (below 2^31 KiB)."""
        _xen("xc").xc().domain_setmaxmem(domid, kib)
        return {}

    def do_xenstore(self, _: int, *, action: str, path: str, value: str | None) -> Answer:
        """Read, write, ls or rm in xenstore with Xen's own binding; None: nothing is there."""
        handle = _xen("xs").xs()
        try:
            found = getattr(handle, action)("", path, *([] if value is None else [value]))
        finally:
            handle.close()
        return {"value": found.decode(errors="replace") if isinstance(found, bytes) else found}

    def follow(
        self, pid: int, outputs: list[IO[bytes]], request: int | None, timeout: float | None
    ) -> None:
        """Watch a process; answer `request` when it ends or has run for `timeout` seconds."""
        child = Child(pid, outputs, None if timeout is None else time.monotonic() + timeout)
        if request is not None:
            child.waiters.append(request)
        self.children[pid] = child
        self.selector.register(child.pidfd, selectors.EVENT_READ, lambda: self.reap(child))

    def reap(self, child: Child) -> None:
        """Collect an ended process and answer the waiting request."""
        self.selector.unregister(child.pidfd)
        os.close(child.pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        del self.children[child.pid]
        self.ended[child.pid] = code
        for request in child.waiters:
            self.send({"id": request, "rc": code, **child.output()})

    def expire(self, child: Child) -> None:
        """Kill a process, and all that it started, when its time is over."""
        if child.deadline is None or time.monotonic() < child.deadline:
            return
        child.deadline = None
        for request in child.waiters:
            self.send({"id": request, "rc": None, **child.output()})
        child.waiters.clear()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def _web(
    *,
    method: str,
    path: str,
    sock: str,
    body: str | None,
    headers: dict[str, str],
    timeout: float,
) -> Answer:
    connection = UnixConnection(sock, timeout)
    try:
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        text = reply.read().decode(errors="replace")
        return {"status": reply.status, "headers": dict(reply.getheaders()), "body": text}
    finally:
        connection.close()


def _outputs() -> tuple[IO[bytes], IO[bytes]]:
    return tempfile.TemporaryFile(), tempfile.TemporaryFile()


def _program(
    argv: list[str] | str, source: IO[bytes], out: IO[bytes], err: IO[bytes], env: Environ
) -> int:
    process = subprocess.Popen(
        argv,
        shell=isinstance(argv, str),
        stdin=source,
        stdout=out,
        stderr=err,
        env={**os.environ, **env},
        start_new_session=True,
    )
    process.returncode = 0  # collected by its pidfd, never by subprocess
    return process.pid


def _script(module: str, argv: list[str]) -> None:
    sys.argv = list(argv)
    sys.exit(importlib.import_module(module).main())


def _fork(
    body: Callable[[], None],
    out: IO[bytes],
    err: IO[bytes],
    env: Environ,
    uid: int | None = None,
) -> int:
    """Fork a child that is like a fresh program: own session, own output, nothing inherited."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.closerange(3, 1024)
        os.environ.update(env)
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        body()
        code = 0
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        if isinstance(leave.code, str):
            print(leave.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _xen(name: str) -> Any:
    site = str(next(LIBRARIES.glob("xen-4.*/lib/python")))
    if site not in sys.path:
        sys.path.append(site)
    return importlib.import_module(f"xen.lowlevel.{name}")


if __name__ == "__main__":
    Agent(os.open(PORT, os.O_RDWR)).serve()
