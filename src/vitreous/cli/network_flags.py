"""Options of the two networks of `train-vae`, `train-dec` and `train-nn`: encoder and decoder."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer


@dataclass(frozen=True)
class EncoderFlags:
    """The network from an image to its latent."""

    panel: ClassVar[str] = "Encoder"
    encode_mode: Annotated[
        str | None,
        typer.Option(
            "--encode-mode",
            help="lift, resid, mlp or conv [lift]; of tilts in order: tilt, tilt-pixels.",
        ),
    ] = None
    enc_layers: Annotated[int, typer.Option("--enc-layers", "--qlayers", help="Hidden layers.")] = 3
    enc_dim: Annotated[int, typer.Option("--enc-dim", "--qdim", help="Nodes a layer.")] = 256
    enc_mask: Annotated[
        int | None,
        typer.Option("--enc-mask", help="Outermost shell the encoder sees, -1 for all [14]."),
    ] = None
    t_emb_dim: Annotated[
        int, typer.Option("--t-emb-dim", help="With tilt-pixels: numbers that tell of an image.")
    ] = 64
    tlayers: Annotated[
        int, typer.Option("--tlayers", help="With tilt: hidden layers over all images.")
    ] = 3
    tdim: Annotated[int, typer.Option("--tdim", help="With tilt: nodes of such a layer.")] = 256
    use_real: Annotated[bool, typer.Option("--use-real", hidden=True)] = False

    def settings(self) -> dict[str, Any]:
        """Return fields of `LatentConfig`."""
        return {
            "encoder_layers": self.enc_layers,
            "encoder_width": self.enc_dim,
            "encoder_band": self.enc_mask,
            "tilt_embedding": self.t_emb_dim,
            "tilt_layers": self.tlayers,
            "tilt_width": self.tdim,
        }


@dataclass(frozen=True)
class DecoderFlags:
    """The network from a latent to a volume, and what it is told beforehand."""

    panel: ClassVar[str] = "Decoder"
    dec_layers: Annotated[
        int, typer.Option("--dec-layers", "--players", "--layers", help="Hidden layers.")
    ] = 3
    dec_dim: Annotated[int, typer.Option("--dec-dim", "--pdim", "--dim", help="Nodes a layer.")] = (
        256
    )
    pe_type: Annotated[
        str, typer.Option("--pe-type", help="Positional encoding; see the docs.")
    ] = "gaussian"
    pe_dim: Annotated[int | None, typer.Option("--pe-dim", help="Frequencies an axis [D/2].")] = (
        None
    )
    feat_sigma: Annotated[
        float, typer.Option("--feat-sigma", help="Scale of gaussian encoding.")
    ] = 0.5
    domain: Annotated[str, typer.Option("--domain", help="fourier or hartley.")] = "fourier"
    activation: Annotated[str, typer.Option("--activation", help="relu or leaky_relu.")] = "relu"
    consensus: Annotated[
        bool | None,
        typer.Option(
            "--consensus/--no-consensus",
            help="Model the change from a consensus map [yes; train-nn: no].",
        ),
    ] = None
    particle_diameter: Annotated[
        float | None,
        typer.Option("--particle-diameter", help="Å; density beyond is 0 [measured]."),
    ] = None
    support: Annotated[
        bool, typer.Option("--support/--no-support", help="Set the solvent of volumes to 0.")
    ] = True
    whiten: Annotated[
        bool, typer.Option("--whiten/--no-whiten", help="Divide by the noise spectrum.")
    ] = True
    max_shell: Annotated[int | None, typer.Option(help="Outermost Fourier shell used [all].")] = (
        None
    )
