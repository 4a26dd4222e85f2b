"""Identify callers and decide what they may call."""
