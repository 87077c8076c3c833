"""Patterns of one's own for the protection `learned`, which nobody else has.

They are no secret for long: a photo that holds several tiles gives its pattern away (see the
purifier `subtract`).

A universal perturbation (Moosavi-Dezfooli et al., arXiv 1610.08401) by steps of signs with
momentum. Each pattern is learned alone, from its own random start, so that what one of them was is
no help in guessing another. A step takes squares of photos, adds the pattern at a random place
within the budget, shows original and perturbed as a loader would (another size, now and then
blurred or compressed), and takes from one encoder how far mean and log variance of its posterior
have moved: the loss of `pid`. The loss is the mean logarithm, so that a photo that has moved far
already counts no more than another. Never at the photo's own size alone, where stripes of one
pixel's width would win, which any resize removes.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from PIL import Image
from torch import Tensor

from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.displacement import displacement, least_size
from cloakwork.files import FOLDER, expand_home, hash_of, write_json
from cloakwork.models import autoencoders, latents, protector
from cloakwork.models.encoder import Encoder
from cloakwork.photos.photo import load_photo
from cloakwork.photos.rounding import working_copy
from cloakwork.photos.sets import find_sets
from cloakwork.photos.tensors import to_pil
from cloakwork.protections import learned, noise
from cloakwork.purifiers import jpeg
from cloakwork.state import Progress, RunState
from cloakwork.workflows.held_out import check_enough, split

SIDE = 192  # pixels of a square
BATCH = 6
BUDGET = learned.Config().budget / 255
SMALLEST, LARGEST = 0.35, 1.05  # of a loader's picture against the square
GRAIN = 16  # pixels that its sides are multiples of
BLURRED, COMPRESSED = 0.3, 0.3  # shares of steps
FLOOR = 0.01  # distance, below which the logarithm falls no further
STEP, LAST_STEP = 0.05, 0.005  # change of a pattern in shares of the budget
MOMENTUM = 0.9
# `tiny` in every second step, the others in turn
ENCODERS = ("tiny", "sd3:tiny", "tiny", "flux2:tiny", "tiny", "tiny-b")
SHORT_SIDE = 512  # pixels at which larger photos are looked at
HELD = 100  # photos kept in memory
JUDGED = 10  # photos that the result is measured on, at most

Squares = Callable[[random.Random], np.ndarray]  # draws a square of a photo, 3 x SIDE x SIDE


@dataclass(frozen=True)
class LearnedPatterns:
    """Patterns, and how far they move photos that were not learned from."""

    folder: Path
    """for `learned:weights=FOLDER`; whoever has it can take the patterns off again"""
    patterns: int
    steps: int
    """of each"""
    learned_from: int
    """photos"""
    held_out: int
    """photos; what follows is of them"""
    moves: dict[str, float]
    """encoder -> how far latents move, in multiples of what random signs of the same budget do"""


def learn_pattern(
    photos: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    patterns: int = 1,
    encoders: Sequence[str] | str = ENCODERS,
    steps: int = 400,
    seed: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> LearnedPatterns:
    """Learn patterns for the protection `learned` that nobody else has.

    Args:
        photos: files, folders, globs, as of `protect`; five at least, of any kind.
        out: folder for the patterns. Stopped runs go on.
        patterns: how many; one is drawn for each photo.
        encoders: names of autoencoders, one a step in turn.
        steps: for each pattern.
        seed: whoever knows it can learn the same patterns; None: drawn, and not kept.
        device: where the encoders run.
        progress: called with a label, steps done and their total.

    Raises:
        UserError: too few photos, an unknown encoder or device.
    """
    check_arguments(learn_pattern, locals())
    if patterns < 1 or steps < 1:
        raise UserError(
            f"{patterns} patterns of {steps} steps were asked for; allowed are 1 and more."
        )
    out, names = expand_home(out).absolute(), _several(encoders)
    files = [file for found in find_sets(_several(photos), out) for file in found.files]
    check_enough(len(files), "Patterns")
    known, unknown = split(files)
    coders = {name: autoencoders.load(name, device) for name in names}
    key = hash_of([[str(f) for f in files], list(names), patterns, steps, seed])[:16]
    made, states = [], []
    for number in range(patterns):
        state = RunState(
            out / FOLDER / f"state-{key}-{number}.safetensors",
            f"learning pattern {number + 1} of {patterns}",
            progress,
        )
        begin = secrets.randbits(62) if seed is None else seed + number
        made.append(learn(squares_of(known), [coders[name] for name in names], steps, begin, state))
        states.append(state)
    protector.save(torch.stack(made), out)
    moves = _moves(out, coders, unknown[:JUDGED])
    result = LearnedPatterns(out, patterns, steps, len(known), len(unknown), moves)
    write_json(out / "config.json", asdict(result))
    for state in states:
        if state.path:
            state.path.unlink(missing_ok=True)
    return result


def _several(given: Sequence[Path | str] | Path | str) -> tuple[str, ...]:
    return (str(given),) if isinstance(given, str | Path) else tuple(str(g) for g in given)


def squares_of(files: Sequence[Path]) -> Squares:
    """Return what draws squares of photos."""

    @lru_cache(maxsize=HELD)
    def loaded(file: Path) -> Image.Image:
        return to_pil(working_copy(load_photo(file).pixels, SHORT_SIDE))

    return lambda draws: square(loaded(draws.choice(files)), draws)


def square(image: Image.Image, draws: random.Random) -> np.ndarray:
    """Return a random square of a photo, 3 x SIDE x SIDE uint8, turned over by chance.

    Small photos are enlarged to hold one.
    """
    scale = max(SIDE / min(image.size), draws.uniform(0.6, 1.0))
    width, height = (max(SIDE, round(scale * s)) for s in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = draws.randint(0, width - SIDE), draws.randint(0, height - SIDE)
    x = np.asarray(image.crop((left, top, left + SIDE, top + SIDE))).transpose(2, 0, 1)
    return x[:, :, ::-1].copy() if draws.random() < 0.5 else x


def learn(
    squares: Squares, coders: Sequence[Encoder], steps: int, seed: int, state: RunState
) -> Tensor:
    """Learn one pattern, or go on with it.

    Args:
        squares: draws what it is learned from.
        coders: encoders, one a step in turn.
        steps: how many.
        seed: decides its start and all draws; that of a checkpoint goes before it.
        state: of the run.

    Returns:
        3 x TILE x TILE, within -1 and 1.
    """
    done, kept = state.resume(torch.Generator())
    seed = int(kept["seed"]) if kept else seed
    side = protector.TILE
    signs = torch.randint(2, (3, side, side), generator=torch.Generator().manual_seed(seed))
    pattern = kept.get("pattern", signs.float() - 0.5)
    running = kept.get("running", torch.zeros_like(pattern))
    for k in range(done, steps):
        # a step's draws are its number's, so that a stopped run goes on with the same
        draws, coder = random.Random(f"{seed} {k}"), coders[k % len(coders)]
        x = torch.from_numpy(np.stack([squares(draws) for _ in range(BATCH)])).float() / 255
        leaf = pattern.clone().requires_grad_(True)
        places = [(draws.randrange(side), draws.randrange(side)) for _ in x]
        added = torch.stack([protector.tiled(leaf, SIDE, SIDE, place) for place in places])
        both = torch.cat([x, (x + BUDGET * added).clamp(0, 1)])
        far = moved(coder, shown(both, draws).to(coder.device))
        value = (far + FLOOR).log().mean()
        (way,) = torch.autograd.grad(value, leaf)
        running = MOMENTUM * running + way / way.abs().mean()
        rate = LAST_STEP + (STEP - LAST_STEP) * (1 - k / steps)
        pattern = (pattern + rate * running.sign()).clamp(-1, 1)
        finite = running.isfinite().all()
        state.record(value, finite, way.any(), "The learning is not finite; try another --seed.")
        state.checkpoint(
            k + 1,
            steps,
            torch.Generator(),
            lambda now=(pattern, running): {
                "pattern": now[0],
                "running": now[1],
                "seed": torch.tensor(seed),
            },
        )
    return pattern


def shown(pair: Tensor, draws: random.Random) -> Tensor:
    """Return originals and perturbed ones as one loader shows them, 2n x 3 x s x s."""
    if draws.random() < BLURRED:
        sigma = draws.uniform(0.3, 1.2)
        reach = 2 * max(1, round(3 * sigma)) + 1
        pair = gaussian_blur2d(pair, (reach, reach), (sigma, sigma))
    size = round(SIDE * draws.uniform(SMALLEST, LARGEST) / GRAIN) * GRAIN
    pair = F.interpolate(pair, (size, size), mode="bilinear", antialias=True)
    if draws.random() < COMPRESSED:
        # straight through: what JPEG gives, as if it had changed nothing
        quality = jpeg.Config(quality=draws.randint(60, 95))
        given = jpeg.purify(list(pair.detach()), None, quality, rng=torch.Generator())
        pair = pair + (torch.stack(given) - pair.detach())
    return pair


def moved(coder: Encoder, pair: Tensor) -> Tensor:
    """Return how far mean and log variance of the second half lie from their partners', of each
    photo.

    Mean squared differences, added up, as in `pid`; the latent's alone without a posterior.
    """
    first, second = pair.chunk(2)
    with torch.no_grad():
        clean = latents.mean_and_log_variance(coder.vae, coder.moments(first.detach()))
    changed = latents.mean_and_log_variance(coder.vae, coder.moments(second))
    apart = [(a - b).square().mean((1, 2, 3)) for a, b in zip(changed, clean, strict=True)]
    return torch.stack(apart).sum(0)


def _moves(
    folder: Path, coders: dict[str, autoencoders.Autoencoder], files: Sequence[Path]
) -> dict[str, float]:
    """Return how far each encoder's latents move, in multiples of what noise does."""
    photos = [working_copy(load_photo(file).pixels) for file in files]
    arms = {
        name: protection.protect(  # type: ignore[attr-defined]
            photos, [], cfg, clean=None, rng=torch.Generator().manual_seed(0), state=RunState()
        )
        for name, protection, cfg in (
            ("pattern", learned, learned.Config(weights=str(folder))),
            ("noise", noise, noise.Config(budget=learned.Config().budget)),
        )
    }
    side, found = min(min(p.shape[-2:]) for p in photos), {}
    for name, coder in coders.items():
        device = coder.device
        means = displacement(
            coder,
            [p.to(device) for p in photos],
            {arm: [p.to(device) for p in made] for arm, made in arms.items()},
            least_size(coder.sizes, side),
        )
        found[name] = round(sum(means["pattern"]) / sum(means["noise"]), 2)
    return found
