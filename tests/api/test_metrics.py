"""GET /metrics and readiness: numbers that follow what was done, in a bounded number of series."""

import asyncio
import subprocess
from errno import EIO, EPERM
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from maxmemd.api import domain_metrics, metrics
from maxmemd.api.health import LOW_BYTES, DiskMonitor, Space, space_of
from maxmemd.api.reading.strides import Reading, Strides
from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.pacing import Deadline
from maxmemd.units import Memory
from tests.support.inside import Inside
from tests.support.promtool import promtool

Samples = dict[tuple[str, str], float]


def samples(api: Inside) -> Samples:
    """Return what is scraped, by name and by the one label that tells series apart."""
    reply = api.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    return {
        (one.name, one.labels.get("name") or next(iter(one.labels.values()), "")): one.value
        for family in text_string_to_metric_families(reply.text)
        for one in family.samples
    }


def test_what_is_done_is_counted(api: Inside) -> None:
    """Decisions, batches, commits and pushes have their histograms; refusals have their codes."""
    before = samples(api)
    for limit_kib in (614400, 618496):
        api.put("/v1/domains/web/limit", {"max_mem_kib": limit_kib})
    api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 4})
    found = samples(api)

    def grown(name: str, label: str = "") -> float:
        return found[name, label] - before.get((name, label), 0.0)

    assert grown("maxmemd_decisions_total") == 2
    assert grown("maxmemd_decision_seconds_count") == 3
    assert grown("maxmemd_push_seconds_count") == 2
    assert grown("maxmemd_commit_seconds_count") >= 2
    assert grown("maxmemd_batch_size_count") >= 3
    assert grown("maxmemd_refusals_total", "limit-below-target") == 1
    for name in ("decision", "push", "commit"):
        assert found[f"maxmemd_{name}_seconds_sum", ""] > 0
        assert (
            found[f"maxmemd_{name}_seconds_bucket", "+Inf"]
            == (found[f"maxmemd_{name}_seconds_count", ""])
        )


def test_every_domain_is_told(api: Inside) -> None:
    """Limit, populated and target in bytes; unlimited is infinite."""
    api.put("/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
    found = samples(api)
    mib = 1024 * 1024
    assert found["maxmemd_limit_bytes", "web"] == 701 * mib
    assert found["maxmemd_populated_bytes", "web"] == 512 * mib
    assert found["maxmemd_target_bytes", "web"] == 512 * mib
    assert found["maxmemd_limit_bytes", "Domain-0"] == float("inf")
    assert (found["maxmemd_in_force", "web"], found["maxmemd_over_limit", "web"]) == (1, 0)
    assert found["maxmemd_domains", ""] == 4
    api.put("/v1/domains/web/limit", {"max_mem_kib": 64 * 1024, "force": True})
    found = samples(api)
    assert (found["maxmemd_in_force", "web"], found["maxmemd_over_limit", "web"]) == (1, 1)
    api.host.fail("set_max_mem", EPERM)
    api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
    found = samples(api)
    assert found["maxmemd_in_force", "web"] == 0
    assert found["maxmemd_push_failures_total", ""] >= 1
    api.host.heal()


def test_the_ledger_and_the_queue(api: Inside) -> None:
    """Sizes are those of the files; an idle daemon has only the scrape itself to answer."""
    found = samples(api)
    size = api.config.database.stat().st_size
    assert found["maxmemd_ledger_size_bytes", "database"] == size
    assert found["maxmemd_ledger_size_bytes", "wal"] > 0
    assert found["maxmemd_ledger_free_bytes", ""] > 0
    assert found["maxmemd_queue_depth", ""] == 0
    assert 0 <= found["maxmemd_arbiter_age_seconds", ""] < 60
    assert found["maxmemd_event_streams", ""] == 0
    assert found["maxmemd_build_info", "simulated"] == 1
    parts = {label for name, label in found if name == "maxmemd_part_ready"}
    there = {"xen", "ledger", "integrity", "arbiter", "loop", "events", "disk", "domains"}
    assert parts == there


def test_the_number_of_series_is_bounded(api: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of domains that are listed is bounded, and their whole number is a metric."""
    monkeypatch.setattr(metrics, "MOST_DOMAINS", 2)
    found = samples(api)
    assert sum(name == "maxmemd_limit_bytes" for name, _ in found) == 2
    assert found["maxmemd_domains", ""] == 4


def _no_arbiter() -> Arbiter:
    raise AssertionError("the mailbox is not started")


def test_before_there_is_an_arbiter() -> None:
    """A daemon that only starts tells what it can."""
    starting = Mailbox(_no_arbiter, poll_s=1.0)
    scene = metrics.Scene(
        starting, (), {"xen": "starting"}, 0, None, {"not-allowed": 2}, simulated=False
    )
    reading = Reading(Deadline(60.0), Strides())
    text = metrics.to_text(scene, reading, plain=False).decode()
    assert 'maxmemd_part_ready{part="xen"} 0.0' in text
    assert 'maxmemd_refusals_total{code="not-allowed"} 2.0' in text
    assert "maxmemd_decisions" not in text
    assert "maxmemd_ledger" not in text


@pytest.mark.parametrize(
    ("accept", "plain"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", True),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", False),
    ],
)
def test_the_format_is_the_clients_choice(api: Inside, accept: str, plain: bool) -> None:
    """OpenMetrics, unless only the older format is asked for."""
    reply = api.ask("GET", "/metrics", headers={"Accept": accept})
    kind = "text/plain" if plain else "application/openmetrics-text"
    assert reply.headers["content-type"].startswith(kind)
    assert reply.text.endswith("# EOF\n") is not plain


def test_promtool_finds_nothing_to_say(api: Inside) -> None:
    """`promtool check metrics` is silent: names, units, types and help are as they should be."""
    api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 4})
    text = api.ask("GET", "/metrics", headers={"Accept": "text/plain"}).content
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def health(api: Inside) -> httpx.Response:
    """Return the reply of /v1/health."""
    return api.ask("GET", "/v1/health")


def test_a_disk_that_is_nearly_full_is_not_ready(api: Inside) -> None:
    """Before a decision fails for want of space, readiness says so, and metrics too."""
    free = LOW_BYTES - 1
    disk = DiskMonitor(api.config.database, lambda _: Space(1, 2, free))
    api.disk._look = disk._look
    api.wait(api.disk.look())
    assert health(api).status_code == 503
    assert health(api).json()["parts"]["disk"] == "nearly full: 15 MiB are free for the ledger"
    assert samples(api)["maxmemd_part_ready", "disk"] == 0
    free = LOW_BYTES
    api.wait(api.disk.look())
    assert health(api).json()["parts"]["disk"] == "ok"


def test_events_that_cannot_be_read_are_not_ready(api: Inside) -> None:
    """The reader of the events is a part of its own."""
    api.event_stream.trouble = "ledger-busy: cannot read the events"
    assert health(api).status_code == 503
    assert health(api).json()["parts"]["events"].startswith("ledger-busy")


def test_the_disk_is_looked_at_now_and_then(tmp_path: Path) -> None:
    """Every ten seconds, one look at a time; a disk that cannot be looked at is not ready."""
    looks: list[Path] = []

    def look(path: Path) -> Space:
        looks.append(path)
        if len(looks) == 2:
            raise OSError(EIO, "Input/output error")
        return Space(0, 0, LOW_BYTES)

    async def seconds(disk: DiskMonitor, count: int) -> None:
        for _ in range(count):
            disk.each_second()
            if disk._looking is not None:
                await disk._looking

    async def story() -> None:
        disk = DiskMonitor(tmp_path / "l", look)
        await seconds(disk, 10)
        assert (len(looks), disk.state, disk.space) == (1, "ok", Space(0, 0, LOW_BYTES))
        await seconds(disk, 1)
        assert disk.state == "cannot check the disk of the ledger: Input/output error"
        disk._looking = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
        for _ in range(30):
            disk.each_second()
        assert len(looks) == 2
        disk._looking.cancel()

    asyncio.run(story())


def test_space_is_what_the_files_take(tmp_path: Path) -> None:
    """The WAL counts where there is one."""
    database = tmp_path / "l"
    database.write_bytes(b"12345")
    assert (space_of(database).database_bytes, space_of(database).wal_bytes) == (5, 0)
    (tmp_path / "l-wal").write_bytes(b"123")
    assert space_of(database).wal_bytes == 3
    assert space_of(database).free_bytes > 0


def test_memory_in_bytes() -> None:
    """What Xen calls unlimited is infinite, whatever number stands for it."""
    assert domain_metrics._bytes(Memory(kib=4)) == 4096
    assert domain_metrics._bytes(Memory(kib=2**52 - 1)) == float("inf")
