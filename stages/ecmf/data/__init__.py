"""The records of a corpus: its manifest, splits, texts and labels, and its features in memory.

The layouts of published corpora are in `corpora`; media files are opened in `decoding`.
"""
