"""Bodies: `from maxmemd.wire import requests`, `replies`, `history_replies`, `daemon_replies`."""
