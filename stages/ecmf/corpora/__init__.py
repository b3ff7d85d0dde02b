"""Read the layouts of published corpora; each file reads one layout and yields its clips.

The manifest and the splits, which all of them share, are in `data`.
"""
