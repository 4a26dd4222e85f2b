"""The library, built with its Makefile; programs that use stub libraries of Xen's names."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.outside import Outside
from tests.support.packages import found, need
from tests.support.process import ROOT
from tests.system.interpose.serve import BUILDING, RUNNING

HERE = Path(__file__).resolve().parent
SOURCES = ROOT / "deploy" / "interpose"
NEEDED = ("gcc", "libc6-dev", "make")


@dataclass(frozen=True)
class Ran:
    """How a program ended: what its call returned, errno, what it said, what reached Xen."""

    rc: int
    errno: int
    stderr: str
    xen: list[str]


@dataclass
class Built:
    """The library and the programs, in one directory."""

    directory: Path
    conf: str = "wait_ms=0\nbusy_ms=0"
    socket: Path = Path("/nonexistent/maxmemd.sock")
    wrapper: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def library(self) -> Path:
        """Return the library's path."""
        return self.directory / "libmaxmem-interpose.so"

    def variables(self, *, preload: bool = True, **environment: object) -> dict[str, str]:
        """Write the configuration and return the environment of a program with the library."""
        log, conf = self.directory / "xen.log", self.directory / "interpose.conf"
        log.write_text("")
        conf.write_text(f"# for a test\nsocket = {self.socket}\n{self.conf}\n")
        variables = {
            **os.environ,
            **self.environment,
            "LD_LIBRARY_PATH": str(self.directory),
            "STUB_LOG": str(log),
            "MAXMEM_INTERPOSE_CONF": str(conf),
            "http_proxy": "http://127.0.0.1:1",
            **{name: str(value) for name, value in environment.items()},
        }
        if preload:
            variables["LD_PRELOAD"] = " ".join(
                filter(None, [variables.get("LD_PRELOAD", ""), str(self.library)])
            )
        variables.pop("MAXMEM_SOCKET", None)
        return variables

    @property
    def xen(self) -> list[str]:
        """Return what has reached Xen since the last program was started."""
        return (self.directory / "xen.log").read_text().splitlines()

    def run(
        self, *words: object, program: str = "client", preload: bool = True, **environment: object
    ) -> Ran:
        """Run a program with the library before its libraries."""
        variables = self.variables(preload=preload, **environment)
        argv = [*self.wrapper, str(self.directory / program), *map(str, words)]
        done = subprocess.run(
            argv, env=variables, text=True, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        said = dict(pair.split("=") for pair in done.stdout.split())
        return Ran(int(said["rc"]), int(said["errno"]), done.stderr, self.xen)


def build(directory: Path, *flags: str) -> Built:
    """Build everything with these flags."""
    need(*NEEDED)
    options = " ".join(["-O1", "-g", *flags])
    _do("make", "-s", "-C", str(SOURCES), f"OUT={directory}", f"CFLAGS={options}")
    shared = [*options.split(), "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-pthread"]
    stub = directory / "libxenlight.so"
    _do("gcc", *shared, "-fPIC", "-shared", str(HERE / "stub.c"), "-o", str(stub))
    client = [str(HERE / "client.c"), "-o", str(directory / "client")]
    _do("gcc", *shared, *client, f"-L{directory}", "-lxenlight")
    locked = [str(HERE / "locked.c"), "-o", str(directory / "qemu-locked")]
    _do("gcc", *shared, *locked, f"-L{directory}", "-lxenlight")
    _build_plugin(directory, shared)
    _do("gcc", "-O1", str(HERE / "descriptors.c"), "-o", str(directory / "descriptors"))
    shutil.copy(directory / "client", directory / "qemu-client")
    shutil.copy(directory / "qemu-locked", directory / "locked")
    return Built(directory)


def _build_plugin(directory: Path, shared: list[str]) -> None:
    """Build a plugin that uses Xen's libraries, its program that has none, and what both load."""
    library = ["gcc", *shared, "-fPIC", "-shared"]
    sources = [str(HERE / "plugin.c"), str(HERE / "stress.c")]
    _do(*library, *sources, "-o", str(directory / "plugin.so"), f"-L{directory}", "-lxenlight")
    _do(*library, str(HERE / "passing.c"), "-o", str(directory / "passing.so"))
    constructor = ["-o", str(directory / "constructor.so"), str(directory / "plugin.so")]
    _do(*library, str(HERE / "constructor.c"), *constructor)
    _do("gcc", *shared, str(HERE / "loader.c"), "-o", str(directory / "loader"))


def _do(*command: str) -> None:
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Give the library and the programs, once built; no daemon runs for them."""
    return build(tmp_path_factory.mktemp("interpose"))


@pytest.fixture(scope="session")
def _sanitized(tmp_path_factory: pytest.TempPathFactory) -> Built:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return build(tmp_path_factory.mktemp("sanitized"), *flags)


@pytest.fixture
def sanitized(_sanitized: Built) -> Built:
    """Give a build that watches itself; no daemon runs for it."""
    return Built(_sanitized.directory, environment={"LD_PRELOAD": _runtime("libasan.so")})


@pytest.fixture(scope="session")
def _thread_sanitized(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("threads"), "-fsanitize=thread")


@pytest.fixture
def thread_sanitized(_thread_sanitized: Built) -> Built:
    """Give a build that watches its threads; no daemon runs for it."""
    return Built(_thread_sanitized.directory, environment={"LD_PRELOAD": _runtime("libtsan.so")})


def _runtime(library: str) -> str:
    """Return the path of a sanitizer's library, which has to be the first one."""
    found = ["gcc", f"-print-file-name={library}"]
    return subprocess.run(found, text=True, capture_output=True, check=True).stdout.strip()


def valgrind() -> tuple[str, ...]:
    """Return what stands before a program that is watched for errors and leaks."""
    need("valgrind")
    kinds = "--errors-for-leak-kinds=definite"
    return str(found("valgrind")), "-q", "--error-exitcode=9", "--leak-check=full", kinds


@pytest.fixture
def away(plain: Built) -> Built:
    """Give the library where no daemon is."""
    return Built(plain.directory)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """Give a daemon on a host with running guests and newborns, one for all tests."""
    with Outside(tmp_path_factory.mktemp("served"), "tests.system.interpose.serve", ()) as outside:
        yield outside


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Outside]:
    """Give a daemon that a test may stop."""
    with Outside(tmp_path, "tests.system.interpose.serve", ()) as outside:
        yield outside


_running, _newborn = iter(RUNNING), iter(BUILDING)


@pytest.fixture
def web() -> int:
    """Give the domid of a running guest that no other test has touched: 512 MiB of 1024."""
    return next(_running)


@pytest.fixture
def born() -> int:
    """Give the domid of a domain without a maximum that no other test has touched."""
    return next(_newborn)


@pytest.fixture
def two() -> tuple[int, int]:
    """Give two of those."""
    return next(_newborn), next(_newborn)


@pytest.fixture
def here(plain: Built, daemon: Outside) -> Built:
    """Give the library with that daemon."""
    return Built(plain.directory, socket=daemon.socket)


def amounts(daemon: Outside, domid: int) -> dict[str, int]:
    """Return a domain's components in KiB, by name."""
    _, body = daemon.ask("GET", f"/v1/domains/{domid}")
    return {part["name"]: part["amount_kib"] for part in body["components"]}


def max_kib(daemon: Outside, domid: int) -> int:
    """Return what Xen holds."""
    _, body = daemon.ask("GET", f"/v1/domains/{domid}")
    return int(body["xen"]["max_pages"]) * 4
