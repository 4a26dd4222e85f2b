"""Words and columns for eyes: sizes with a unit, aligned cells, nothing that moves the cursor."""


def amount(kib: int | None, unlimited: bool = False) -> str:
    """Return so many KiB in MiB where they are whole ones."""
    if kib is None:
        return "-"
    if unlimited:
        return "unlimited"
    return f"{kib} KiB" if kib % 1024 else f"{kib // 1024} MiB"


def plain(text: str) -> str:
    """Return text with every character that is not printable replaced by "?"."""
    return "".join(c if c.isprintable() else "?" for c in text)


def aligned(rows: list[list[str]], right: frozenset[int] = frozenset(), indent: str = "") -> str:
    """Return rows as lines of columns; those named in `right` are set flush right."""
    if not rows:
        return ""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(widths[at]) if at in right else cell.ljust(widths[at])
            for at, cell in enumerate(row)
        ]
        lines.append(indent + "  ".join(padded).rstrip() + "\n")
    return "".join(lines)
