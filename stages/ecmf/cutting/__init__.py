"""Cut long recordings into utterances, by voice activity and shot cuts.

The pieces are only listed: `decoding` reads each from the file that it is a piece of.
"""
