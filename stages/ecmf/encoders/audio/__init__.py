"""Encoders of audio: a waveform in, one row per window or per step out."""
