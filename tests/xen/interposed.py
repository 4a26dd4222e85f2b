"""xl with the interposing library before it, in dom0; and a witness of hypercalls that set."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.xen.daemon import CHECKOUT
from tests.xen.guests import DIRECTORY, configuration
from tests.xen.rig import Done, Rig

LIBRARY = "/usr/local/lib/maxmemd/libmaxmem-interpose.so"
WITNESS = "/opt/rig/witness.so"
TESTIMONY = "/tmp/witness.log"
BUILD_SIDE = ("gcc", "libc6-dev", "make")


@dataclass
class Xl:
    """`xl` in dom0, with the library (`asks`) or as it is; always watched by the witness."""

    rig: Rig
    asks: bool = True

    def __call__(self, *argv: object, timeout: float = 240) -> Done:
        """Run one xl command to its end, whatever its end."""
        library = f"{LIBRARY}:" if self.asks else ""
        env = {"LD_PRELOAD": f"{library}{WITNESS}", "WITNESS_LOG": TESTIMONY}
        return self.rig.run(["xl", *map(str, argv)], timeout=timeout, env=env)

    def create(self, name: str, extra: str = "", *, paused: bool = False) -> Done:
        """Create a guest of the rig."""
        path = f"{DIRECTORY}/{name}.cfg"
        self.rig.put(path, configuration(name, extra))
        return self("create", *(["-p"] if paused else []), path)

    @property
    def writes(self) -> list[str]:
        """Return who set a maximum by itself since `forget`: "PROGRAM DOMID KIB" each."""
        return self.rig.run(f"cat {TESTIMONY} 2>/dev/null || true").check().stdout.splitlines()

    def forget(self) -> None:
        """Begin a new testimony."""
        self.rig.run(f"rm -f {TESTIMONY}").check()


def install(rig: Rig) -> None:
    """Build the library and the witness on this side, and put them into dom0."""
    if not (shutil.which("gcc") and shutil.which("make")):
        subprocess.run(["apt-get", "install", "-qq", "-y", *BUILD_SIDE], check=True)
    with tempfile.TemporaryDirectory() as place:
        make = ["make", "-s", "-C", str(CHECKOUT / "deploy" / "interpose"), f"OUT={place}"]
        subprocess.run(make, check=True)
        rig.put(LIBRARY, (Path(place) / "libmaxmem-interpose.so").read_bytes(), 0o755)
    rig.put(WITNESS, witness(), 0o755)
    rig.put("/etc/maxmemd/interpose.conf", "when_away = refuse\n")


def witness() -> bytes:
    """Build the witness and return it."""
    with tempfile.TemporaryDirectory() as place:
        built = Path(place) / "witness.so"
        source = CHECKOUT / "tests" / "xen" / "witness.c"
        gcc = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", str(source)]
        subprocess.run([*gcc, "-o", str(built)], check=True)
        return built.read_bytes()
