"""Dear reads: made off the event loop, in strides, once for all who ask, and ended in time."""
