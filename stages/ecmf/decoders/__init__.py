"""Libraries that decode video; one file wraps one library (`decode_video.decoder`).

Which frames are wanted, and what counts as damage, is decided in `decoding`.
"""
