"""Video decoders (`decode_video.decoder`); each file wraps one library.

`decoding` samples the frames and checks for damage.
"""
