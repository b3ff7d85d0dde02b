"""Encoders: each module turns the images, the audio or the text of a clip into feature vectors.

There is one family per modality. Files, batches and caches belong to `encoding`.
"""
