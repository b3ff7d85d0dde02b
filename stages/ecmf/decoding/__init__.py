"""Decode a media file in one pass: frames at even times, a mono waveform, integrity checks.

The libraries that open a file are in `decoders`.
"""
