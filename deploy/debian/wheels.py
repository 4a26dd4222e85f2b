"""The locked wheels for a release's Python, whatever Python runs here, and this checkout's own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from releases import Release

ROOT = Path(__file__).resolve().parents[2]
PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")


def install(release: Release, site: Path, wheels: Path, epoch: str) -> dict[str, Any]:
    """Install the locked wheels and this checkout's into `site`; return pip's report.

    The report is about the locked wheels only. `wheels` is a folder to work in, `epoch` the date
    of what is built, in seconds.
    """
    wheels.mkdir(parents=True, exist_ok=True)
    report = install_locked(release, site, wheels / "report.json")
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    subprocess.run([*PIP, *build], check=True, env=environment)
    # By name, so that no path gets into the package.
    own = ["--no-index", "--find-links", str(wheels), "maxmemd"]
    subprocess.run([*PIP, "install", *_target(release, site), *own], check=True)
    shutil.rmtree(site / "bin", ignore_errors=True)
    for unwanted in [*site.rglob("tests"), *site.rglob("test")]:
        shutil.rmtree(unwanted, ignore_errors=True)
    subprocess.run(["strip", "--strip-unneeded", *site.rglob("*.so")], check=True)
    return report


def install_locked(release: Release, site: Path, report: Path, *also: str) -> dict[str, Any]:
    """Install the locked wheels and no others; return pip's report on them."""
    lock = ["--require-hashes", "-r", str(ROOT / "requirements.lock"), "--report", str(report)]
    subprocess.run([*PIP, "install", *_target(release, site), *lock, *also], check=True)
    told = json.loads(report.read_text(encoding="utf-8"))
    return {**told, "environment": _environment(release, told["environment"])}


def _target(release: Release, site: Path) -> list[str]:
    target = ["--target", str(site), "--no-deps", "--no-compile", "--only-binary", ":all:"]
    target += ["--python-version", release.python, "--implementation", "cp"]
    target += ["--abi", release.tag, "--abi", "abi3"]
    for minor in range(release.glibc, 4, -1):
        target += ["--platform", f"manylinux_2_{minor}_x86_64"]
    return [*target, "--platform", "manylinux2014_x86_64", "--platform", "any"]


def _environment(release: Release, here: Mapping[str, str]) -> dict[str, str]:
    """Return what markers compare: pip reports the Python that it runs on."""
    python = {"python_version": release.python, "python_full_version": f"{release.python}.0"}
    return {**here, **python, "implementation_version": f"{release.python}.0"}
