"""`python -m models.races` starts here."""

import sys

from models.races.main import main

sys.exit(main())
