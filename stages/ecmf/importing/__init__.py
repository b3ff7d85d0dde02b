"""Convert features that others published into archives for the encoder `imported`.

The file layout of each toolkit is in `feature_formats`. Pickles are read without running code.
"""
