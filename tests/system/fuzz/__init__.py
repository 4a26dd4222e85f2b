"""Arbitrary bytes on the daemon's whole path from a connection to a decision."""
