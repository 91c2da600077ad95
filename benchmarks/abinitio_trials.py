"""The tests of `abinitio.py`: how each set is made, the command's words, and the goals."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Trial:
    """Say what a test is: how the set is made, the command's words, and what is to be reached.

    In `words`, `TRUTH` stands for the file of the true map. `goals`: score → (`"<="` or `">="`,
    value). `limit`: degrees. `peer`: in words.
    """

    what: str
    blobs: dict[str, Any] | None
    words: tuple[str, ...]
    goals: dict[str, tuple[str, float]]
    limit: float | None = None
    peer: str = "–"
    symmetry: str = "C1"


TRIALS = {
    "T3": Trial(
        "search, known volume, 500 images, SNR 0.3",
        {"kind": "rigid", "images": 500, "snr": 0.3},
        ("--initial-map", "TRUTH", "--keep-map"),
        {"median": ("<=", 5.0), "within 10": (">=", 0.92), "images/s": (">=", 100.0)},
        4.2,
        "5.95°, 79 % < 10°, 9.9 images/s",
    ),
    "T4": Trial(
        "homogeneous, 1,000 images, SNR 0.3",
        {"kind": "rigid", "images": 1000, "snr": 0.3},
        ("--zdim", "0"),
        {
            "median": ("<=", 5.5),
            "within 10": (">=", 0.88),
            "beyond 90": ("<=", 0.05),
            "FSC 0.5, px": ("<=", 2.9),
            "seconds": ("<=", 180.0),
        },
        4.2,
        "14.9°, 42 % < 10°, 270 s",
    ),
    "T5": Trial(
        "heterogeneous, 2,000 images, SNR 0.3",
        {"kind": "hinge", "images": 2000, "snr": 0.3},
        ("--zdim", "4"),
        {
            "median": ("<=", 7.0),
            "within 12": (">=", 0.80),
            "latent r": (">=", 0.85),
            "seconds": ("<=", 480.0),
        },
        4.8,
        "did not converge at SNR 0.1",
    ),
    "T6": Trial(
        "pseudo-symmetry, 1,000 images, SNR 0.3",
        {"kind": "twins", "images": 1000, "snr": 0.3},
        ("--zdim", "0"),
        {"median": ("<=", 7.0), "right copy": (">=", 0.75)},
        None,
        symmetry="C2",
    ),
    "C4": Trial(
        "fourfold, 1,000 images, SNR 0.3",
        {"kind": "rigid", "images": 1000, "snr": 0.3, "symmetry": "C4"},
        ("--sym", "C4"),
        {"median": ("<=", 5.5), "within 10": (">=", 0.88), "seconds": ("<=", 180.0)},
        symmetry="C4",
    ),
    "D2": Trial(
        "three twofold axes, 1,000 images, SNR 0.3",
        {"kind": "rigid", "images": 1000, "snr": 0.3, "symmetry": "D2"},
        ("--sym", "D2"),
        {"median": ("<=", 5.5), "within 10": (">=", 0.88), "seconds": ("<=", 180.0)},
        symmetry="D2",
    ),
    "tilts": Trial(
        "tilt series, 400 particles in six tilts each, SNR 0.3 an image",
        {
            "kind": "rigid",
            "images": 400,
            "snr": 0.3,
            "tilts": (-10.0, 10.0, -30.0, 30.0, -50.0, 50.0),
        },
        ("--zdim", "0"),
        {"median": ("<=", 2.5), "within 10": (">=", 0.95), "true hand": (">=", 1.0)},
    ),
    "swing": Trial(
        "a swinging arm in tilt series, 1,600 particles in six tilts each, SNR 0.3 an image",
        {
            "kind": "hinge",
            "images": 1600,
            "snr": 0.3,
            "tilts": (-10.0, 10.0, -30.0, 30.0, -50.0, 50.0),
        },
        ("--zdim", "4"),
        {
            "median": ("<=", 5.0),
            "within 12": (">=", 0.90),
            "latent r": (">=", 0.90),
            "true hand": (">=", 1.0),
        },
    ),
    "auto": Trial(
        "search, encoder, refinement: 3,000 images, SNR 0.3, 1,000 of them searched",
        {"kind": "rigid", "images": 3000, "snr": 0.3},
        ("--search-images", "1000", "--zdim", "0"),
        {"encoder median": ("<=", 15.0), "median": ("<=", 5.5), "within 10": (">=", 0.88)},
        4.2,
    ),
    "amortized": Trial(
        "amortised alone, 10,000 images, SNR 0.3",
        {"kind": "rigid", "images": 10000, "snr": 0.3},
        ("--strategy", "amortized", "--zdim", "0"),
        {"encoder median": ("<=", 15.0), "median": ("<=", 5.5)},
        4.2,
        "chance (116°) after 28,000 presentations",
    ),
    "noise": Trial(
        "pure noise, 500 images",
        {"kind": "noise", "images": 500},
        ("--zdim", "0"),
        {"FSC beyond shell 3": ("<=", 0.143), "says converged": ("<=", 0.0)},
    ),
    "igg": Trial(
        "antibody, 2,000 × 64², SNR 0.1, shifts ±8 Å",
        None,
        ("--zdim", "8"),
        {
            "median": ("<=", 10.0),
            "within 20": (">=", 0.75),
            "state accuracy": (">=", 0.60),
            "seconds": ("<=", 1200.0),
        },
    ),
}
