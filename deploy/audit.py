"""Known vulnerabilities of the libraries in the package: `python deploy/audit.py`, or `make audit`.

pip-audit asks; a library that nobody could be asked about is never taken for a sound one.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
SERVICES = ("pypi", "osv")
"""Who is asked, one after the other: PyPI's JSON API, and OSV."""
SOUND, VULNERABLE, UNKNOWN = 0, 1, 2


def main() -> int:
    """Ask until somebody has answered for every library; say what came of it."""
    excuses = []
    for service in SERVICES:
        told, said = _asked(service)
        status, lines = verdict(told, _pinned())
        if status != UNKNOWN:
            print(
                "\n".join([f"audit: {service} was asked about {len(_pinned())} libraries", *lines])
            )
            return status
        excuses += [f"  {service}: {line[:300]}" for line in [*lines, *said]]
    print("cannot audit requirements.lock: nobody answered for every library", file=sys.stderr)
    print("\n".join(excuses), file=sys.stderr)
    return UNKNOWN


def verdict(told: Mapping[str, Any], pinned: Sequence[str]) -> tuple[int, list[str]]:
    """Return the status for what pip-audit wrote of the `pinned` libraries, and why."""
    parts = {part["name"]: part for part in told.get("dependencies", [])}
    missed = [name for name in pinned if "vulns" not in parts.get(name, {})]
    if missed or not pinned:
        why = parts.get(missed[0], {}).get("skip_reason") if missed else None
        return UNKNOWN, [f"{len(missed)} of {len(pinned)} not looked up ({why or 'no answer'})"]
    lines = [
        f"{name} {part['version']}: {one['id']} {', '.join(one['aliases'])}, fixed in"
        f" {', '.join(one['fix_versions']) or 'no version yet'}"
        for name, part in parts.items()
        for one in part["vulns"]
    ]
    return (VULNERABLE, lines) if lines else (SOUND, ["no known vulnerability"])


def _asked(service: str) -> tuple[dict[str, Any], list[str]]:
    """Return what pip-audit wrote; where that is nothing, the last line of why."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--require-hashes"]
    command += ["--disable-pip", "--progress-spinner", "off", "-f", "json", "-s", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return dict(json.loads(done.stdout)), []
    except ValueError:
        return {}, done.stderr.splitlines()[-1:]


def _pinned() -> list[str]:
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [line.partition("==")[0] for line in lines if "==" in line and line[0] not in " #"]


if __name__ == "__main__":
    sys.exit(main())
