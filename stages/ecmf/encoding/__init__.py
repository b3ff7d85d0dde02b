"""Apply encoders to stores: interfaces, batching across clips, views of a text.

Parts that several encoders share are here as well; the encoders themselves are in `encoders`.
"""
