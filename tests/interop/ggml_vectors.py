#!/usr/bin/env python3
# tersor - writes tests/data/gguf/encoded.safetensors: rows and the blocks that ggml's own library encodes them as
# SPDX-License-Identifier: MIT
#
#   pip install gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0 pywhispercpp==1.5.1
#   python3 tests/interop/ggml_vectors.py SITE_PACKAGES/libggml-base.so tests/data/gguf
#
# The wheel of pywhispercpp ships libggml-base.so (ggml 0.13.1), whose ggml_quantize_chunk is what llama.cpp's quantize calls. Any
# other build of that library will do.
import ctypes
import pathlib
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

PLAIN = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4",
         "NVFP4")
WEIGHTED = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")
ggml = ctypes.CDLL(sys.argv[1])
floats = ctypes.POINTER(ctypes.c_float)
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, floats, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, floats]
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t


def encode(name, x, importance=None):
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros((x.shape[0], x.shape[1] // block * size), np.uint8)
    weights = importance.ctypes.data_as(floats) if importance is not None else None
    written = ggml.ggml_quantize_chunk(int(kind), x.ctypes.data_as(floats), out.ctypes.data, 0, x.shape[0], x.shape[1], weights)
    assert written == out.nbytes
    return out


random = np.random.default_rng(7)
x = np.zeros((5, 512), np.float32)
x[0] = random.standard_normal(512)
x[1] = 0.02 * random.standard_t(3, 512)  # heavy tails, the size of a model's weights
x[2] = np.abs(random.standard_normal(512)) + 0.5  # one sign
x[3, :256] = 0.03 * random.standard_normal(256) * np.repeat(10.0 ** -np.arange(8), 32)  # groups of very different sizes
x[3, 256:] = -0.25
x[4, ::37] = random.standard_normal(14)  # mostly zeros, groups of nothing else
importance = (random.standard_normal(512) ** 2 * np.exp(random.standard_normal(512))).astype(np.float32)
tensors = {"x": x, "importance": importance}
for name in PLAIN:
    tensors[name + ".plain"] = encode(name, x)
for name in WEIGHTED:
    tensors[name + ".weighted"] = encode(name, x, importance)
for name in PLAIN:  # the Python package agrees where it has an encoder
    try:
        other = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name])
    except NotImplementedError:
        continue
    print(name, "bytes that differ from the Python package:", int(np.sum(other != tensors[name + ".plain"])))
save_file(tensors, pathlib.Path(sys.argv[2]) / "encoded.safetensors", metadata={"made_by": "tests/interop/ggml_vectors.py"})
