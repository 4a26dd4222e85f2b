"""The Debian releases that there is a package for, and in what their packages differ."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """One of them: its Python (and that one's wheels), and the minor number of its glibc 2."""

    number: int
    codename: str
    python: str
    glibc: int

    @property
    def tag(self) -> str:
        """The interpreter's tag in the names of wheels, as cp313."""
        return f"cp{self.python.replace('.', '')}"

    def version(self, upstream: str) -> str:
        """Return the package's version. That of an older Debian is lower: upgrades go upwards."""
        return f"{upstream}-1~deb{self.number}u1"

    @property
    def depends(self) -> str:
        """The packages that it needs. The libraries in it are for this one Python."""
        major, minor = map(int, self.python.split("."))
        python = f"python3 (>= {self.python}), python3 (<< {major}.{minor + 1})"
        return f"libc6 (>= 2.{self.glibc}), libxencall1, {python}, systemd (>= 252)"


TRIXIE = Release(13, "trixie", "3.13", glibc=41)
BOOKWORM = Release(12, "bookworm", "3.11", glibc=36)
RELEASES = {release.number: release for release in (TRIXIE, BOOKWORM)}
