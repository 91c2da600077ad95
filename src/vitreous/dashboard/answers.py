"""What goes back to the page: raw arrays, maps, and errors of one line."""

import logging
from collections.abc import Sequence
from urllib.parse import quote

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from jaxtyping import Bool, Float
from starlette.exceptions import HTTPException

from vitreous.analysis.view import surface_level
from vitreous.errors import InputError
from vitreous.mrc import build_header

logger = logging.getLogger(__name__)


def command_header(command: str) -> dict[str, str]:
    """Word the header that names the command which does the same."""
    return {"X-Command": quote(command)}


def array_answer(values: np.ndarray) -> Response:
    """Send numbers as they lie in memory: float32 or uint16, little-endian."""
    kind = "<u2" if values.dtype == np.uint16 else "<f4"
    return Response(
        np.ascontiguousarray(values, kind).tobytes(),
        media_type="application/octet-stream",
        headers={"X-Type": "uint16" if kind == "<u2" else "float32"},
    )


def mask_answer(mask: Bool[np.ndarray, " n"], command: str) -> Response:
    """Send a selection as one bit a particle, the first in the lowest bit."""
    return Response(
        np.packbits(mask, bitorder="little").tobytes(),
        media_type="application/octet-stream",
        headers={"X-Count": str(int(mask.sum())), **command_header(command)},
    )


def map_answer(
    volume: Float[np.ndarray, "n n n"], voxel_size: float, command: str, level: float | None = None
) -> Response:
    """Send a map as an MRC file, with a contour level that suits it."""
    volume = np.ascontiguousarray(volume, "<f4")
    mean, deviation = float(volume.mean(dtype=np.float64)), float(volume.std(dtype=np.float64))
    statistics = (float(volume.min()), float(volume.max()), mean, deviation)
    header = build_header(volume.shape, voxel_size, (0.0, 0.0, 0.0), True, statistics)
    level = surface_level([volume]) if level is None else level
    return Response(
        header + volume.tobytes(),
        media_type="application/octet-stream",
        headers={
            "X-Level": f"{level:.7g}",
            "X-Sigma": f"{deviation:.7g}",
            **command_header(command),
        },
    )


def finite(values: Sequence[float] | np.ndarray, digits: int = 7) -> list[float | None]:
    """Put numbers into what JSON holds: NaN and infinities become null."""
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in np.asarray(values, float)]


def answer_errors(app: FastAPI) -> None:
    """Give every error the form `{"error": one line}`, whatever raised it."""

    @app.exception_handler(InputError)
    def _input(request: Request, error: InputError) -> JSONResponse:
        return JSONResponse({"error": " ".join(str(error).split())}, status_code=400)

    @app.exception_handler(OSError)
    def _system(request: Request, error: OSError) -> JSONResponse:
        # A full disk, a folder of somebody else's: nothing to report.
        what = error.strerror or str(error)
        where = "" if error.filename is None else f"{error.filename}: "
        return JSONResponse({"error": f"{where}{what}"}, status_code=400)

    @app.exception_handler(HTTPException)
    def _known(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, status_code=error.status_code)

    @app.exception_handler(RequestValidationError)
    def _form(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
        return JSONResponse({"error": f"{where}: {first['msg']}"}, status_code=400)

    @app.exception_handler(Exception)
    def _fault(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s: %r", request.method, request.url.path, error)
        line = " ".join(str(error).split())[:300]
        return JSONResponse(
            {"error": f"an internal fault, please report it: {type(error).__name__}: {line}"},
            status_code=500,
        )
