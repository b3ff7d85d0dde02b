"""Files that pass between stages: the ragged HDF5 store, JPEG images, csv, atomic replacement.

Nothing here knows what the numbers mean or which stage wrote them.
"""
