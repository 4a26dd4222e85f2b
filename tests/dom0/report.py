"""What the real Xen showed, kept for docs/why-one-arbiter.md: `make real-xen-report` renews it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.dom0.rig import Rig
from tests.support.figures import figure

REPORT = Path(__file__).resolve().parents[2] / "docs" / "real-xen-report.json"


@dataclass
class Report:
    """The facts of one run. They are written only where REAL_XEN_REPORT asks for it."""

    rig: Rig
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def keep(self, what: str, **fact: Any) -> None:
        """Keep one fact: JSON values by name; a fact of that name of an earlier run is replaced."""
        self.facts[what] = fact
        self._write()
        figure("real Xen", what, ", ".join(f"{name} {found}" for name, found in fact.items()))

    def _write(self) -> None:
        """Write what was kept into the committed file, beside what earlier runs kept."""
        if not os.environ.get("REAL_XEN_REPORT"):
            return
        before = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
        facts = {**before.get("facts", {}), **self.facts}
        whole = {"machine": self._machine(), "facts": dict(sorted(facts.items()))}
        REPORT.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

    def _machine(self) -> dict[str, str]:
        """Return what ran: the hypervisor, dom0's kernel, the device model."""
        qemu = "/usr/libexec/xen-qemu-system-i386 --version | head -n 1"
        asked = {"xen": "xl info xen_version", "dom0": "uname -r", "qemu": qemu}
        return {name: self.rig.run(text).stdout.strip() for name, text in asked.items()}
