"""What a corpus is: its manifest, its splits, the features and labels of its clips.

How each published corpus lies on disk is in `corpora`; media files are opened in `decoding`.
"""
