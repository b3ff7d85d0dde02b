"""Audio encoders: from a waveform to one row per clip, window or step."""
