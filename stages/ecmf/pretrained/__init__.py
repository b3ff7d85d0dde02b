"""Load pretrained weights: from a model hub or a folder, by transformers or as ONNX.

Only safetensors and ONNX are read, no pickle and no remote code. What a network computes of a clip
is in `encoding`.
"""
