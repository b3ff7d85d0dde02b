"""Acoustic measurements of a voice: low-level descriptors and prosodic functionals.

No pretrained network and no file: a waveform in, numbers out.
"""
