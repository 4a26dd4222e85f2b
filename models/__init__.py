"""Models of what maxmemd is built on; not shipped."""
