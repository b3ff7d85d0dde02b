"""Face detectors (`crop_faces.detector`): find the faces of one image.

`cropping` selects and crops the main face of a clip.
"""
