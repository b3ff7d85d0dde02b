"""Define a corpus: its manifest, its splits, and the features and labels of its clips.

The layouts of published corpora are in `corpora`; media files are opened in `decoding`.
"""
