"""The Debian package: what is in it, and what it says is in it."""
