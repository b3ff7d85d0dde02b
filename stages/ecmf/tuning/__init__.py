"""Search parameters of training on validation folds, and report what was gained.

No label of the test split is at hand here.
"""
