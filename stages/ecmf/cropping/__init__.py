"""Track the main face through the frames of a clip and crop it.

The networks that find faces in an image are in `detectors`.
"""
