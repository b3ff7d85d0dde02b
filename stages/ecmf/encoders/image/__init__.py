"""Encoders of pictures: whole frames and face crops."""
