"""Rules that combine the votes on a label; each file is a rule (`refine_labels.refiner`).

Collecting the votes and the policy for rejected labels are in `refinement`.
"""
