"""Train fusion models on given folds and seeds: batches, optimizers, early stopping, vmap.

The models are in `fusion`, the folds in `data`; training labels are refined in `refinement`.
"""
