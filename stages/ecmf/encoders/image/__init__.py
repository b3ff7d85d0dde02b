"""Image encoders: whole frames and face crops go through the same ones."""
