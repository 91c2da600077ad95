"""What the devices compute and copy in a second, and how exactly they multiply."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vitreous.doctor.findings import Finding
from vitreous.training.precision import matmul_precision

# Relative error of a 256-term float32 product: rounding alone is 1e-7 a term, in a random walk.
_FLOAT32 = 1e-5
_SIDE = {"cpu": 1024}
_SIDE_DEFAULT = 8192
_COPY = {"cpu": 64 << 20}
_COPY_DEFAULT = 1 << 30


def check_devices() -> Finding:
    """List the devices JAX sees, with their memory."""
    devices = jax.devices()
    kinds = sorted({f"{d.platform}: {d.device_kind}" for d in devices})
    found = f"{len(devices)} × {', '.join(kinds)}, JAX {jax.__version__}"
    figures: dict[str, float | int | str] = {
        "count": len(devices),
        "local": len(jax.local_devices()),
        "platform": devices[0].platform,
        "jax": jax.__version__,
    }
    stats = jax.local_devices()[0].memory_stats() or {}
    limit, used = stats.get("bytes_limit", 0), stats.get("bytes_in_use", 0)
    if devices[0].platform != "cpu" and limit:
        figures["free_bytes_each"] = limit - used
        found += f", {(limit - used) / 2**30:.1f} GiB free on each"
    if devices[0].platform == "cpu":
        advice = "for NVIDIA GPUs: pip install 'vitreous[cuda]'"
        return Finding("devices", found, "note", advice, figures)
    return Finding("devices", found, figures=figures)


def check_precision() -> Finding:
    """Multiply matrices in each precision and compare with float64 on the host."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((256, 256)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    errors: dict[str, float | int | str] = {"as it comes": _error(a, b, exact)}
    platform = jax.default_backend()
    for name in ("float32", "tensorfloat32", "bfloat16"):
        if platform == "cpu" and name != "float32":
            continue
        with matmul_precision(name, platform):  # type: ignore[arg-type]
            errors[name] = _error(a, b, exact)
    found = ", ".join(f"{name} {float(value):.1e}" for name, value in errors.items())
    found = f"relative error of a product: {found}"
    if float(errors["float32"]) > _FLOAT32:
        advice = "the device does not multiply in float32 when asked: update driver and jaxlib"
        return Finding("precision", found, "mend", advice, errors)
    if float(errors["as it comes"]) > _FLOAT32:
        advice = "fits on GPU choose bfloat16 factors; --precision float32 or --no-amp is exact"
        return Finding("precision", found, "note", advice, errors)
    return Finding("precision", found, figures=errors)


def _error(a: np.ndarray, b: np.ndarray, exact: np.ndarray) -> float:
    # A fresh function: the precision in force is read when it is traced.
    product = jax.jit(lambda x, y: x @ y)(jnp.asarray(a), jnp.asarray(b))
    return float(np.linalg.norm(np.asarray(product) - exact) / np.linalg.norm(exact))


def benchmark_devices(seconds: float = 10.0) -> list[Finding]:
    """Time matrix products and copies on the first device.

    **Arguments:** `seconds`: to spend in all, compilation aside.
    """
    device = jax.local_devices()[0]
    side = _SIDE.get(device.platform, _SIDE_DEFAULT)
    share = seconds / 5
    findings = []
    products = {"float32": jnp.float32}
    if device.platform != "cpu":
        products["bfloat16"] = jnp.bfloat16
    for name, dtype in products.items():
        rate = 2 * side**3 / _time(_product(side, dtype), share)
        words = f"{rate / 1e12:,.2f} Tflop/s ({name}, {side}²)"
        findings.append(Finding(f"products, {name}", words, figures={"flops": rate}))
    count = _COPY.get(device.platform, _COPY_DEFAULT) // 4
    block = jax.device_put(jnp.ones(count, jnp.float32), device)
    add = jax.jit(lambda x: x + 1)
    rate = 8 * count / _time(lambda: add(block), share)
    words = f"{rate / 1e9:,.1f} GB/s read and written"
    findings.append(Finding("memory of the device", words, figures={"bytes_per_second": rate}))
    host = np.ones(count, np.float32)
    rate = 4 * count / _time(lambda: jax.device_put(host, device), share)
    words = f"{rate / 1e9:,.1f} GB/s from host to device"
    findings.append(Finding("upload", words, figures={"bytes_per_second": rate}))
    return findings


def _product(side: int, dtype: jnp.dtype | type) -> Callable[[], Array]:
    matrix = jnp.full((side, side), 1 / side, dtype)
    multiply = jax.jit(lambda x: x @ x)
    return lambda: multiply(matrix)


def _time(work: Callable[[], Array], seconds: float) -> float:
    """Return the seconds of one call at best, from as many as fit the time."""
    work().block_until_ready()
    best, end = np.inf, time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        work().block_until_ready()
        now = time.perf_counter()
        best = min(best, now - began)
        if now >= end:
            return best
