"""What the project promises of speed and size, measured as ratios in one run: `make bench`."""
