"""Video decoders: one file wraps one library (`decode_video.decoder`).

The choice of frames and the checks for damage are in `decoding`.
"""
