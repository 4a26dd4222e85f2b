"""The configuration: keys, file, and what cannot be combined."""
