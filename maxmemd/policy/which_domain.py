"""Refusals that are about which domain is meant, and whose it is."""

from collections.abc import Sequence

from maxmemd.policy.facts import may_be_one
from maxmemd.policy.roles import Bond
from maxmemd.policy.verdicts import Refusal


def own_domain(bond: Bond, domid: int, uuid: str, unique_id: int | None) -> Refusal | None:
    """Refuse a device model another domain than it had when it connected (A6: domids return)."""
    if (bond.domid, bond.uuid) == (domid, uuid) and may_be_one(bond.unique_id, unique_id):
        return None
    return Refusal(
        "not-your-domain",
        f"cannot let the device model of domain {bond.domid} touch this: domain {domid} is not"
        " the one that it had when it connected",
        {"domid": domid, "own_domid": bond.domid},
    )


def absent() -> Refusal:
    """Refuse what is about an instance where none lives here."""
    return Refusal("domain-gone", "cannot decide for a domain that does not live here", {})


def unknown_domain(ref: str, named: Sequence[int] = ()) -> Refusal:
    """Refuse a reference to nothing; `named` are living domains that have a number for a name."""
    detail = f"cannot find a domain {ref!r}: no domid, UUID or name of a domain here is that"
    if named:
        carried = " and ".join(f"domain {domid}" for domid in named)
        detail = f"cannot find a domain {ref!r}: a number is a domid, and no domain has that one"
        detail += f" (it is the name of {carried}: use a domid or UUID)"
    return Refusal("unknown-domain", detail, {"ref": ref})


def ambiguous(ref: str, domids: Sequence[int]) -> Refusal:
    """Refuse a name that several domains carry."""
    carried = ", ".join(str(domid) for domid in domids)
    detail = f"cannot tell which {ref!r} is meant: domains {carried} carry that name"
    return Refusal("ambiguous-domain", f"{detail} (use the domid)", {"ref": ref, "domids": carried})


def ambiguous_record(ref: str, uuids: Sequence[str]) -> Refusal:
    """Refuse a name that several domains had last, of which none is here."""
    had = ", ".join(sorted(uuids))
    detail = f"cannot tell which {ref!r} is meant: none is here, and {had} had that name last"
    return Refusal("ambiguous-domain", f"{detail} (use the UUID)", {"ref": ref, "uuids": had})


def without_uuid(domid: int) -> Refusal:
    """Refuse to decide for a domain that the ledger cannot name."""
    detail = f"cannot decide for domain {domid}: it has no UUID, so nothing is recorded of it"
    return Refusal("unknown-domain", detail, {"ref": str(domid)})


def nothing_recorded(ref: str) -> Refusal:
    """Refuse to show the record of such a domain."""
    detail = f"cannot tell: {ref} has no UUID, so nothing is recorded of it"
    return Refusal("unknown-domain", detail, {"ref": ref})


def domain_gone(called: str, domid: int) -> Refusal:
    """Refuse to decide for a domain that is dying or gone."""
    detail = f"cannot decide for {called}: domain {domid} is gone or dying"
    return Refusal("domain-gone", detail, {})


def dying(domid: int) -> Refusal:
    """Refuse a domain whose instance is dying."""
    detail = f"cannot use domain {domid}: domain {domid} is dying"
    return Refusal("domain-gone", f"{detail} (once it is gone, its next start can be decided)", {})


def not_here(called: str) -> Refusal:
    """Refuse what needs an instance, of a domain that has none here."""
    detail = f"cannot do that to {called}: it does not live here now"
    detail += " (its max-mem and components can be decided for its next start)"
    return Refusal("domain-gone", detail, {})


def no_own_domain(domid: int) -> Refusal:
    """Refuse a device model whose domain was not there when it connected."""
    detail = f"cannot let the device model of domain {domid} do that: there was no such"
    detail += " domain when it connected (connect again once there is)"
    return Refusal("not-your-domain", detail, {"own_domid": domid})
