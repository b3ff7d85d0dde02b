"""Refine training labels: collect votes, predict out of fold, decide, audit.

The rules that combine votes are in `refiners`. Labels of validation and test are never used.
"""
