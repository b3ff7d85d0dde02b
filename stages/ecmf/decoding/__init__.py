"""Decode a media file once: frames at even times, a mono waveform, and signs of damage.

The libraries that open a file are in `decoders`.
"""
