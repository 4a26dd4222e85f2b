"""What becomes of a limit as a guest is restored, migrated, and reboots: with us, and without."""

from tests.dom0.daemon import Daemon
from tests.dom0.guests import SLACK_KIB
from tests.dom0.interposed import Xl, another_life, boots, is_made
from tests.dom0.report import Report

MIB = 1024
BELOW_512_MIB = 480
BELOW_512 = f"memory = {BELOW_512_MIB}\nmaxmem = {BELOW_512_MIB}\n"
"""A limit of 512 MiB is not what it would get anyway; rebooted with less of it, it may die of its
populate-on-demand pool."""
LIVES = ("restore", "migrate", "reboot")


def test_a_limit_lives_on(xl: Xl, daemon: Daemon, report: Report) -> None:
    """mem-max 512 outlives save, restore, live migration and a reboot from inside the guest."""
    guest = boots(xl, "pvh2", BELOW_512)
    xl("mem-max", "pvh2", 512).check()
    wanted = 512 * MIB + SLACK_KIB
    assert guest.max_kib == wanted
    for how in LIVES:
        another_life(xl, guest, how)
        assert (how, guest.max_kib) == (how, wanted)
    kinds = daemon.get(f"/v1/domains/{guest.domid}/history?limit=100").json()["entries"]
    builds = [line["wish"]["life"] for line in reversed(kinds) if line["kind"] == "build-announced"]
    assert builds[:4] == ["created", "restored", "migrated-in", "created"]
    assert set(builds[4:]) <= {"created"}  # one that dies as it boots is made once more
    assert [line["kind"] for line in kinds].count("mem-max") == 1
    assert not [line for line in kinds if line["kind"] == "drift"]
    xl.witness.only(daemon)
    report.keep("a limit with maxmemd", limit_mib=512, builds=builds, max_kib=guest.max_kib)


def test_a_limit_is_lost_without(plain: Xl, report: Report) -> None:
    """The control: each of the three forgets it."""
    guest = boots(plain, "pvh2", BELOW_512)
    before, after = 512 * MIB + SLACK_KIB, {}
    for how in LIVES:
        plain("mem-max", "pvh2", 512).check()
        assert guest.max_kib == before
        another_life(plain, guest, how, is_made)  # with less it may die as it boots
        after[how] = guest.max_kib
    assert after == dict.fromkeys(LIVES, BELOW_512_MIB * MIB + SLACK_KIB)
    report.keep("a limit without", limit_mib=512, before_kib=before, after_kib=after)
