"""Follow one face through the frames of a clip and crop it.

The networks that find faces in a frame are in `detectors`.
"""
