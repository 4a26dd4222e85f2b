"""One word for one thing, in every table and in every entry that was ever written.

The table `journal` is `history` (journald is the journal), a record's `seq` and `tail` are its
`head` and `newest` entry, an instance's `state` is its `push_state`, and its `birth` the `build`
that it is in. Kinds, wishes and states are rewritten in the words of today, so that no program has
to know the former ones, and the entries are chained again: the hash of an entry covers its words.

Everything happens in the transaction that Alembic runs in, with a few hundred entries in memory at
a time. The former chain, the seals of what is open for instances and the file that remembers the
newest entry are proved on the way: what is not as it was written raises, and then nothing is
changed. A ledger that is damaged must not become one that looks sound.

The file that remembers the newest entry needs an order of its own, since no transaction covers it.
Revision 0003 keeps it in `DATABASE-tail`, this one in `DATABASE-high-water`, and each holds a hash
of its own chain, so neither is ever rewritten here. The file of the revision that we come *from* is
only read. A file of the revision that we go *to* is left from before a way back; it tells of a
history that is no more, so it is removed, and its removal is on the disk before the commit. So a
power cut at any instruction leaves one of two things: before the commit the former tables with
their own file; after it the new tables with no file. That means that nothing is remembered yet, as
in a new ledger, until the daemon starts and writes it.
"""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0004"
down_revision = "0003"

_STRIDE = 500
"""Entries in memory at a time."""
_HASHED = 9
"""How many columns of an entry its hash covers."""
_GENESIS = bytes(32)
_MARK = struct.Struct(">Q32s8s")

Json = dict[str, Any]


class _Words(NamedTuple):
    """The words of one side in those of the other: kinds, push states, names of fields and keys."""

    kinds: Mapping[str, str]
    push_states: Mapping[str, str]
    troubles: Mapping[str, str]
    max_mem: tuple[str, str]
    components: tuple[str, str]
    key: Callable[[str], str]


_KINDS = {
    "component": "component-set",
    "increase": "component-increased",
    "build": "build-announced",
    "built": "build-followed",
    "created": "record-replaced",
}
_PUSH_STATES = {"drifted": "mismatched", "over_limit": "over-limit"}
_TROUBLES = {"drifted": "drift", "over_limit": "over-limit"}
"""What an entry says that trouble was before; `drifted` was in all but contrived cases drift."""
_OF_MAX_MEM = ("limit-below-target", "limit-below-dom0-floor")
"""Codes whose numbers tell a max-mem; `limit_kib` of all others is a limit."""


def _name_of_today(name: str) -> str:
    """Return an operator's component by its name of today.

    An operator's own component that had this name already is kept apart from it, as max-mem.former;
    one that had that name gets another .former, so that no two become one.
    """
    if name == "limit":
        return "max-mem"
    return f"{name}.former" if _is_taken(name) else name


def _former_name(name: str) -> str:
    if name == "limit":
        return "limit.former"
    if name == "max-mem":
        return "limit"
    return name.removesuffix(".former") if _is_taken(name) else name


def _is_taken(name: str) -> bool:
    first, *rest = name.split(".")
    return first == "max-mem" and set(rest) <= {"former"}


_TODAY = _Words(
    _KINDS,
    _PUSH_STATES,
    _TROUBLES,
    ("limit_kib", "max_mem_kib"),
    ("parts", "components"),
    _name_of_today,
)
_FORMER = _Words(
    {new: old for old, new in _KINDS.items()},
    {new: old for old, new in _PUSH_STATES.items()},
    {new: old for old, new in (*_PUSH_STATES.items(), *_TROUBLES.items())},
    ("max_mem_kib", "limit_kib"),
    ("components", "parts"),
    _former_name,
)


def upgrade() -> None:
    _prove_high_water("journal", "-tail")
    op.drop_index("journal_by_key", "journal")
    op.rename_table("journal", "history")
    op.execute("ALTER TABLE record RENAME COLUMN seq TO head")
    op.execute("ALTER TABLE record RENAME COLUMN tail TO newest")
    op.execute("ALTER TABLE instance RENAME COLUMN state TO push_state")
    op.execute("ALTER TABLE instance RENAME COLUMN birth TO build")
    op.add_column("instance", sa.Column("drift_pages", sa.BigInteger))
    _rewrite_history(_TODAY)
    _rewrite_instances(_state_of, _build_of)
    op.create_index(
        "history_by_key", "history", ["key"], unique=True, sqlite_where=sa.text("key IS NOT NULL")
    )
    _remove_high_water("-high-water")


def downgrade() -> None:
    _prove_high_water("history", "-high-water")
    op.drop_index("history_by_key", "history")
    _rewrite_history(_FORMER)
    _rewrite_instances(_former_state_of, _birth_of)
    op.drop_column("instance", "drift_pages")
    op.execute("ALTER TABLE instance RENAME COLUMN build TO birth")
    op.execute("ALTER TABLE instance RENAME COLUMN push_state TO state")
    op.execute("ALTER TABLE record RENAME COLUMN newest TO tail")
    op.execute("ALTER TABLE record RENAME COLUMN head TO seq")
    op.rename_table("history", "journal")
    op.create_index(
        "journal_by_key", "journal", ["key"], unique=True, sqlite_where=sa.text("key IS NOT NULL")
    )
    _remove_high_water("-tail")


def _rewrite_history(words: _Words) -> None:
    """Write each entry's kind, wish and state in these words, and chain the entries again."""
    connection = op.get_bind()
    update = "UPDATE history SET kind = ?, wish = ?, state = ?, hash = ? WHERE seq = ?"
    was, now = _GENESIS, _GENESIS
    for rows in _pages(connection):
        written = []
        for row in rows:
            fields = tuple(row)[:_HASHED]
            was = _chained(was, fields)
            if was != row.hash:
                _refuse(f"entry {row.seq} is not as it was written")
            kind = words.kinds.get(row.kind, row.kind)
            wish = _translated(row.wish, lambda wish, of=row.kind: _wish(words, of, wish))
            state = row.state and _translated(row.state, lambda state: _amounts(words, state))
            now = _chained(now, (*fields[:4], kind, row.actor, wish, state, row.key))
            written.append((kind, wish, state, now, row.seq))
        connection.exec_driver_sql(update, written)


def _pages(connection: sa.Connection) -> Iterator[list[sa.Row[Any]]]:
    """Yield the whole history, _STRIDE entries at a time; one that is missing raises."""
    query = (
        "SELECT seq, at_ns, uuid, revision, kind, actor, wish, state, key, hash, prior"
        " FROM history WHERE seq > ? ORDER BY seq LIMIT ?"
    )
    seen, newest = 0, dict[str, int]()
    while rows := list(connection.exec_driver_sql(query, (seen, _STRIDE)).all()):
        for row in rows:
            if row.seq != seen + 1:
                _refuse(f"entry {seen + 1} is missing")
            before = newest.get(row.uuid, 0)
            if row.prior != before:
                _refuse(
                    f"entry {row.seq} names entry {row.prior} as its domain's one before,"
                    f" which is entry {before}"
                )
            seen = newest[row.uuid] = row.seq
        yield rows
    for uuid, last in connection.exec_driver_sql("SELECT uuid, newest FROM record"):
        if newest.get(uuid) != last:
            _refuse(f"the newest entry of {uuid} is {newest.get(uuid)}, and not {last}")


def _chained(before: bytes, fields: tuple[Any, ...]) -> bytes:
    text = "\x1f".join(["" if field is None else str(field) for field in fields])
    return hashlib.sha256(before + text.encode()).digest()


def _refuse(what: str) -> NoReturn:
    raise CommandError(
        f"{what}; nothing was changed (restore the newest backup, or see docs/recovery.md)"
    )


# What an entry says.


def _translated(text: str, translate: Callable[[Json], Json]) -> str:
    """Return a JSON text in other words; the very same text where no word of it changes.

    An idempotency key is answered by comparing the whole text of a wish, so what is written here
    is to the byte what the program writes: no spaces, and no escapes that need not be.
    """
    before = json.loads(text)
    after = translate(before)
    return text if after == before else _json(after)


def _wish(words: _Words, kind: str | None, wish: Json) -> Json:
    if kind == "refused":
        return _refusal(words, wish)
    if kind in ("recovered", "over-limit"):
        return {
            name: words.troubles.get(value, value) if name == "from" else value
            for name, value in wish.items()
        }
    if kind == "mem-max":
        wish = _renamed(wish, words.max_mem)
    return _amounts(words, _named(words, wish))


def _refusal(words: _Words, refusal: Json) -> Json:
    asked, numbers = refusal.get("wish"), refusal.get("numbers")
    told = _wish(words, asked, refusal)
    if asked is not None:
        told["wish"] = words.kinds.get(asked, asked)
    if numbers is not None:
        if refusal.get("code") in _OF_MAX_MEM:
            numbers = _renamed(numbers, words.max_mem)
        told["numbers"] = _named(words, numbers)
    return told


def _amounts(words: _Words, told: Json) -> Json:
    """Return what has a list of components, of a record or of one that is imported."""
    old, new = words.components
    if old not in told:
        return told
    told = _renamed(told, words.components)
    told[new] = [[*_key(words, *each[:2]), *each[2:]] for each in told[new]]
    return told


def _named(words: _Words, told: Json) -> Json:
    """Return what names one component."""
    if "owner" not in told or "name" not in told:
        return dict(told)
    owner, name = _key(words, told["owner"], told["name"])
    return {**told, "owner": owner, "name": name}


def _key(words: _Words, owner: str, name: str) -> tuple[str, str]:
    return owner, words.key(name) if owner == "operator" else name


def _renamed(told: Json, names: tuple[str, str]) -> Json:
    """Return the same fields in the same order, one of them by its other name."""
    old, new = names
    return {new if name == old else name: value for name, value in told.items()}


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# Instances: what is open for them is sealed by a checksum each, since no chain covers it.


def _rewrite_instances(
    state_of: Callable[[sa.Row[Any], bool], tuple[str, int | None]],
    build_of: Callable[[Json], Json | None],
) -> None:
    connection = op.get_bind()
    update = (
        "UPDATE instance SET push_state = ?, drift_pages = ?, build = ?"
        " WHERE uuid = ? AND incarnation = ?"
    )
    heads = dict(
        connection.exec_driver_sql(
            "SELECT record.uuid, history.revision FROM record JOIN history ON history.seq = head"
        ).all()
    )
    rows = connection.exec_driver_sql(
        "SELECT uuid, incarnation, push_state, settled_revision, effects, build, drift_pages"
        " FROM instance"
    ).all()
    for row in rows:
        _opened(row.uuid, row.effects)
        was = _opened(row.uuid, row.build)
        build = None if was is None else build_of(json.loads(was))
        sealed = None if build is None else _sealed(_json(build))
        was_in_force = row.settled_revision == heads.get(row.uuid)
        state = state_of(row, was_in_force)
        connection.exec_driver_sql(update, (*state, sealed, row.uuid, row.incarnation))


def _opened(uuid: str, sealed: str | None) -> str | None:
    text = None if sealed is None else sealed.partition(" ")[2]
    if text is not None and _sealed(text) != sealed:
        _refuse(f"what is open for {uuid} is not as it was written")
    return text


def _sealed(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x} {text}"


def _state_of(row: sa.Row[Any], was_in_force: bool) -> tuple[str, int | None]:
    """Return push state and drift_pages; `drifted` was a push that read back otherwise, or drift.

    Where this very revision was seen in force, it was another program's write that was left alone;
    which number it was is not known (0), so it is looked at again, and is not pushed over.
    """
    if row.push_state == "drifted" and was_in_force:
        return "pending", 0
    return _TODAY.push_states.get(row.push_state, row.push_state), None


def _former_state_of(row: sa.Row[Any], _: bool) -> tuple[str, int | None]:
    if row.drift_pages is not None:
        return "drifted", None
    return _FORMER.push_states.get(row.push_state, row.push_state), None


def _build_of(birth: Json) -> Json | None:
    """Return the build phase that three flags stood for; None where all is settled."""
    phase = "settled"
    if birth.get("announced"):
        phase = "announced"
    elif birth.get("unsure"):
        phase = "following" if birth.get("tracking") else "undecided"
    pages = (birth.get("theirs_pages"), birth.get("ours_pages"))
    if phase == "settled" and pages == (None, None):
        return None
    return {"phase": phase, "toolstack_pages": pages[0], "pushed_pages": pages[1]}


def _birth_of(build: Json) -> Json:
    phase = build["phase"]
    return {
        "tracking": phase == "following",
        "unsure": phase in ("following", "undecided"),
        "announced": phase == "announced",
        "theirs_pages": build["toolstack_pages"],
        "ours_pages": build["pushed_pages"],
    }


# The file beside the database that remembers the newest entry.


def _prove_high_water(table: str, suffix: str) -> None:
    """Refuse a database that has lost the entry which the file of its revision remembers."""
    path = _beside(suffix)
    found = path.read_bytes() if path is not None and path.exists() else b""
    if len(found) < _MARK.size:
        return
    seq, known, check = _MARK.unpack(found[: _MARK.size])
    if seq == 0 or check != hashlib.sha256(b"%d:" % seq + known).digest()[:8]:
        return
    query = f"SELECT hash FROM {table} WHERE seq = ?"  # noqa: S608 - one of two names
    if op.get_bind().exec_driver_sql(query, (seq,)).scalar() != known:
        _refuse(f"entry {seq} was written, and it is not there")


def _remove_high_water(suffix: str) -> None:
    path = _beside(suffix)
    if path is None:
        return
    path.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _beside(suffix: str) -> Path | None:
    """Return a file's path beside the database; None for a database without a file."""
    rows = op.get_bind().exec_driver_sql("PRAGMA database_list").all()
    file = next((row.file for row in rows if row.name == "main"), "")
    return Path(f"{file}{suffix}") if file else None
