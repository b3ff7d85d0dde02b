"""Train fusion models: folds, seeds, batches, optimizers, early stopping, one run or many by vmap.

The models are in `fusion`; the labels they learn from are made in `refinement`.
"""
