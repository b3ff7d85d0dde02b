"""Load pretrained networks: safetensors from a model hub or a folder, and ONNX files.

No pickle is read and no remote code is run. Encoders that use the networks are in `encoding` and
`encoders`.
"""
