"""`make audit`: look for known vulnerabilities of the libraries in the package.

pip-audit looks them up; a library that it could not look up is never reported as sound.
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
"""Asked one after the other: PyPI's JSON API, and OSV."""
SOUND, VULNERABLE, UNKNOWN = 0, 1, 2


def main() -> int:
    """Ask each service until one knows every library; print the result."""
    failures = []
    for service in SERVICES:
        report, errors = _run_pip_audit(service)
        status, lines = verdict(report, _pinned_names())
        if status != UNKNOWN:
            print(f"audit: {service} knows all {len(_pinned_names())} libraries", *lines, sep="\n")
            return status
        failures += [f"  {service}: {line[:300]}" for line in [*lines, *errors]]
    print("cannot audit requirements.lock: no service knows every library", file=sys.stderr)
    print("\n".join(failures), file=sys.stderr)
    return UNKNOWN


def verdict(report: Mapping[str, Any], pinned: Sequence[str]) -> tuple[int, list[str]]:
    """Return the status for pip-audit's report on the `pinned` libraries, and its lines."""
    parts = {part["name"]: part for part in report.get("dependencies", [])}
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


def _run_pip_audit(service: str) -> tuple[dict[str, Any], list[str]]:
    """Return pip-audit's report; if it wrote none, an empty one and its last line on stderr."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--require-hashes"]
    command += ["--disable-pip", "--progress-spinner", "off", "-f", "json", "-s", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return dict(json.loads(done.stdout)), []
    except ValueError:
        return {}, done.stderr.splitlines()[-1:]


def _pinned_names() -> list[str]:
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [line.partition("==")[0] for line in lines if "==" in line and line[0] not in " #"]


if __name__ == "__main__":
    sys.exit(main())
