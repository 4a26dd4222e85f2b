"""`make bench`: speed and size, mostly as ratios, so that the machine matters little."""
