"""Predict every clip, join the models of an ensemble, score with intervals, write tables.

It trains nothing, and it alone reads labels of the test split.
"""
