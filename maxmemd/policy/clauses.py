"""Refusals that are about what a record may hold: components, owners, sums and revisions.

Each clause looks at one thing, and returns a Refusal (a permanent code, a sentence, the numbers) or
None. Those about what the guest has are in bounds.py, about which domain is meant in
which_domain.py.
"""

from collections.abc import Mapping

from maxmemd.policy.components import MAX_MEM, SLACK, Key, Record
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.gone import GoneRules
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import Refusal
from maxmemd.units import END_KIB, Memory


def known_owner(rules: Rules, key: Key) -> Refusal | None:
    """Refuse an owner that the configuration does not name."""
    if key[0] in rules.owners:
        return None
    return Refusal(
        "unknown-owner",
        f"cannot keep a component for {key[0]}: the owners are {', '.join(sorted(rules.owners))}"
        " (add others to owners in the configuration)",
        {"owner": key[0]},
    )


def not_fixed(key: Key) -> Refusal | None:
    """Refuse to change what is owned here, in one place: libxl's slack."""
    if key != SLACK:
        return None
    return Refusal(
        "component-fixed",
        "cannot change toolstack/slack: it is set for all domains by slack in the configuration",
        {"owner": key[0], "name": key[1]},
    )


def not_required(key: Key) -> Refusal | None:
    """Refuse to remove max-mem: a domain without one could populate nothing."""
    if key != MAX_MEM:
        return None
    return Refusal(
        "component-required",
        "cannot remove operator/max-mem: set it to what the guest may use instead",
        {"owner": key[0], "name": key[1]},
    )


def known_component(record: Record, key: Key) -> Refusal | None:
    """Refuse to remove what is not there."""
    if key in record.components:
        return None
    return Refusal(
        "unknown-component",
        f"cannot remove {key[0]}/{key[1]}: the domain has no such component",
        {"owner": key[0], "name": key[1]},
    )


def not_below_zero(key: Key, before: Memory, by_kib: int) -> Refusal | None:
    """Refuse to take away more than there is."""
    if before.kib + by_kib >= 0:
        return None
    return Refusal(
        "component-below-zero",
        f"cannot take {-by_kib} KiB from {key[0]}/{key[1]}: it is {before.kib} KiB",
        {"owner": key[0], "name": key[1], "amount_kib": before.kib, "by_kib": by_kib},
    )


def in_range(kib: int) -> Refusal | None:
    """Refuse a number of KiB that no Memory can hold."""
    if kib < END_KIB:
        return None
    return Refusal(
        "limit-out-of-range",
        f"cannot keep a limit of {kib} KiB: limits are below {END_KIB} KiB",
        {"limit_kib": kib, "below_kib": END_KIB},
    )


def sum_in_range(record: Record) -> Refusal | None:
    """Refuse a sum of components that no Memory can hold."""
    return in_range(record.limit_kib)


def required_present(amounts: Mapping[Key, Memory]) -> Refusal | None:
    """Refuse an imported record that does not say what the guest may use."""
    if MAX_MEM in amounts:
        return None
    return Refusal(
        "component-required",
        "cannot import a record without operator/max-mem: add what the guest may use",
        {"owner": MAX_MEM[0], "name": MAX_MEM[1]},
    )


def below_cap(rules: Rules, before: Record, after: Record, owner: str) -> Refusal | None:
    """Refuse growth of one owner's components above its cap; to shrink is never refused."""
    cap = rules.caps.get(owner)
    if cap is None:
        return None
    held, wanted = _held(before, owner), _held(after, owner)
    if wanted <= cap.kib or wanted <= held:
        return None
    return Refusal(
        "above-owner-cap",
        f"cannot give {owner} {wanted} KiB: its components of one domain have at most {cap.kib} KiB"
        f" together, and it has {held} KiB (the cap is in caps in the configuration)",
        {"owner": owner, "held_kib": held, "wanted_kib": wanted, "cap_kib": cap.kib},
    )


def _held(record: Record, owner: str) -> int:
    return sum(
        component.amount.kib for key, component in record.components.items() if key[0] == owner
    )


def few_enough(rules: Rules, record: Record) -> Refusal | None:
    """Refuse more components than a record may have."""
    count, most = len(record.components), rules.max_components
    if count <= most:
        return None
    return Refusal(
        "too-many-components",
        f"cannot keep {count} components: a domain has at most {most}",
        {"components": count, "at_most": most},
    )


def room_ahead(rules: GoneRules, client: str, of_client: int, of_all: int) -> Refusal | None:
    """Refuse one more record that comes ahead of its domain.

    `of_client` are the records of domains that are not here which the client decided on last.
    """
    whose, found, most, key = client, of_client, rules.most_per_client, "keep_gone_per_client"
    if of_all >= rules.most:
        whose, found, most, key = "all clients", of_all, rules.most, "keep_gone_records"
    if found < most:
        return None
    return Refusal(
        "too-many-records",
        f"cannot keep another record of a domain that is not here: there are {found} of {whose},"
        f" at most {most} are kept (create those domains first, or raise {key})",
        {"records": found, "at_most": most},
    )


def not_started(xen: XenFacts) -> Refusal | None:
    """Refuse to announce the build of a domain that ran already."""
    if not xen.started:
        return None
    return Refusal(
        "domain-started",
        f"cannot build domain {xen.domid}: it was started already (set its limit instead)",
        {"domid": xen.domid},
    )


def revision_unknown(revision: int) -> Refusal:
    """Refuse to roll back to what never was."""
    return Refusal(
        "unknown-revision",
        f"cannot roll back to revision {revision}: the history has no such revision",
        {"revision": revision},
    )


def revision_pruned(revision: int) -> Refusal:
    """Refuse to roll back to what was, and is no longer kept."""
    return Refusal(
        "revision-pruned",
        f"cannot roll back to revision {revision}: the history keeps it no more, for it is older"
        " than history_keep_days, or than the newest history_keep_entries (set what you want)",
        {"revision": revision},
    )


def revision_stale(revision: int, if_match: int) -> Refusal:
    """Refuse a wish that was made looking at an earlier revision."""
    return Refusal(
        "stale-revision",
        f"cannot decide on revision {if_match}: the record is at revision {revision} by now",
        {"revision": revision, "if_match": if_match},
    )


def key_reused() -> Refusal:
    """Refuse an idempotency key that stands for another wish."""
    return Refusal(
        "idempotency-key-reused",
        "cannot use this Idempotency-Key: it was used for another wish (take a new one)",
        {},
    )
