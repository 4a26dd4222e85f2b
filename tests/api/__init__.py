"""REST from outside: every route, who may call it, and what no client can do to the daemon."""
