"""Threads, forks, execs, and what valgrind and the sanitizers say."""

import os
import subprocess

import pytest

from tests.support.outside import Outside
from tests.system.interpose.conftest import Built, amounts, valgrind
from tests.system.interpose.serve import BUILDING, RUNNING
from tests.system.interpose.test_calls import CONFIG, MIB

WEB, BORN = RUNNING[-1], BUILDING[-2]
ROUNDS = [
    ("max", WEB, 700 * MIB),
    ("target", WEB, 300 * MIB, 0, 1),
    ("max", WEB, 10 * MIB),
    ("raw", WEB, 600 * MIB),
    ("raw", 99, MIB),
    ("create", CONFIG),
]


def test_threads_lose_nothing(here: Built, daemon: Outside, web: int) -> None:
    """Sixteen threads that read, modify and write: every increase counts, none reaches Xen."""
    ran = here.run("threads", web, 16, 20, program="qemu-client")
    assert (ran.rc, ran.xen) == (0, [])
    assert amounts(daemon, web)["populated"] == 16 * 20 * 4


def test_threads_without_us_lose_all(plain: Built) -> None:
    """The control: each of them wrote the same sum."""
    ran = plain.run("threads", 1, 16, 20, program="qemu-client", preload=False)
    assert set(ran.xen) == {"setmaxmem 1 132100"}


def test_forks(here: Built, daemon: Outside, web: int) -> None:
    """A child asks, whatever another thread was doing when it was forked."""
    ran = here.run("forks", web, 40, 100, program="qemu-client")
    assert (ran.rc, ran.xen) == (0, [])
    assert amounts(daemon, web)["populated"] == 100 * 4


def test_no_descriptor_is_inherited(here: Built, web: int) -> None:
    """Programs started while other threads ask get no descriptor of ours."""
    ran = here.run("execs", web, 300, 150, here.directory / "descriptors", program="qemu-client")
    assert ran.rc == 0


def test_what_is_exported(plain: Built) -> None:
    """The names that it stands before, and no other."""
    names = subprocess.run(
        ["nm", "-D", "--defined-only", plain.library], text=True, capture_output=True, check=True
    )
    exported = {line.split()[2] for line in names.stdout.splitlines()}
    assert exported == {
        "xc_domain_setmaxmem", "xc_domain_getinfo", "xc_domain_getinfo_single",
        "xc_domain_populate_physmap_exact",
        "libxl_ctx_alloc", "libxl_ctx_free", "libxl_domain_setmaxmem", "libxl_set_memory_target",
        "libxl_domain_create_new", "libxl_domain_create_restore", "chroot", "rmdir",
    }  # fmt: skip
    linked = subprocess.run(
        ["readelf", "-d", plain.library], text=True, capture_output=True, check=True
    )
    needed = [line for line in linked.stdout.splitlines() if "(NEEDED)" in line]
    assert len(needed) == 1
    assert "libc.so.6" in needed[0]


def test_how_it_is_hardened(plain: Built) -> None:
    """As Debian's own libraries, and no variable is read where the caller has fewer rights."""

    def listed(*command: str) -> str:
        argv = [*command, str(plain.library)]
        return subprocess.run(argv, text=True, capture_output=True, check=True).stdout

    imported = {line.split()[-1].split("@")[0] for line in listed("nm", "-D", "-u").splitlines()}
    assert {"__stack_chk_fail", "__vsnprintf_chk", "secure_getenv"} <= imported
    assert not imported & {"getenv", "dlopen", "dlsym", "dlerror", "vsnprintf"}
    segments, dynamic = listed("readelf", "-lW"), listed("readelf", "-dW")
    assert "GNU_RELRO" in segments
    assert "BIND_NOW" in dynamic
    assert "TEXTREL" not in dynamic
    assert not [line for line in segments.splitlines() if "GNU_STACK" in line and "RWE" in line]
    if os.uname().machine == "x86_64":
        assert "endbr64" in listed("objdump", "-d", "-j", ".text", "--no-show-raw-insn")


@pytest.mark.long
def test_valgrind(here: Built, web: int) -> None:
    """No error and no leak of ours, whatever is asked."""
    here.wrapper = valgrind()
    for words in ROUNDS:
        here.run(*words, STUB_DOMID=BORN)
    here.run("populate", web, 1000, program="qemu-client")
    here.run("threads", web, 4, 3, program="qemu-client")


def test_sanitizers(sanitized: Built, daemon: Outside, web: int) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer have nothing to say."""
    sanitized.socket = daemon.socket
    for words in ROUNDS:
        assert "Sanitizer" not in sanitized.run(*words, STUB_DOMID=BORN).stderr
    sanitized.run("populate", web, 1000, program="qemu-client")
    sanitized.run("threads", web, 8, 5, program="qemu-client")
    sanitized.run("forks", web, 5, 10, program="qemu-client")
