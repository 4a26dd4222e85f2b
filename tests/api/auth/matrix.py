"""`python -m tests.api.auth.matrix` writes the table of docs/access.md from the route table."""

from pathlib import Path

from maxmemd.api.auth.access import Access
from maxmemd.api.routes import ROUTES
from maxmemd.policy.roles import NOBODY, ROLES

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "access.md"
BEGIN, END = "<!-- the route table: python -m tests.api.auth.matrix -->\n", "<!-- end -->\n"


def table() -> str:
    """Return the access matrix in Markdown."""
    columns = (*ROLES, NOBODY)
    lines = [f"| route | {' | '.join(columns)} | cost |", "|---|" + "---|" * (len(columns) + 1)]
    for route in ROUTES:
        cells = " | ".join(_cell(route.access, role) for role in columns)
        lines.append(f"| {route.method} `{route.path}` | {cells} | {route.cost} |")
    return "\n".join(lines) + "\n"


def _cell(access: Access, role: str) -> str:
    if role in access.roles:
        return "socket" if access.local else "yes"
    return "own" if role in access.own else ""


def with_table(text: str) -> str:
    """Return the document with this table in its place."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {DOCUMENT}")
