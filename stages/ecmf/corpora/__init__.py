"""Layouts of published corpora; one file reads one layout and yields its clips.

What all of them share, the manifest and the splits, is in `data`.
"""
