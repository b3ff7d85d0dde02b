"""Face detectors: one file finds the faces of one image (`crop_faces.detector`).

The choice of the clip's main face, and its crop, are made in `cropping`.
"""
