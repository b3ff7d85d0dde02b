"""Encoders: one file turns the images, the audio or the text of a clip into feature vectors.

One family per modality. Files, batches and caches are the business of `encoding`.
"""
