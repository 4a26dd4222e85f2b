"""An instance has a push state and a build phase, each one word for one thing.

"drifted" stood for two things: a push that read back otherwise, and a foreign write that is left
alone. Which of them it was cannot be told any more, so it becomes the one that is safe: a foreign
write (drift_pages 0: it is not known which), that is looked at again and not overwritten blindly.
"""

import json
import zlib
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Words = dict[str, Any]


def upgrade() -> None:
    op.execute("ALTER TABLE instance RENAME COLUMN state TO push_state")
    op.execute("ALTER TABLE instance RENAME COLUMN birth TO build")
    op.add_column("instance", sa.Column("drift_pages", sa.BigInteger))
    op.execute("UPDATE instance SET push_state = 'over-limit' WHERE push_state = 'over_limit'")
    op.execute(
        "UPDATE instance SET push_state = 'pending', drift_pages = 0 WHERE push_state = 'drifted'"
    )
    _rewrite(_build_of)


def downgrade() -> None:
    op.execute("UPDATE instance SET push_state = 'over_limit' WHERE push_state = 'over-limit'")
    op.execute(
        "UPDATE instance SET push_state = 'drifted'"
        " WHERE push_state = 'mismatched' OR drift_pages IS NOT NULL"
    )
    _rewrite(_birth_of)
    op.drop_column("instance", "drift_pages")
    op.execute("ALTER TABLE instance RENAME COLUMN build TO birth")
    op.execute("ALTER TABLE instance RENAME COLUMN push_state TO state")


def _rewrite(changed: Callable[[Words], Words | None]) -> None:
    """Rewrite what is known of each build, and its seal; text whose seal is broken stays as it is.

    So what was damaged before is still seen to be.
    """
    connection = op.get_bind()
    rows = connection.execute(
        sa.text("SELECT uuid, incarnation, build FROM instance WHERE build IS NOT NULL")
    ).all()
    for uuid, incarnation, sealed in rows:
        seal, _, text = sealed.partition(" ")
        if seal != _seal_of(text):
            continue
        after = changed(json.loads(text))
        build = None
        if after is not None:
            written = json.dumps(after, separators=(",", ":"))
            build = f"{_seal_of(written)} {written}"
        connection.execute(
            sa.text("UPDATE instance SET build = :build WHERE uuid = :uuid AND incarnation = :i"),
            {"build": build, "uuid": uuid, "i": incarnation},
        )


def _seal_of(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _build_of(birth: Words) -> Words | None:
    """Return a build as it is kept from now on; None for one of which everything is known."""
    pages = {"toolstack_pages": birth.get("theirs_pages"), "pushed_pages": birth.get("ours_pages")}
    if birth.get("announced"):
        phase = "announced"
    elif birth.get("tracking"):
        phase = "following"
    elif birth.get("unsure"):
        phase = "undecided"
    else:
        return None
    return {"phase": phase, **pages}


def _birth_of(build: Words) -> Words:
    """Return a build as it was kept before."""
    phase = build["phase"]
    return {
        "tracking": phase == "following",
        "unsure": phase in ("following", "undecided"),
        "announced": phase == "announced",
        "theirs_pages": build.get("toolstack_pages"),
        "ours_pages": build.get("pushed_pages"),
    }
