"""LIQE's joint probability of quality, scene and distortion, over any CLIP.

Zhang et al., "Blind Image Quality Assessment via Vision-Language Correspondence", arXiv 2303.14968:
CLIP ViT-B/32, fine-tuned, is asked which of 5 x 9 x 11 texts a picture is; 15 patches spread over
it are averaged before the softmax. Checked against zwx8981/LIQE at a64655f (MIT), demo.py. Its
LIQE.py takes the first patch 15 times over, which is not reproduced.

Departures: a picture too small for 4 x 4 patches is enlarged until they fit (the release stops
below 224 px); a CLIP of another size than 224 px has patches and steps in proportion.

The authors' weights are a pickle file, which is never loaded. Converted to a CLIPModel folder, they
can be named; with any other CLIP the numbers are not LIQE's.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.models.clip import Clip, load_clip
from cloakwork.types import Images, Photos

QUALITIES = ("bad", "poor", "fair", "good", "perfect")
SCENES = (
    "animal",
    "cityscape",
    "human",
    "indoor",
    "landscape",
    "night",
    "plant",
    "still_life",
    "others",
)
DISTORTIONS = (
    "jpeg2000 compression",
    "jpeg compression",
    "noise",
    "blur",
    "color",
    "contrast",
    "overexposure",
    "underexposure",
    "spatial",
    "quantization",
    "other",
)
TEXTS = [
    f"a photo of a {s} with {d} artifacts, which is of {q} quality"
    for q, s, d in product(QUALITIES, SCENES, DISTORTIONS)
]
PATCHES, LARGE = 15, 768


def load_liqe(name: str) -> Clip:
    """Load LIQE's CLIP from a folder or hub id.

    Raises:
        Unscored: no name, since none comes with the package; or no such model.
    """
    if not name:
        raise Unscored(
            "LIQE's weights are published as a pickle file only: convert it to a CLIPModel folder "
            "with safetensors and name that as the field 'clip'."
        )
    return load_clip(name)


@torch.no_grad()
def shares(clip: Clip, images: Images | Photos) -> Tensor:
    """Compute the joint probabilities of pictures of any size.

    Returns:
        n x 5 qualities x 9 scenes x 11 distortions; each picture's add up to 1.
    """
    c = F.normalize(clip.texts(TEXTS), dim=-1)
    rows = []
    for x in images:
        cosines = F.normalize(clip.pixels(patches(x, clip.size)), dim=-1) @ c.T
        rows.append((clip.scale * cosines).mean(0).softmax(-1))
    return torch.stack(rows).view(-1, len(QUALITIES), len(SCENES), len(DISTORTIONS))


def patches(x: Tensor, size: int) -> Tensor:
    """Cut 15 squares of `size` pixels, evenly spaced along the grid of all squares, row by row.

    >>> patches(torch.zeros(3, 300, 400), 224).shape
    torch.Size([15, 3, 224, 224])
    """
    step, short = size // 7, min(x.shape[-2:])
    goal = max(min(short, LARGE), size + 3 * step)
    if goal != short:
        shape = [max(goal, round(n * goal / short)) for n in x.shape[-2:]]
        x = F.interpolate(x[None], shape, mode="bilinear", antialias=True)[0]
    if max(x.shape[-2:]) >= 1024:
        step = size * 3 // 14
    corners = list(product(*(range(0, n - size + 1, step) for n in x.shape[-2:])))
    every = len(corners) // PATCHES
    return torch.stack(
        [x[:, t : t + size, left : left + size] for t, left in corners[: every * PATCHES : every]]
    )
