"""Files that pass between stages: the ragged HDF5 store, JPEG images, csv, atomic writes.

Nothing here depends on the meaning of the values or on the stage that wrote them.
"""
