"""Run maxmemctl as `python -m maxmemd.cli`."""

import sys

from maxmemd.cli import main

sys.exit(main())
