"""Bytes that nobody meant, at the daemon's whole way from a connection to a decision."""
