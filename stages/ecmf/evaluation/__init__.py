"""Predict every clip, ensemble the models, score with intervals, write tables.

It trains nothing, and it alone reads labels of the test split.
"""
