"""Tests of the arbiter, a file a module."""
