"""Decode a media file in one pass: frames at even times, a mono waveform, integrity checks.

The libraries that decode the packets of a video are in `decoders`.
"""
