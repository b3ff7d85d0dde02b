"""Predict every clip, ensemble the models, write tables and the MER2025 submission.

Only this package reads labels of the test split. Scores are in `metrics`.
"""
