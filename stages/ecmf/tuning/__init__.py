"""Search training parameters on validation folds, and report the gain on fresh seeds.

No label of the test split is read.
"""
