"""Layers shared by the fusion models: pooling, attention and dropout over padded sequences.

They map rows and masks to rows or vectors, and know no labels.
"""
