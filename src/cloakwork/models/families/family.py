"""What a family of latent diffusion models says of itself: each is a module of this shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from cloakwork.models.text import Text
from cloakwork.photos.tensors import send
from cloakwork.types import Images

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM


# model, n prompts, n pictures that they are about (n x 3 x S x S in [0, 1]), their latents -> Text
Instruct: TypeAlias = "Callable[[LDM, Sequence[str], Images, Tensor], Text]"


class Family(Protocol):
    """A family's module. A latent is n x c x h x w, timesteps are n or 0-dim."""

    @property
    def NAME(self) -> str:
        """What people call it."""
        ...

    @property
    def PIPELINE(self) -> str:
        """The class of its pipelines in diffusers."""
        ...

    @property
    def EDITORS(self) -> Mapping[str, Instruct]:
        """The classes of pipelines that change a picture which they are shown as they are told, and
        how prompts are embedded with it.
        """
        ...

    @property
    def PARTS(self) -> Mapping[str, Sequence[str | None]]:
        """The folders of the parts with weights, and the classes that each may be of; None: it may
        be missing.
        """
        ...

    @property
    def DENOISER(self) -> str:
        """The folder of the denoiser."""
        ...

    @property
    def LEARNERS(self) -> Sequence[str]:
        """The folders of the text encoders that trainers may train."""
        ...

    @property
    def PREDICTS(self) -> Sequence[str]:
        """What its denoisers may predict: "epsilon", "v_prediction", "flow"."""
        ...

    @property
    def ATTENTION(self) -> Sequence[str]:
        """Ends of the names of the denoiser's layers that trainers put LoRA on."""
        ...

    @property
    def OTHERS(self) -> Sequence[str]:
        """Those of further layers that take it."""
        ...

    @property
    def OPTIONS(self) -> Mapping[str, Any]:
        """Further arguments of the pipeline's class."""
        ...

    def prepare(self, ldm: LDM, /) -> None:
        """Change what has to be changed in a model that was just read."""
        ...

    def embed(self, ldm: LDM, prompts: Sequence[str], /) -> Text:
        """Embed prompts."""
        ...

    def unconditional(self, ldm: LDM, negative: str, /) -> Text | None:
        """Embed what guidance leads away from; None: it takes no pass of its own, and the denoiser
        is told its scale, if any.
        """
        ...

    def guide(self, held: Tensor, free: Tensor, scale: float, /) -> Tensor:
        """Return what is predicted under guidance, of predictions for a text and without it."""
        ...

    def denoise(self, ldm: LDM, z_t: Tensor, t: Tensor, c: Text, /) -> Tensor:
        """Predict what the denoiser was trained to, from n latents under n texts."""
        ...

    def timesteps(self, scheduler: Any, n: int, rng: torch.Generator | None, /) -> Tensor:
        """Draw n timesteps as trainers do, on the CPU."""
        ...

    def weigh(self, scheduler: Any, off: Tensor, t: Tensor, /) -> Tensor:
        """Return what counts of predictions that are so far off (n x c x h x w)."""
        ...

    def schedule(self, scheduler: Any, steps: int, places: int, /) -> dict[str, Any]:
        """Return the arguments of a scheduler's `set_timesteps`; `places`: h w of the latents."""
        ...

    def side(self, vae: Any, denoiser: Any, /) -> int:
        """Return the side of the model's own square, in latents."""
        ...

    def channels(self, denoiser: Any, /) -> int:
        """Return how many channels a latent has for the denoiser."""
        ...

    def multiple(self, denoiser: Any, /) -> int:
        """Return what the sides of a latent must be multiples of."""
        ...

    def features(self, denoiser: Any, /) -> Sequence[nn.Module]:
        """Return the layers whose outputs are fine features of the picture."""
        ...

    def saved(self, denoiser: Any, places: int, /) -> int:
        """Estimate how many numbers a frozen denoiser saves for its backward, of one latent; its
        attention is a fused one, which keeps no maps.
        """
        ...


def as_it_is(ldm: LDM) -> None:
    """Prepare nothing: for families that `prepare` has nothing to do for."""


def token_ids(
    ldm: LDM, tokenizer: Any, prompts: Sequence[str], length: int | None = None
) -> Tensor:
    """Return the prompts' token ids on the model's device, n x length (None: the tokenizer's)."""
    ids = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=length or tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return send(ids, ldm.device)
