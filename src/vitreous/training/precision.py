"""The precision of matrix products, as an explicit choice."""

import contextlib
from typing import Literal

import jax

Precision = Literal["auto", "float32", "tensorfloat32", "bfloat16"]

_NAMES = {
    "float32": "highest",
    "tensorfloat32": "TF32_TF32_F32",
    "bfloat16": "BF16_BF16_F32",
}


def matmul_precision(
    precision: Precision, platform: str | None = None
) -> contextlib.AbstractContextManager:
    """Use this precision for matrix products inside the block, float32 accumulation always.

    `"auto"`: float32 on CPU, bfloat16 factors on GPU. Arrays stay float32.
    """
    if precision == "auto":
        platform = platform or jax.default_backend()
        precision = "float32" if platform == "cpu" else "bfloat16"
    return jax.default_matmul_precision(_NAMES[precision])
