"""docs/other-managers.md, played: each command prints what the page says, each line is accepted."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from maxmemd import cli
from maxmemd.arbiter.actor import Arbiter
from maxmemd.config.file import parse
from maxmemd.config.settings import Config
from maxmemd.rest.reply import Answer, Body
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost
from tests.support.inside import Inside

PAGE = (Path(__file__).parents[2] / "docs" / "other-managers.md").read_text(encoding="utf-8")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")


class ToInside:
    """What maxmemctl asks, asked of a daemon in this process."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    def ask(
        self, method: str, path: str, body: Body | None = None, headers: Body | None = None
    ) -> Answer:
        """Return the reply."""
        reply = self._inside.ask(method, path, body, headers=headers)
        return Answer(reply.status_code, reply.json())


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    """Give a daemon on the demo host, for maxmemctl of this process, that polls when it is told."""
    config = Config(owners=("introspection",), poll_s=3600)
    with Inside(tmp_path, SimulatedHost.demo(), config=config) as daemon:
        daemon.service.integrity = "ok"
        monkeypatch.setattr(cli, "DaemonConnection", lambda *_, **__: ToInside(daemon))
        yield daemon


def poll(inside: Inside) -> None:
    """Have the arbiter compare Xen with the ledger once."""
    done = Event()

    def step(arbiter: Arbiter) -> None:
        arbiter.poll()
        done.set()

    inside.mailbox.thread.call_soon(step)
    assert done.wait(30)
    inside.get("/v1/host")  # after a turn others may know what the poll found


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command of the page, and what it says is printed."""
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for played in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = played.partition("\n")
            yield command, printed


def test_the_page_says_what_is_printed(inside: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands in their order, with a manager at work where the page comes to a fight."""
    played = list(commands())
    assert len(played) == 7
    for command, printed in played:
        if command == "maxmemctl health":
            for number in range(5):
                inside.host.foreign_write(1, Memory.of_mib(1000 + number))
                poll(inside)
        name, *words = shlex.split(command)
        assert (name, cli.main(words)) == ("maxmemctl", 0)
        assert TIME.sub("TIME", capsys.readouterr().out) == TIME.sub("TIME", printed), command
    poll(inside)
    assert inside.get("/v1/health")["findings"] == []
    assert inside.get("/v1/domains/web")["max_pages"] == 1004 * 256


def test_the_lines_of_the_page_are_accepted() -> None:
    """Each toml block is a configuration, and says of domains what the text says."""
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    qubes, dom0 = (parse(tomllib.loads(block), "page", block).drift_rules for block in blocks)
    modes = [qubes.find("", name)[0] for name in ("work", "sys-net", "sys-usb-2", "Domain-0")]
    assert modes == ["adopt", "restore", "restore", "adopt"]
    assert [dom0.find("", name)[0] for name in ("Domain-0", "web")] == ["adopt", "restore"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("db", "db"),
        ('d"b\\', 'd"b\\'),
        ("d*", None),
        ("0123", None),
        ("51a7", "51a7"),
        ("ä b", "ä b"),
    ],
)
def test_the_line_of_a_finding_can_be_pasted(tmp_path: Path, name: str, key: str | None) -> None:
    """It keeps the keys there are, and means the domain by its name where that means no other."""
    config = Config(poll_s=3600, drift_of={"sys-*": "alert", "db": "alert"})
    host = SimulatedHost(total=Memory.of_mib(4096))
    host.create(name, memory=Memory.of_mib(64), maxmem=Memory.of_mib(128))
    with Inside(tmp_path, host, config=Config(poll_s=3600)) as inside:
        for number in range(5):
            inside.host.foreign_write(1, Memory.of_mib(100 + number))
            poll(inside)
        inside.service.config = config
        [finding] = inside.get("/v1/health")["findings"]
        uuid = inside.uuid(1)
        assert finding["commands"][0] == f"maxmemctl drift {uuid} adopt"
    line = finding["configuration"]
    rules = parse(tomllib.loads(line), "pasted", line)
    assert rules.drift_of == {"sys-*": "alert", "db": "alert"} | {key or uuid: "adopt"}
    assert rules.drift_rules.find(uuid, name) == ("adopt", key or uuid)
