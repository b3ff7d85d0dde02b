"""Train fusion models: folds, seeds, batches, optimizers, early stopping, one run or many by vmap.

The models are in `fusion`; their training labels are made in `refinement`.
"""
