"""maxmemd on a real Xen: what is set over REST is what Xen holds."""

from tests.dom0.daemon import Daemon
from tests.dom0.guests import Guest


def test_a_limit_over_rest_is_in_xen(daemon: Daemon, guest: Guest) -> None:
    """The limit, plus libxl's 1024 KiB, is Xen's maximum, and static-max is written."""
    reply = daemon.put(f"/v1/domains/{guest.domid}/limit", {"max_mem_kib": 307200})
    assert reply.status == 200, reply.body
    assert (guest.max_kib, guest.static_max_kib) == (308224, 307200)


def test_maxmemctl_speaks_like_xl(daemon: Daemon, pv1: Guest) -> None:
    """`maxmemctl mem-max` does what `xl mem-max` does, and says as little."""
    done = daemon.ctl("mem-max", "pv1", 300)
    assert (done.rc, done.stdout, done.stderr) == (0, "", "")
    assert (pv1.max_kib, pv1.static_max_kib) == (308224, 307200)


def test_a_crash_forgets_nothing(daemon: Daemon, pv1: Guest) -> None:
    """Killed and started again, it puts back what a foreign tool changed meanwhile."""
    daemon.put(f"/v1/domains/{pv1.domid}/limit", {"max_mem_kib": 300 * 1024})
    daemon.stop(9)
    daemon.rig.setmaxmem(pv1.domid, 200 * 1024)
    daemon.start()
    assert pv1.max_kib == 300 * 1024 + 1024


def test_a_stranger_may_not_set_a_limit(daemon: Daemon, pv1: Guest) -> None:
    """The kernel says who asks: a user without a role does not even reach the socket."""
    before = pv1.max_kib
    done = daemon.ctl("mem-max", "pv1", 300, uid=12345)
    assert done.rc == 1
    assert pv1.max_kib == before
