"""ECMF: train an emotion-recognition model on a folder of video clips, and score it.

A stage has a package of its activity (`decoding`) and a package of its plugins (`decoders`). A
plugin may import the package of its stage, which loads plugins by name and never imports them.
`storage`, `execution` and `data` serve all stages.
"""
