"""Rules that combine the votes on a label; one file is one rule (`refine_labels.refiner`).

Where the votes come from, and what happens to a rejected label, is decided in `refinement`.
"""
