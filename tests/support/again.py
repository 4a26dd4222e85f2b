"""Run pytest; under CI=true run what failed once more, alone, and say so.

`python -m tests.support.again [coverage] ARGUMENTS`. A test that needs its second chance is a
defect to be fixed: its name stands in the output, above the second run's.
"""

import os
import subprocess
import sys

FAILED = 1
"""pytest's exit status where tests ran and some failed."""
ONCE_MORE = ("--last-failed", "--last-failed-no-failures=none", "-n0")


def main(arguments: list[str]) -> int:
    """Return the exit status of the run that counts."""
    covered = arguments[:1] == ["coverage"]
    how = ["coverage", "run", "-m", "pytest"] if covered else ["pytest"]
    program, arguments = [sys.executable, "-m", *how], arguments[covered:]
    status = subprocess.run([*program, *arguments], check=False).returncode
    if status != FAILED or os.environ.get("CI") != "true":
        return status
    print("\n=== what failed is run once more, alone ===", flush=True)
    return subprocess.run([*program, *arguments, *ONCE_MORE], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
