"""The judge of the brain: six lines that it must reach, in the simulator. ``make bench-control`` prints them."""
