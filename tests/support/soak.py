"""Whether the long tests run at full count (`make soak`)."""

import os

SOAK = os.environ.get("SOAK", "") not in ("", "0")
