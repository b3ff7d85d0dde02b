"""Predict new files with a trained model: the stages of the pipeline in turn, without DVC.

The stages themselves are in `decoding`, `cropping`, `encoding` and `enrichment`, the models in
`training` and their average in `evaluation`.
"""
