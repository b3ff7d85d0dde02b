"""Layers that fusion models are built of: pooling, attention, dropout over padded sequences.

Rows with masks in, rows or vectors out; nothing here knows labels.
"""
