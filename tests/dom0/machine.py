"""A real Xen under QEMU's software emulation, and the line to the agent in its dom0.

No network, no KVM, no ssh. QEMU is ended by its pid whatever happens. Every wait has a time-out,
and a failure carries the tail of the serial console and of every log that was started in dom0.
"""

import base64
import contextlib
import ctypes
import io
import itertools
import json
import queue
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.dom0.image import Image, build
from tests.dom0.recipe import Release

AGENT = Path(__file__).with_name("agent.py")
BOOT_SECONDS = 1500  # half a minute on an idle machine; Linux 6.12 takes two or three
BOOT_ATTEMPTS = 3  # about one boot in ten hangs: vcpus of the emulated dom0 wait for each other
GRACE_SECONDS = 60  # what the agent may take on top of the time-out that it was told
QEMU = [
    "qemu-system-x86_64",
    "-nodefaults",
    "-display",
    "none",
    "-machine",
    "q35",
    "-accel",
    "tcg,thread=multi",
]
CPU = "qemu64,+svm,+npt"
DOM0_MEM = "1024M,max:1024M"
XEN_OPTIONS = (
    "console=com1 com1=115200,8n1 noreboot=1"
    " loglvl=info guest_loglvl=all"  # what it refuses a guest, and what SeaBIOS says
)
DOM0_OPTIONS = "root=/dev/vda rw console=hvc0 quiet net.ifnames=0 rootflags=noinit_itable"

Answer = dict[str, Any]


class RigError(Exception):
    """The rig could not do it: what, and what the console and the logs said last."""


class Machine:
    """One QEMU with Xen and dom0; `ask` may be called from several threads."""

    def __init__(
        self,
        image: Image | None = None,
        *,
        cpu: str = CPU,
        files: Mapping[str, bytes] | None = None,
        keeps: bool = False,
    ) -> None:
        """Take an image, or build it; `files` appear in dom0's /opt/rig. `with` boots it.

        What is written to the disk is kept over `power_cut` only when it `keeps` it.
        """
        self.image = image or build()
        self.logs: list[str] = []
        self._cpu, self._keeps, self._dom0_mem = cpu, keeps, DOM0_MEM
        self._files = {"agent.py": AGENT.read_bytes(), **(files or {})}
        self._lost = ""
        self._started = time.monotonic()
        self._scratch = tempfile.TemporaryDirectory(prefix="maxmemd-xen-")
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[Answer]] = {}
        self._write_lock = threading.Lock()
        self._qemu: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None

    def __enter__(self) -> Self:
        """Boot."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End QEMU; the image was never written to."""
        self.stop()

    def start(self) -> None:
        """Boot, and return when dom0's agent answers; a boot that hangs is tried again."""
        self._started = time.monotonic()
        for attempt in range(1, BOOT_ATTEMPTS + 1):
            self._power_on()
            try:
                self._await(0, "boot", BOOT_SECONDS)
            except RigError:
                self._power_off()
                if attempt == BOOT_ATTEMPTS:
                    raise
                self.say("dom0 hangs; once more")
            else:
                self.say("dom0 is up")
                return

    def stop(self) -> None:
        """End QEMU by its pid and remove the temporary directory."""
        self._power_off()
        self._scratch.cleanup()

    def power_cut(self, dom0_mem: str = DOM0_MEM) -> None:
        """End QEMU at once, as a power cut would, and boot again with this dom0_mem= of Xen's."""
        self._power_off()
        self._dom0_mem = dom0_mem
        self.start()

    @property
    def release(self) -> Release:
        """The Debian and the Xen that run."""
        return self.image.release

    @property
    def is_on(self) -> bool:
        """Whether QEMU was started, and not ended by us."""
        return self._qemu is not None

    def _power_on(self) -> None:
        self._answers[0] = queue.SimpleQueue()
        scratch = Path(self._scratch.name)
        (scratch / "payload.tar").write_bytes(_tar(self._files))
        with socket.socket(socket.AF_UNIX) as listener, (scratch / "qemu.log").open("wb") as log:
            listener.bind(str(scratch / "agent"))
            listener.listen(1)
            listener.settimeout(30)
            self._qemu = subprocess.Popen(
                self._command(scratch),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509
            )
            self._port, _ = listener.accept()
        (scratch / "agent").unlink()
        threading.Thread(target=self._receive, args=[self._port], daemon=True).start()

    def _power_off(self) -> None:
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
        if self._port is not None:
            self._port.close()
        self._qemu = self._port = None

    def say(self, what: str) -> None:
        """Print a line of progress with the seconds since power-on."""
        print(f"[{time.monotonic() - self._started:4.0f} s] {what}", file=sys.stderr, flush=True)

    def console(self, tail: int = 3000) -> str:
        """Return the end of what Xen and dom0 wrote to the serial console."""
        path = Path(self._scratch.name, "console.log")
        return path.read_bytes()[-tail:].decode(errors="replace") if path.exists() else ""

    def ask(self, verb: str, patience: float, /, **arguments: Any) -> Answer:
        """Send one request to the agent and await its answer; once it fails, all fail at once."""
        if self._lost:
            raise RigError(f"cannot {verb}: dom0 does not answer since {self._lost}")
        number = self._send(verb, arguments)
        try:
            answer = self._await(number, verb, patience + GRACE_SECONDS)
        except RigError:
            self._lost = f"{verb}, {time.monotonic() - self._started:.0f} s after power-on"
            raise
        if "error" in answer:
            raise self.error(f"{verb}: {answer['error']}\n{answer['traceback']}")
        return answer

    def error(self, what: str) -> RigError:
        """Make an exception that carries the tails of the console, QEMU's output and all logs."""
        parts = [what, f"--- console\n{self.console()}"]
        path = Path(self._scratch.name, "qemu.log")
        if path.exists() and path.stat().st_size:
            parts.append(f"--- qemu\n{path.read_text(errors='replace')[-2000:]}")
        return RigError("\n".join(parts + [f"--- {log}\n{self._tail(log)}" for log in self.logs]))

    def _command(self, scratch: Path) -> list[str]:
        image = self.image
        disk = f"file={image.disk},format=raw,if=virtio,snapshot=on"
        if self._keeps:
            disk = f"file={self._overlay(scratch)},format=qcow2,if=virtio"
        modules = f"{image.kernel} {DOM0_OPTIONS},{image.initrd}"
        return [
            *QEMU,
            *("-cpu", self._cpu, "-smp", "2", "-m", "3072"),
            *("-kernel", str(image.hypervisor), "-initrd", modules),
            *("-append", f"{XEN_OPTIONS} dom0_mem={self._dom0_mem}"),
            *("-drive", disk),
            *("-drive", f"file={scratch}/payload.tar,format=raw,if=virtio,readonly=on"),
            *("-serial", f"file:{scratch}/console.log"),
            *("-chardev", f"socket,id=agent,path={scratch}/agent"),
            *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=rig"),
            *("-device", "virtio-rng-pci"),
        ]

    def _overlay(self, scratch: Path) -> Path:
        """Return the file that keeps what dom0 writes; the image itself is never written to."""
        path = scratch / "kept.qcow2"
        if not path.exists():
            backing = ["-F", "raw", "-b", str(self.image.disk)]
            command = ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(path)]
            subprocess.run(command, check=True)
        return path

    def _send(self, verb: str, arguments: Mapping[str, Any]) -> int:
        number = next(self._numbers)
        self._answers[number] = queue.SimpleQueue()
        line = json.dumps({"id": number, "verb": verb, **arguments}).encode() + b"\n"
        with self._write_lock:
            if self._port is None:
                raise RigError(f"cannot {verb}: the rig is not running")
            self._port.sendall(line)
        return number

    def _await(self, number: int, verb: str, timeout: float) -> Answer:
        """Wait for the answer, by short steps so that the death of QEMU is seen at once."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                return self._answers[number].get(timeout=0.5)
            if self._qemu is None or self._qemu.poll() is not None:
                raise self.error(f"{verb}: QEMU has ended")
            if number == 0 and "soft lockup" in self.console():
                raise self.error("boot: dom0 hangs")
        del self._answers[number]
        raise self.error(f"{verb}: no answer from dom0 in {timeout:.0f} s")

    def _receive(self, port: socket.socket) -> None:
        """Hand every answer to its waiting caller, until the port closes."""
        with contextlib.suppress(OSError), port.makefile("rb") as lines:
            for line in lines:
                answer = json.loads(line)
                waiting = self._answers.get(answer["id"])
                if waiting is not None:
                    waiting.put(answer)

    def _tail(self, log: str) -> str:
        try:
            number = self._send("get", {"path": log, "tail": 4000})
            data = self._answers[number].get(timeout=5)["data"]
        except (queue.Empty, KeyError, OSError, RigError):
            return "(cannot be read)"
        return base64.b64decode(data).decode(errors="replace")


def _tar(files: Mapping[str, bytes]) -> bytes:
    """Return a tar of the files: the second disk, which dom0 unpacks to /opt/rig."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _die_with_parent() -> None:
    """Let the kernel end QEMU when this process dies in any way (PR_SET_PDEATHSIG is 1)."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
