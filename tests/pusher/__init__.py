"""The process that pushes, and the way to it."""
