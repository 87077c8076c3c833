"""Single parts of an audit: one attack on one photo set, and scores of any pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cloakwork import registry, specs
from cloakwork.environment import surroundings
from cloakwork.errors import UserError
from cloakwork.evaluation.compute import run_attack
from cloakwork.evaluation.sources import source
from cloakwork.evaluation.steps import Step, Workspace, key, purify_steps
from cloakwork.files import FOLDER, atomic_write, read_json, remove, write_json
from cloakwork.finetuning.training import PREVIEW
from cloakwork.photos.masks import load_masks
from cloakwork.photos.sets import find_sets, load_all
from cloakwork.photos.sheets import attack_sheet, write_grid
from cloakwork.photos.tensors import to_pil
from cloakwork.state import Progress, RunState


def attack(
    photos: Path | str,
    out: Path | str,
    *,
    attacker: str = "dreambooth",
    config: Any = None,
    victim: str = "tiny",
    prompts: Sequence[str] = ("a photo of sks person",),
    purifiers: str | Sequence[specs.Method | tuple[str, Any]] = (),
    denoiser: str = "tiny",
    seed: int = 0,
    mask: Path | str | None = None,
    keep_model: Path | str | None = None,
    sample_every: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> list[Path]:
    """Attack one folder of photos: write pictures to `out`, a sheet and a record to
    `out/.cloakwork`.

    Args:
        photos: a folder; one subject.
        out: folder for the pictures; an earlier attack's are replaced, and nothing else is.
        attacker: name of an attacker, or an importable module such as "my_lab.mine".
        config: its Config; None takes the preset of the victim.
        victim: the model it uses.
        prompts: what it asks for.
        purifiers: what the photos go through first, as `purify` takes them.
        denoiser: what purifiers that diffuse pixels use; those that diffuse latents use the victim.
        seed: decides everything random.
        mask: for attackers that repaint, a picture of the photos' size that is white there, or a
            folder with one for each photo.
        keep_model: folder for the trained model or adapter.
        sample_every: training steps between two sheets of pictures, in `out/.cloakwork/training`.
        device, dtype: where the victim runs and what its arithmetic is autocast to.
        progress: called with a label, steps done and their total.

    Returns:
        The pictures' files, in the order of the prompts.

    Raises:
        UserError: no photos, more than one photo set, unknown methods, pictures in the output
            folder that no attack made, a model or pictures of a training asked of an attacker that
            does not learn.
    """
    out = Path(out).absolute()
    sets, _ = load_all(find_sets([photos], out), skip_bad=False)
    if len(sets) > 1:
        raise UserError(
            f"{photos} holds {len(sets)} photo sets: {', '.join(s.name or '.' for s in sets)}. "
            "An attack takes one photo set, so attack one at a time."
        )
    if config is None:
        config = registry.config(registry.load("attackers", attacker), None, [victim])
    method = specs.Method("attackers", attacker, config)
    _check_learning(method, keep_model, sample_every)
    chain = specs.purifiers(purifiers, victim, denoiser)
    earlier = _earlier(out)
    workspace = Workspace(out / FOLDER, device, progress)
    originals = source(sets[0].files)
    purified = purify_steps(
        originals, chain, model=victim, denoiser=denoiser, seed=seed, dtype=dtype
    )
    step = Step(method, (purified,), seed, (victim,), tuple(prompts), dtype)
    grids = out / FOLDER / "training"
    state = RunState(
        out / FOLDER / f"state-{key(step, workspace)[:16]}.safetensors",
        attacker,
        progress,
        sample_every=sample_every,
        watch=lambda done, pictures: write_grid(grids / f"{done:06d}.png", pictures, PREVIEW),
        keep_model=Path(keep_model) if keep_model else None,
    )
    masks = load_masks(Path(mask), originals.files) if mask else None
    images = run_attack(step, workspace, state, masks)
    files = [out / f"{i:03}.png" for i in range(len(images))]
    # first, so that pictures of an attack that is stopped here are known as such
    write_json(
        out / FOLDER / "attack.json",
        {
            "attacker": attacker,
            "config": asdict(config),
            "victim": {"name": victim, "weights": workspace.model(victim).weights},
            "prompts": list(prompts),
            "purifiers": [method.record() for method in chain],
            "seed": seed,
            "photos": sorted(str(f) for f in originals.files),
            "pictures": [str(f) for f in files],
            "surroundings": surroundings(workspace.torch_device),
        },
    )
    for picture, file in zip(images, files, strict=True):
        with atomic_write(file) as part:
            to_pil(picture).save(part, "PNG")
    for file in earlier - set(files):
        file.unlink()
    attack_sheet(images, prompts, out / FOLDER / "sheet.png")
    if state.path:
        remove(state.path)
    return files


def _check_learning(method: specs.Method, keep_model: Path | str | None, sample_every: int) -> None:
    """Refuse to keep or watch a training that the attacker does not do."""
    if sample_every < 0:
        raise UserError(
            f"The training is looked at every {sample_every} steps. "
            "Allowed are 1 or more, or 0 for never."
        )
    if (keep_model or sample_every) and not method.trains:
        raise UserError(
            f"'{method.name}' trains nothing, so there is no model to keep and no training "
            "to look at. "
            "Leave --keep-model and --sample-every out."
        )


def _earlier(out: Path) -> set[Path]:
    """Return the pictures of an earlier attack that still exist.

    Raises:
        UserError: a picture that would be replaced was not written by an attack.
    """
    listed = {
        Path(name).name for name in read_json(out / FOLDER / "attack.json").get("pictures", [])
    }
    existing = {f for f in out.glob("*.png") if f.stem.isdecimal() and len(f.stem) >= 3}
    if strange := sorted(f for f in existing if f.name not in listed):
        raise UserError(
            *[
                f"{f} was not written by `cloakwork attack`, so it will not be overwritten. "
                "Choose another output folder."
                for f in strange
            ]
        )
    return existing
