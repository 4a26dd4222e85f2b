"""Dear reads: off the loop, in turns, shared, and ended in time."""
