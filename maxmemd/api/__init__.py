"""REST over a Unix socket."""
