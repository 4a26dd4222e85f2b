"""Connections: accepted, bounded, read."""
