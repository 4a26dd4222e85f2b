"""python -m maxmemd.cli is maxmemctl."""

import sys

from maxmemd.cli import main

sys.exit(main())
