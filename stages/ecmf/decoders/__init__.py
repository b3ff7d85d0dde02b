"""Ways to open a video."""
