"""The REST API, over Unix sockets and TCP."""
