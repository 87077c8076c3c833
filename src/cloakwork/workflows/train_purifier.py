"""A purifier, and a detector, trained on what a protection adds to photos."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork import registry, specs
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.evaluation.sources import Source
from cloakwork.files import FOLDER, expand_home, hash_of, write_json
from cloakwork.finetuning.weights import restore_training, training_tensors
from cloakwork.metrics import lpips
from cloakwork.models import cleaner
from cloakwork.models.cleaner import Cleaner
from cloakwork.models.device import pick_device
from cloakwork.photos.photo import load_photo
from cloakwork.photos.rounding import working_copy
from cloakwork.photos.sets import find_sets
from cloakwork.purifiers import jpeg
from cloakwork.state import Progress, RunState
from cloakwork.workflows.held_out import check_enough, split
from cloakwork.workflows.protect import protect

PROTECTED = "protected"  # the folder of the pairs' protected photos
CROP = 96  # pixels; multiples of `cleaner.UNIT`
BATCH = 8  # pairs
RATE = 1e-3  # of AdamW, along a half cosine
NOT_FINITE = "The training is not finite; try another --seed."
HELD = 32  # pairs that are kept in memory, up to 34 MB each
SCALES = (0.5, 1.0)  # photos are seen smaller too, as platforms give them back


Pair = tuple[Path, Path]  # a photo as it is protected, and its original


@dataclass(frozen=True)
class TrainedPurifier:
    """A network, and what it does to photos that it never saw."""

    folder: Path
    """for `learned:weights=FOLDER`"""
    protection: str
    steps: int
    learned_from: int
    """photos"""
    held_out: int
    """photos; what follows is of them"""
    lpips_before: float
    """mean distance of protected photos to their originals"""
    lpips_after: float
    """the same, purified"""
    left: float
    """share of the perturbation's energy that is left"""
    auc: float
    """of telling protected photos from clean ones, some of which are JPEGs: .5 is chance"""


def train_purifier(
    photos: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    protection: specs.Given = registry.DEFAULT_PROTECTION,
    surrogates: Sequence[str] | str = ("tiny",),
    steps: int = 2000,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    **settings: Any,
) -> TrainedPurifier:
    """Protect photos, and train a network to undo that and to tell whether it was done.

    Args:
        photos: files, folders, globs, as of `protect`; five at least.
        out: folder for the network; the protected photos go to its `protected`. Stopped runs go on.
        protection: the tool under attack, as of `protect`.
        surrogates: what it is computed against.
        steps: of the training; each sees 16 crops of 96 px.
        seed: decides the draws of both.
        device: where both run.
        progress: called with a label, steps done and their total.
        settings: fields of the protection's Config, set last.

    Raises:
        UserError: every fault found in the input; too few photos.
    """
    check_arguments(train_purifier, locals())
    if steps < 1:
        raise UserError(f"{steps} training steps were asked for; allowed are 1 and more.")
    out = expand_home(out).absolute()
    photos = [photos] if isinstance(photos, str | Path) else photos
    check_enough(sum(len(found.files) for found in find_sets(photos, out)), "Purifiers")
    records = protect(
        photos,
        out / PROTECTED,
        protection=protection,
        surrogates=surrogates,
        seed=seed,
        device=device,
        progress=progress,
        **settings,
    )
    known, unknown = split(_pairs([r.output for record in records for r in record.photos], out))
    net = Cleaner(torch.Generator().manual_seed(seed)).to(pick_device(device))
    name = records[0].protection
    key = hash_of([name, [str(p) for p, _ in known], steps, seed])[:16]
    state = RunState(out / FOLDER / f"state-{key}.safetensors", f"learning {name}", progress)
    _train(net, known, steps, seed, state)
    cleaner.save(net, out)
    result = _judge(net.eval(), out, name, steps, known, unknown)
    write_json(out / "config.json", asdict(result) | {"seed": seed, "trace": state.trace[-20:]})
    if state.path:
        state.path.unlink(missing_ok=True)
    return result


def _pairs(outputs: Sequence[Path], out: Path) -> list[Pair]:
    """Return what was protected, and its originals."""
    made, pairs = set(outputs), []
    for subject in find_subjects(out / PROTECTED):
        assert isinstance(subject.protected, Source)
        both: list[Pair] = list(zip(subject.protected.files, subject.clean.files, strict=True))
        pairs += [pair for pair in both if pair[0] in made]
    return pairs


def _loaded(pair: Pair) -> tuple[Tensor, Tensor]:
    """Return the working copies of a photo as it is protected and of its original."""
    protected, clean = (working_copy(load_photo(file).pixels) for file in pair)
    return protected, clean


def _train(net: Cleaner, pairs: list[Pair], steps: int, seed: int, state: RunState) -> None:
    """Train the network on crops, half of them of clean photos."""
    named = dict(net.named_parameters())
    optimizer = torch.optim.AdamW(named.values(), lr=RATE, weight_decay=1e-2)
    rng = torch.Generator().manual_seed(seed)
    done, saved = state.resume(rng)
    if saved:
        restore_training(named, optimizer, saved)
    device, loaded = next(net.parameters()).device, lru_cache(maxsize=HELD)(_loaded)
    for k in range(done, steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * k / steps)) / 2
        # a step's crops are its number's, so that a stopped training goes on with the same
        draws = random.Random(f"{seed} {k}")
        crops = [_crops(*loaded(draws.choice(pairs)), draws) for _ in range(BATCH)]
        protected, clean = (torch.stack(x).to(device) for x in zip(*crops, strict=True))
        found, told = net(torch.cat([protected, clean]))
        added = torch.cat([protected - clean, torch.zeros_like(clean)])
        truth = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)]).to(device)
        loss = 255 * F.l1_loss(found, added)
        loss = loss + F.binary_cross_entropy_with_logits(told, truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step()
        true = torch.ones((), dtype=torch.bool)
        state.record(loss, torch.isfinite(loss), true, NOT_FINITE)
        state.checkpoint(k + 1, steps, rng, lambda: training_tensors(named, optimizer))


def _crops(protected: Tensor, clean: Tensor, draws: random.Random) -> tuple[Tensor, Tensor]:
    """Return the same square of both, 3 x 96 x 96, turned over and made smaller by chance."""
    scale = draws.uniform(*SCALES) if draws.random() < 0.5 else 1.0
    side = min(round(CROP / scale), *clean.shape[-2:])
    top, left = (draws.randint(0, length - side) for length in clean.shape[-2:])
    both = torch.stack([p[:, top : top + side, left : left + side] for p in (protected, clean)])
    if side != CROP:
        both = F.interpolate(both, (CROP, CROP), mode="bilinear", antialias=True)
    both = both.flip(-1) if draws.random() < 0.5 else both
    return both[0], both[1]


def _judge(
    net: Cleaner, out: Path, name: str, steps: int, known: list[Pair], unknown: list[Pair]
) -> TrainedPurifier:
    """Measure the network on photos that it never saw."""
    device = next(net.parameters()).device
    before, after, left, of_protected, of_clean = [], [], [], [], []
    for protected, clean in (_loaded(pair) for pair in unknown):
        protected, clean = protected.to(device), clean.to(device)
        found, told = cleaner.look(net, protected)
        pure = (protected - found).clamp(0, 1)
        before.append(_apart(protected, clean))
        after.append(_apart(pure, clean))
        added = (protected - clean).square().sum()
        left.append(((pure - clean).square().sum() / added).item() if added else 1.0)
        of_protected.append(told)
        compressed = jpeg.purify([clean], None, jpeg.Config(), rng=torch.Generator())[0]
        of_clean += [cleaner.look(net, x)[1] for x in (clean, compressed)]
    n = len(unknown)
    return TrainedPurifier(
        out,
        name,
        steps,
        len(known),
        n,
        round(sum(before) / n, 4),
        round(sum(after) / n, 4),
        round(sum(left) / n, 4),
        round(auc(of_protected, of_clean), 4),
    )


def _apart(photo: Tensor, original: Tensor) -> float:
    return lpips.score([photo.cpu()], [original.cpu()], None, lpips.Config()).item()


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the share of pairs in which the positive's number is the larger; ties count half.

    >>> auc([2, 3], [1, 2])
    0.875
    """
    a, b = torch.tensor(positive)[:, None], torch.tensor(negative)[None]
    return ((a > b).double() + (a == b).double() / 2).mean().item()
