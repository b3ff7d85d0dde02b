"""Encoders: each module turns the images, the audio or the text of a clip into feature vectors.

There is one family per modality. Batches are in `encoding`, processes and caches in `execution`.
"""
