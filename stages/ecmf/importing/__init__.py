"""Convert features that others published into archives for the encoder `imported`.

How each toolkit lays out its files is in `feature_formats`. Pickles are read without running code.
"""
