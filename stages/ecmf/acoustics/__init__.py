"""Acoustic measurements of a voice: low-level descriptors and prosodic functionals.

They need no pretrained network and read no file.
"""
