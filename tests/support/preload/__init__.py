"""Small C libraries that stand before libc's calls in a daemon under test."""

import subprocess
from pathlib import Path


def built(name: str, place: Path) -> Path:
    """Build NAME.c of this directory into `place`; return the library."""
    library = place / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    gcc = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*gcc, "-o", str(library), str(source), "-ldl"], check=True)
    return library
