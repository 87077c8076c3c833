"""What a protection is computed against: loaded, checked, and said in words."""

from __future__ import annotations

from collections.abc import Sequence

from cloakwork.errors import UserError
from cloakwork.models import autoencoders, latent_spaces, loading
from cloakwork.models.autoencoders import Autoencoder
from cloakwork.models.device import DTYPES, refuse_float16
from cloakwork.models.encoder import Encoder
from cloakwork.models.ldm import LDM
from cloakwork.perturbation.ensemble import parse_weights
from cloakwork.registry import surrogate_needs
from cloakwork.specs import Method


def load_surrogates(
    method: Method,
    names: Sequence[str],
    device: str,
    dtype: str,
    *,
    sample_posterior: bool,
    low_memory: bool,
    graphs: bool,
) -> list[Encoder]:
    """Load the models, or encoders alone, that a protection is computed against.

    Raises:
        UserError: one of them is not there, cannot be used, or is an encoder where the protection
            needs a whole model; or the dtype is float16.
    """
    if dtype in DTYPES:
        refuse_float16(DTYPES[dtype])
    alone = [name for name in names if autoencoders.is_alone(name)]
    if alone and method.needs == "model":
        raise surrogate_needs.encoder_refused(method.name, alone)
    weights = parse_weights(getattr(method.config, "surrogate_weights", ""))
    if weights and len(weights) != len(names):
        raise UserError(
            f"The surrogates' weights are {len(weights)} numbers for {len(names)} surrogates "
            f"({', '.join(names)}); give one for each."
        )
    how = {"sample_posterior": sample_posterior, "low_memory": low_memory}
    return [
        autoencoders.load(name, device, dtype, **how)
        if name in alone
        else loading.load(name, device, dtype, graphs=graphs, **how)
        for name in names
    ]


def against(models: Sequence[Encoder]) -> str:
    """Return what a protection is computed against, in words."""
    families = [model.name for model in models if latent_spaces.knows(model.name)]
    parts = [
        f"{'the encoder of ' if isinstance(model, Autoencoder) else ''}"
        f"{model.name} (weights {model.weights})"
        for model in models
        if model.name not in families
    ]
    return ", ".join([*parts, *([latent_spaces.in_words(families)] if families else [])])


def sizes_of(model: Encoder) -> tuple[int, ...]:
    """Return the sizes at which an encoder alone is to see photos; nothing for a whole model."""
    return () if isinstance(model, LDM) else model.sizes
