"""Make a virtual environment with the locked packages: `python3 deploy/setup.py DIR`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-dev.lock"


def main(directory: Path) -> int:
    """Create or update the environment; print what is done, or what to do if it cannot be."""
    python = directory / "bin" / "python"
    if not _works(python):
        if not _has_venv() and not _install_venv():
            return 1
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    print("installing the pinned packages, about half a minute", file=sys.stderr, flush=True)
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(LOCK)], check=True)
    editable = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    subprocess.run([*pip, *editable], check=True)
    return 0


def _works(python: Path) -> bool:
    if not python.exists():
        return False
    ended = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    return ended.returncode == 0


def _has_venv() -> bool:
    ended = subprocess.run(
        [sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False
    )
    return ended.returncode == 0


def _install_venv() -> bool:
    """Install Debian's python3-venv where we may; else say how."""
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "python3-venv"]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(command, check=False, env=environment, capture_output=True).returncode != 0:
        subprocess.run(["apt-get", "update", "-q"], check=True, capture_output=True)
        subprocess.run(command, check=True, env=environment, capture_output=True)
    return True


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
