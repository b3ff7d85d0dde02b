"""Face detectors; one file finds the faces of one image (`crop_faces.detector`).

Which face is the clip's, and how it is cropped, is decided in `cropping`.
"""
