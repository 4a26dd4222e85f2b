"""Programs that do awkward things around their calls: each is none the worse for the library."""

import itertools
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest

from tests.support.outside import Outside
from tests.system.interpose.conftest import Built, Ran, amounts
from tests.system.interpose.serve import RUNNING
from tests.system.interpose.test_calls import MIB

NO_DOMAIN = 999
REFUSED = f"maxmemd: refused a maximum of {700 * MIB} KiB for domain {NO_DOMAIN}: "
WITHIN_S = 60


def uuid_of(domid: int) -> str:
    """Return the UUID that the stub's domain has."""
    digits = f"{domid:02x}" * 16
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def config_of(domid: int, target_mib: int, uuid: str = "", **more: int) -> str:
    """Return the configuration of a domain that gets this domid."""
    parts = {
        "c_info": {"uuid": uuid},
        "b_info": {"max_memkb": 2 * target_mib * MIB, "target_memkb": target_mib * MIB},
        "stub_domid": domid,
    }
    return json.dumps({**parts, **more}, separators=(",", ":"))


def run(built: Built, *words: object, **environment: object) -> Ran:
    """Let the plugin do what the words say; rc is the number of faults."""
    return built.run(built.directory / "plugin.so", *words, program="loader", **environment)


def announced(daemon: Outside, domid: int) -> list[tuple[str, int]]:
    """Return the lives and targets with which a domain's builds were announced."""
    _, body = daemon.ask("GET", f"/v1/domains/{domid}/history")
    wishes = [line["wish"] for line in body["entries"] if line["kind"] == "build-announced"]
    return [(wish["life"], wish["target_kib"]) for wish in wishes]


def test_libraries_come_and_go(away: Built) -> None:
    """A plugin of RTLD_LOCAL finds the originals beside a thread that loads and unloads."""
    assert run(away, "loads", away.directory / "passing.so", 20000).rc == 0


def test_a_constructor_waits_for_a_thread_that_asks(away: Built) -> None:
    """The loader's lock is held meanwhile, and not needed."""
    assert run(away, "constructs", away.directory / "constructor.so").rc == 0


@pytest.fixture
def direct(plain: Built) -> Built:
    """Give the library where no daemon is, and none is needed."""
    return Built(plain.directory, "wait_ms=0\nbusy_ms=0\nwhen_away=direct")


def test_forks_beside_threads_that_ask(direct: Built) -> None:
    """A child asks as well, also where nothing was called before the threads began."""
    assert run(direct, "forks", 1, 200).rc == 0


def test_forks_beside_a_thread_that_loads(away: Built) -> None:
    """A child and its child find the originals, whatever lock of the loader was held."""
    assert run(away, "forks-loading", away.directory / "passing.so", 200).rc == 0


@contextmanager
def silent(daemon: Outside) -> Iterator[None]:
    """Let a daemon accept connections and answer none."""
    daemon.running.send_signal(SIGSTOP)
    try:
        yield
    finally:
        daemon.running.send_signal(SIGCONT)


@pytest.fixture
def patient(plain: Built, own: Outside) -> Built:
    """Give the library with a daemon that a test may stop."""
    return Built(plain.directory, socket=own.socket)


@pytest.mark.long
def test_a_child_has_no_connection_of_another_thread(patient: Built, own: Outside) -> None:
    """As little as a program that is started."""
    with silent(own):
        assert run(patient, "forks-waiting", 1).rc == 0


@pytest.mark.long
def test_a_thread_that_is_cancelled_ends_its_call(patient: Built, own: Outside) -> None:
    """The original was no point at which it is: no lock and no descriptor is lost."""
    with silent(own):
        assert run(patient, "cancels", 1).rc == 0


def test_a_thread_with_a_small_stack(here: Built, daemon: Outside, web: int) -> None:
    """The smallest that there is suffices."""
    assert run(here, "small", web).rc == 0
    assert amounts(daemon, web) == {"max-mem": 699 * MIB, "slack": MIB}


def test_addresses_that_are_none(away: Built) -> None:
    """The kernel says so, as without us; errno and what dlerror() will say are left alone."""
    assert run(away, "addresses").rc == 0


# several builds at once


def test_each_build_has_its_own_target(here: Built, daemon: Outside, two: tuple[int, int]) -> None:
    """Two in one context: libxl goes on with each in the other's thread."""
    words = [word for domid, mib in zip(two, (1024, 4096), strict=True)
             for word in ("create", config_of(domid, mib))]  # fmt: skip
    assert run(here, "crowd", *words, STUB_CROWD=2).rc == 0
    assert announced(daemon, two[0]) == [("created", 1024 * MIB)]
    assert announced(daemon, two[1]) == [("created", 4096 * MIB)]


def test_each_build_has_its_own_life(here: Built, daemon: Outside, two: tuple[int, int]) -> None:
    """Of the same size even: Xen says the domain's UUID, and the configuration has it."""
    first, second = (config_of(domid, 128, uuid_of(domid)) for domid in two)
    assert run(here, "crowd", "create", first, "restore", second, STUB_CROWD=2, STUB_INFO=1).rc == 0
    assert announced(daemon, two[0]) == [("created", 128 * MIB)]
    assert announced(daemon, two[1]) == [("migrated-in", 128 * MIB)]


def test_a_domain_that_the_daemon_has_raised_already(
    here: Built, daemon: Outside, two: tuple[int, int]
) -> None:
    """It knew the UUID, so there is a maximum before libxl sets one: it is a build all the same."""
    config = config_of(two[0], 128, uuid_of(two[0]))
    assert run(here, "crowd", "restore", config, STUB_INFO=max(two)).rc == 0
    assert announced(daemon, two[0]) == [("migrated-in", 128 * MIB)]


@pytest.mark.parametrize(
    ("uuids", "info"), [(("", ""), 0), (("", ""), 1), ((uuid_of(200), uuid_of(201)), 0)]
)
def test_what_is_uncertain_is_said_to_be(
    here: Built, daemon: Outside, two: tuple[int, int], uuids: tuple[str, str], info: int
) -> None:
    """Two of one size that differ otherwise: each gets libxl's maximum, and no intent."""
    configs = [config_of(domid, 128, uuid) for domid, uuid in zip(two, uuids, strict=True)]
    words = ("create", configs[0], "restore", configs[1])
    ran = run(here, "crowd", *words, STUB_CROWD=2, STUB_INFO=info)
    assert (ran.rc, set(ran.xen)) == (0, {f"populate {domid} 32768" for domid in two})
    for domid in two:
        assert announced(daemon, domid) == [("unknown", 128 * MIB)]
        assert amounts(daemon, domid) == {"max-mem": 128 * MIB, "slack": MIB}


def test_a_stub_domain_takes_no_other_guests_intent(
    here: Built, daemon: Outside, two: tuple[int, int], born: int
) -> None:
    """It has a UUID of its own, so its size says nothing."""
    guest, restored = (config_of(domid, 28, uuid_of(domid)) for domid in two)
    words = ("create", guest, "restore", restored)
    ran = run(here, "crowd", *words, STUB_CROWD=2, STUB_INFO=1, STUB_STUBDOM=born)
    assert ran.rc == 0
    assert announced(daemon, two[0]) == [("created", 28 * MIB)]
    assert announced(daemon, two[1]) == [("migrated-in", 28 * MIB)]
    assert {life for life, _ in announced(daemon, born)} <= {"created", "unknown"}
    assert amounts(daemon, born) == {"max-mem": 28 * MIB, "slack": MIB}


def test_equal_builds_need_no_telling_apart(
    here: Built, daemon: Outside, two: tuple[int, int]
) -> None:
    """What both are meant to be is certain, whichever is which."""
    words = [word for domid in two for word in ("create", config_of(domid, 128))]
    assert run(here, "crowd", *words, STUB_CROWD=2).rc == 0
    assert [announced(daemon, domid) for domid in two] == [[("created", 128 * MIB)]] * 2


FAULTS = list(
    itertools.product(["callback", "event"], ["stub_fail", "stub_refuse"], [0, RUNNING[-1]])
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_creation_that_fails_leaves_nothing(
    here: Built, daemon: Outside, web: int, fault: tuple[str, str, int]
) -> None:
    """At once or later: the next maximum that the program sets is that of a guest that runs."""
    how, when, info = fault
    config = config_of(200, 700, **{when: 1})
    assert run(here, "begins", how, config, web, 701 * MIB, STUB_INFO=info).rc == 0
    assert amounts(daemon, web) == {"max-mem": 700 * MIB, "slack": MIB}
    _, body = daemon.ask("GET", f"/v1/domains/{web}/history")
    assert body["entries"][0]["kind"] == "mem-max"
    is_mistaken = fault == ("event", "stub_fail", 0)  # an end unseen, and Xen not asked
    assert is_mistaken == ("refused" in {line["kind"] for line in body["entries"]})


@pytest.mark.parametrize("how", ["callback", "event"])
def test_an_asynchronous_creation(
    here: Built, daemon: Outside, web: int, born: int, how: str
) -> None:
    """It is announced by whichever thread goes on with it, and what follows is no build."""
    assert run(here, "begins", how, config_of(born, 128), web, 129 * MIB).rc == 0
    assert announced(daemon, born) == [("created", 128 * MIB)]
    assert announced(daemon, web) == []


# where its messages go


def spoken(built: Built, *words: object, **options: Any) -> tuple[int, str]:
    """Run the plugin with another stderr; return its exit status and what it printed."""
    argv = [str(built.directory / "loader"), str(built.directory / "plugin.so"), *map(str, words)]
    done = subprocess.run(
        argv, env=built.variables(), text=True, stdout=subprocess.PIPE, timeout=WITHIN_S,
        check=False, **options,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_broken_stderr(here: Built, away: Built) -> None:
    """No SIGPIPE: of a pipe without a reader, and of a socket without a peer."""
    reading, writing = os.pipe()
    os.close(reading)
    one, other = socket.socketpair()
    other.close()
    for built in (here, away):
        for stderr in (writing, one.fileno()):
            assert spoken(built, "refuses", NO_DOMAIN, 3, stderr=stderr) == (0, "rc=0 errno=0\n")
    os.close(writing)
    one.close()


def test_a_full_stderr(here: Built) -> None:
    """Lines that do not fit are lost, and nothing waits: a pipe, a socket, a terminal."""
    reading, writing = os.pipe()
    one, other = socket.socketpair()
    master, terminal = os.openpty()
    for stderr in (writing, one.fileno(), terminal):
        said = spoken(here, "refuses", NO_DOMAIN, 600, stderr=stderr)
        assert said == (0, "rc=0 errno=0\n")
        assert os.get_blocking(stderr)
    first = os.read(reading, 65536).decode().splitlines()[0]
    assert first.startswith(REFUSED)
    assert other.recv(65536).startswith(REFUSED.encode())
    assert os.read(master, 4096).startswith(REFUSED.encode())
    for fd in (reading, writing, master, terminal):
        os.close(fd)
    one.close()
    other.close()


def test_a_full_file(here: Built, tmp_path: Path) -> None:
    """No SIGXFSZ where files may not become larger."""
    with (tmp_path / "err").open("wb") as stderr:
        assert spoken(here, "limits", NO_DOMAIN, stderr=stderr) == (0, "rc=0 errno=0\n")


def test_a_descriptor_2_that_is_not_stderr(here: Built, tmp_path: Path) -> None:
    """What the program has opened in its place is its own: it was closed before, or later."""
    own = tmp_path / "own"
    for closed in (lambda: os.close(2), None):
        said = spoken(here, "writes", NO_DOMAIN, own, preexec_fn=closed)
        assert said == (0, "rc=0 errno=0\n")
        assert own.read_bytes() == b""


def test_a_log_in_stderrs_place(here: Built, tmp_path: Path) -> None:
    """Where stdout and stderr were replaced together, as xl does, it is the program's log."""
    log = tmp_path / "log"
    assert spoken(here, "daemonizes", NO_DOMAIN, log) == (0, "rc=0 errno=0\n")
    assert log.read_text().startswith(REFUSED)


def test_none_of_the_first_three_descriptors(here: Built, web: int) -> None:
    """Closed ones are not taken for the connection: others print to them."""

    def close() -> None:
        for fd in (0, 2):
            os.close(fd)

    assert spoken(here, "refuses", NO_DOMAIN, 3, preexec_fn=close) == (0, "rc=0 errno=0\n")
