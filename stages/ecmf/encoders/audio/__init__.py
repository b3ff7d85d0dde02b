"""Encoders of the voice."""
