"""Each interposed call: what is asked, what its caller gets, and that Xen is not told."""

import json
import time
from errno import ECONNREFUSED, EPERM, ESRCH
from signal import SIGCONT, SIGSTOP

import pytest

from tests.support.outside import Outside
from tests.system.interpose.conftest import Built, amounts, max_kib
from tests.system.interpose.serve import BUILDING

MIB = 1024
CONFIG = json.dumps(
    {
        "c_info": {"name": 'a "target_memkb": 7'},
        "b_info": {"max_memkb": 262144, "target_memkb": 131072},
    },
    separators=(",", ":"),
)


def test_mem_max(here: Built, daemon: Outside, web: int) -> None:
    """libxl_domain_setmaxmem is mem-max, with any constant of this libxl."""
    for slack in (1024, 2048):
        ran = here.run("max", web, 700 * MIB, STUB_SLACK=slack)
        assert (ran.rc, ran.xen, ran.stderr) == (0, [], "")
        assert max_kib(daemon, web) == 701 * MIB
    _, body = daemon.ask("GET", f"/v1/domains/{web}")
    assert body["static_max_kib"] == 700 * MIB


def test_mem_set(here: Built, daemon: Outside, web: int) -> None:
    """libxl_set_memory_target is mem-set: absolute and relative, enforced and not."""
    assert here.run("target", web, 300 * MIB, 0, 1).rc == 0
    assert max_kib(daemon, web) == 301 * MIB
    assert here.run("target", web, -44 * MIB & (2**64 - 1), 1, 0).rc == 0
    _, body = daemon.ask("GET", f"/v1/domains/{web}")
    assert (body["target_kib"], max_kib(daemon, web)) == (256 * MIB, 301 * MIB)


def test_refusals_are_libxls(here: Built, web: int) -> None:
    """A refusal has libxl's number and libxl's words, by the program's own logger."""
    low = here.run("max", web, 10 * MIB)
    assert (low.rc, low.xen) == (1, [])
    assert low.stderr.startswith(
        "libxl by the logger: level 8: libmaxmem-interpose:libxl_domain_setmaxmem: Domain "
    )
    assert f"Domain {web}:memory_static_max must be greater than or or equal to" in low.stderr
    high = here.run("target", web, 9999 * MIB, 0, 1)
    assert high.rc == -6
    assert "memory_dynamic_max must be less than or equal to memory_static_max" in high.stderr
    assert "libmaxmem-interpose:libxl_set_memory_target: " in high.stderr
    starved = here.run("target", 0, MIB, 0, 1)
    assert starved.rc == -6
    assert "New target 1024 for dom0 is below the minimum threshold" in starved.stderr
    for verb in (("max", 99, MIB), ("target", 99, MIB, 0, 1)):
        assert here.run(*verb).rc == -15
    absurd = here.run("max", web, 2**64 - 1024)
    assert (absurd.rc, absurd.xen) == (-1, [])


@pytest.mark.parametrize("slack", [1024, 2048, 4096])
def test_creation(here: Built, daemon: Outside, slack: int, born: int) -> None:
    """libxl_domain_create_new announces the build, and populates once the maximum is in force."""
    ran = here.run("create", CONFIG, STUB_SLACK=slack, STUB_DOMID=born)
    assert (ran.rc, ran.xen) == (0, [f"populate {born} 32768"])
    assert amounts(daemon, born) == {"max-mem": 128 * MIB, "slack": MIB}
    assert max_kib(daemon, born) == 129 * MIB
    _, body = daemon.ask("GET", f"/v1/domains/{born}/history")
    wish = next(line["wish"] for line in body["entries"] if line["kind"] == "build-announced")
    assert wish == {"target_kib": 131072, "life": "created", "static_max_kib": 262144}


def test_creation_by_default(here: Built, daemon: Outside, born: int) -> None:
    """Where the configuration has no target libxl's sum says it."""
    assert here.run("create", "{}", STUB_DOMID=born).rc == 0
    assert amounts(daemon, born) == {"max-mem": 32 * MIB, "slack": MIB}


def test_a_stub_domain_beside_the_guest(here: Built, daemon: Outside, born: int) -> None:
    """The second domain of one creation has its own numbers."""
    assert here.run("create", CONFIG, STUB_STUBDOM=BUILDING[-1], STUB_DOMID=born).rc == 0
    assert amounts(daemon, born)["max-mem"] == 128 * MIB
    assert amounts(daemon, BUILDING[-1]) == {"max-mem": 28 * MIB, "slack": MIB}


@pytest.mark.parametrize(("stream", "life"), [("file", "restored"), ("/dev/null", "migrated-in")])
def test_restore(here: Built, daemon: Outside, stream: str, life: str, born: int) -> None:
    """A stream from a file is a restore; any other migrates in."""
    (here.directory / "file").write_text("")
    assert here.run("restore", CONFIG, here.directory / stream, STUB_DOMID=born).rc == 0
    _, body = daemon.ask("GET", f"/v1/domains/{born}/history")
    assert [
        line["wish"]["life"] for line in body["entries"] if line["kind"] == "build-announced"
    ] == [life]


def test_a_refused_build(here: Built) -> None:
    """The toolstack hears why, as an errno, and gives the creation up: no page was populated."""
    ran = here.run("create", CONFIG, STUB_DOMID=99)
    assert (ran.rc, ran.errno, ran.xen) == (-3, ESRCH, [])
    assert "maxmemd: refused a maximum of 132096 KiB for domain 99: cannot find" in ran.stderr


def test_libxenctrl_alone(here: Built, daemon: Outside, web: int, born: int) -> None:
    """A bare sum is the operator's limit plus libxl's constant; no target and no node matter."""
    for kib in (700 * MIB, 100 * MIB):
        assert here.run("raw", web, kib).rc == 0
        assert max_kib(daemon, web) == kib
        assert amounts(daemon, web) == {"max-mem": kib - MIB, "slack": MIB}
    _, body = daemon.ask("GET", f"/v1/domains/{web}")
    assert body["static_max_kib"] == 1024 * MIB
    assert here.run("raw", web, 2**64 - 1).rc == 0
    assert max_kib(daemon, web) == 0xFFFFFFFF * 4
    gone = here.run("raw", 99, MIB)
    assert (gone.rc, gone.errno) == (-1, ESRCH)
    assert here.run("raw", born, 129 * MIB).rc == 0
    assert max_kib(daemon, born) == 129 * MIB


def test_a_device_model_gets_headroom(here: Built, daemon: Outside, web: int) -> None:
    """Pages that do not fit become its component before they are populated."""
    assert here.run("populate", web, 64, program="qemu-client").xen == [f"populate {web} 64"]
    assert "populated" not in amounts(daemon, web)
    assert here.run("populate", web, 1000, program="qemu-client").xen == [f"populate {web} 1000"]
    assert amounts(daemon, web)["populated"] == (1000 + 16 - 256) * 4
    assert here.run("populate", web, 5000).xen == [f"populate {web} 5000"]
    assert amounts(daemon, web)["populated"] == (1000 + 16 - 256) * 4


def test_a_device_model_may_populate_where_no_daemon_answers(away: Built) -> None:
    """Xen has the last word on pages; the message says who was not asked."""
    ran = away.run("populate", 1, 64, program="qemu-client")
    assert (ran.rc, ran.xen) == (0, ["populate 1 64"])
    assert str(away.socket) in ran.stderr


@pytest.mark.parametrize("read", [1, 2], ids=["getinfo", "getinfo_single"])
def test_a_read_modify_write_is_an_increase(
    here: Built, daemon: Outside, web: int, read: int
) -> None:
    """QEMU 2.3 reads a maximum and sets it plus x: x more is its component, twice is 2 x."""
    for times in (1, 2):
        ran = here.run("bump", web, read, 132096 + 256, program="qemu-client")
        assert (ran.rc, ran.xen) == (0, [])
        assert amounts(daemon, web)["populated"] == times * 256
    for word, rc in ((132096, 0), (132096 - 4096, -1)):
        assert here.run("bump", web, read, word, program="qemu-client").rc == rc
    assert amounts(daemon, web)["max-mem"] == 512 * MIB


def test_a_device_model_sets_no_maximum(here: Built, daemon: Outside, web: int) -> None:
    """Without having read one it cannot mean an increase."""
    ran = here.run("bump", web, 0, 132096, program="qemu-client")
    assert (ran.rc, ran.errno, ran.xen) == (-1, EPERM, [])
    assert max_kib(daemon, web) == 513 * MIB
    unlimited = here.run("bump", web, 1, 2**40, program="qemu-client", STUB_MAX=0xFFFFFFFF * 4)
    assert unlimited.rc == 0
    assert max_kib(daemon, web) == 513 * MIB


@pytest.mark.parametrize(
    ("words", "rc"),
    [
        (("max", 1, 700 * MIB), -1),
        (("target", 1, 300 * MIB, 0, 1), -3),
        (("create", CONFIG), -3),
        (("raw", 1, 700 * MIB), -1),
    ],
)
def test_refuse_when_away(away: Built, words: tuple[object, ...], rc: int) -> None:
    """Nothing is changed; one line names the socket and the service."""
    ran = away.run(*words)
    assert (ran.rc, ran.xen) == (rc, [])
    assert ran.errno == ECONNREFUSED
    lines = [line for line in ran.stderr.splitlines() if line.startswith("maxmemd: ")]
    assert len(lines) == 1
    assert f"cannot reach maxmemd at {away.socket}" in lines[0]
    assert "systemctl status maxmemd" in lines[0]


@pytest.mark.parametrize(
    ("words", "xen"),
    [
        (("max", 1, 716800), ["libxl_domain_setmaxmem 1 716800", "setmaxmem 1 717824"]),
        (
            ("target", 1, 307200, 0, 1),
            ["libxl_set_memory_target 1 307200 0 1", "setmaxmem 1 308224"],
        ),
        (("create", CONFIG), ["setmaxmem 2 132096", "populate 2 32768"]),
        (("raw", 1, 716800), ["setmaxmem 1 716800"]),
    ],
)
def test_direct_when_away(away: Built, words: tuple[object, ...], xen: list[str]) -> None:
    """As without us, once, and said."""
    away.conf += "\nwhen_away = direct"
    ran = away.run(*words)
    assert (ran.rc, ran.xen) == (0, xen)
    assert ran.stderr.count("going on without it (when_away=direct in interpose.conf)") == 1
    assert xen == Built(away.directory).run(*words, preload=False).xen


def test_a_daemon_that_restarts_is_waited_for(away: Built, own: Outside) -> None:
    """For as long as the configuration says."""
    away.socket = own.socket
    own.stop()
    away.conf = "wait_ms=300"
    began = time.monotonic()
    assert away.run("max", 1, 700 * MIB).rc == -1
    assert 0.3 <= time.monotonic() - began < 3


@pytest.mark.long
def test_a_daemon_that_hangs_is_given_up(away: Built, own: Outside) -> None:
    """A stopped daemon costs some seconds, never more."""
    away.socket = own.socket
    own.running.send_signal(SIGSTOP)
    try:
        began = time.monotonic()
        ran = away.run("max", 1, 700 * MIB)
        assert 5 < time.monotonic() - began < 12
    finally:
        own.running.send_signal(SIGCONT)
    assert ran.rc == -1
    assert "maxmemctl history shows whether it was done" in ran.stderr


def test_configuration_mistakes_are_said(here: Built, web: int) -> None:
    """A typing error never keeps a host from starting its guests."""
    here.conf = "when_away=maybe\nsocked=/x\nwait_ms=-1\nwait_ms=0\nnonsense"
    ran = here.run("max", web, 700 * MIB)
    assert ran.rc == 0
    assert ran.stderr.count("maxmemd: cannot use '") == 4


def test_a_configuration_that_is_none(here: Built, web: int) -> None:
    """One that is too long is read as far as it goes; one that cannot be read is said to be so."""
    here.conf = "#" * 70 + "\n" * 20000
    ran = here.run("max", web, 700 * MIB)
    assert ran.rc == 0
    assert "it is longer than 16383 bytes" in ran.stderr
    unreadable = here.run("max", web, 700 * MIB, MAXMEM_INTERPOSE_CONF="/proc/self")
    assert "maxmemd: cannot read /proc/self: Is a directory" in unreadable.stderr
