"""The argument, executed: models, the real arbiter under a scheduler, and spin."""
