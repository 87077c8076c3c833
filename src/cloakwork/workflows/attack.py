"""A single part of an audit: one attack on one photo set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloakwork import specs
from cloakwork.environment import surroundings
from cloakwork.errors import Unwritable, UserError, check_arguments
from cloakwork.evaluation.compute import run_attack
from cloakwork.evaluation.sources import Source, source
from cloakwork.evaluation.steps import Step, Workspace, key, purify_steps
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import FOLDER, atomic_write, expand_home, read_json, unwritable, write_json
from cloakwork.finetuning.training import PREVIEW
from cloakwork.finetuning.validation import check_new_folder
from cloakwork.models import pipelines
from cloakwork.parts import new_part, remove_parts
from cloakwork.photos.left_out import left_out_of
from cloakwork.photos.masks import load_masks
from cloakwork.photos.sets import find_sets, load_all
from cloakwork.photos.sheets import write_grid
from cloakwork.photos.tensors import to_pil
from cloakwork.state import Progress, RunState
from cloakwork.types import Images
from cloakwork.workflows.beside_clean import LEFT_OUT, clean_source, write_beside
from cloakwork.workflows.defaults import PROMPT
from cloakwork.workflows.locks import locked
from cloakwork.workflows.shown import Listed, Summary, paper_note


def attack(
    photos: Path | str,
    out: Path | str,
    *,
    attacker: specs.Given = "dreambooth",
    config: Any = None,
    preset: str | None = None,
    victim: str = "tiny",
    prompts: Sequence[str] | str = PROMPT,
    purifiers: specs.Chain = (),
    denoiser: str = "tiny",
    seed: int = 0,
    mask: Path | str | None = None,
    keep_model: Path | str | None = None,
    sample_every: int = 0,
    beside_clean: bool = True,
    device: str = "auto",
    dtype: str = "float32",
    low_memory: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Listed[Path]:
    """Attack one folder of photos: write pictures to `out`, a sheet and a record to
    `out/.cloakwork`.

    Args:
        photos: a folder; one subject.
        out: folder for the pictures; an earlier attack's are replaced, and nothing else is.
        attacker: name of an attacker, or an importable module such as "my_lab.mine"; or with its
            settings, as on the command line ("lora:service:steps=30") or as a `specs.Method`.
        config: its Config; None takes the preset.
        preset: name of one of its PRESETS; None takes "tiny" on the embedded models and "paper" on
            others. Goes without `config`.
        victim: the model it uses.
        prompts: what it asks for.
        purifiers: what the photos go through first, as `purify` takes them.
        denoiser: what purifiers that diffuse pixels use; those that diffuse latents use the victim.
        seed: decides everything random.
        mask: for attackers that repaint, a picture of the photos' size that is white there, or a
            folder with one for each photo.
        keep_model: folder for the trained model or adapter.
        sample_every: training steps between two sheets of pictures, in `out/.cloakwork/training`.
        beside_clean: attack the originals too, with the same seed, where the records beside the
            photos name them; it takes twice the time.
        device, dtype: where the victim runs and what its arithmetic is autocast to.
        low_memory: compute in less memory, in up to 1.3 times the time; the bytes are the same.
        progress: called with a label, steps done and their total.
        settings: fields of the attacker's Config, such as steps=40, set last; nested ones as
            sampling={"n": 4}.

    Returns:
        The pictures' files, in the order of the prompts.

    Raises:
        UserError: no photos, more than one photo set, unknown methods, pictures in the output
            folder that no attack made, a model or pictures of a training asked of an attacker that
            does not learn, a mask for one that takes none or that is none.
    """
    arguments = check_arguments(attack, locals())
    out = expand_home(out).absolute()
    prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    if not prompts:
        raise UserError(f"No prompt was given. Name what the attacker asks for, such as {PROMPT}.")
    originals = _one_set(photos, out)
    method = specs.method(
        "attackers",
        attacker,
        [victim],
        config=config,
        preset=preset,
        settings=settings,
        arguments=arguments,
    )
    _check_learning(method, keep_model, sample_every)
    _check_mask(method, mask)
    chain = specs.purifiers(purifiers, victim, denoiser)
    kept = expand_home(keep_model) if keep_model else None
    with locked(out, "attack", _listed(out)) as told, _at_the_end(kept) as model:
        earlier = _earlier(out)
        workspace = Workspace(out / FOLDER, device, progress, low_memory=low_memory)

        def step_from(photos: Source) -> Step:
            purified = purify_steps(
                photos, chain, model=victim, denoiser=denoiser, seed=seed, dtype=dtype
            )
            return Step(method, (purified,), seed, (victim,), prompts, dtype)

        def checkpoint(step: Step) -> Path:
            return out / FOLDER / f"state-{key(step, workspace)[:16]}.safetensors"

        step, known = step_from(originals), clean_source(originals)
        clean = known if beside_clean else None
        grids = out / FOLDER / "training"
        state = RunState(
            checkpoint(step),
            method.name,
            progress,
            sample_every=sample_every,
            watch=lambda done, pictures: write_grid(grids / f"{done:06d}.png", pictures, PREVIEW),
            keep_model=model,
        )
        masks = load_masks(expand_home(mask), originals.files) if mask else None
        _tell(progress, 0, clean)
        images = run_attack(step, workspace, state, masks)
        _tell(progress, 1, clean)
        about = _about(step, chain, originals, clean, workspace)
        files = _write(images, out, about, earlier)
        beside = None
        if clean:
            own = RunState(checkpoint(step_from(clean)), method.name, progress)
            beside = run_attack(step_from(clean), workspace, own, masks)
            _tell(progress, 2, clean)
        where = write_beside(images, beside, prompts, out) or (LEFT_OUT if known else "")
        for left in (out / FOLDER).glob("state-*.safetensors"):
            left.unlink()
        if chain:
            workspace.results.tidy()
    said = config is not None or isinstance(attacker, specs.Method)
    notes = [
        *left_out_of(photos),
        *told,
        *state.notes,
        *([where] if where else []),
        *(paper_note(method, [victim]) if said else []),
    ]
    return Listed(files, _summary(files, prompts, f"{method.name} on {victim}", notes))


def _about(
    step: Step,
    chain: Sequence[specs.Method],
    photos: Source,
    clean: Source | None,
    workspace: Workspace,
) -> dict[str, Any]:
    """Return everything needed to attack the same photos again."""
    (victim,) = step.models
    return {
        "attacker": step.name,
        "config": asdict(step.config),
        "victim": {"name": victim, "weights": pipelines.weights(victim)},
        "prompts": list(step.prompts),
        "purifiers": [method.record() for method in chain],
        "seed": step.seed,
        "photos": sorted(str(f) for f in photos.files),
        "originals": sorted(str(f) for f in clean.files) if clean else [],
        "surroundings": surroundings(workspace.torch_device),
    }


def _tell(progress: Progress | None, done: int, clean: Source | None) -> None:
    """Report how many of two attacks are done, where the originals are attacked too."""
    if progress and clean:
        progress("attackers", done, 2)


def _one_set(photos: Path | str, out: Path) -> Source:
    """Return the photos of a folder that is one photo set.

    Raises:
        UserError: it is several, or none.
    """
    sets, _ = load_all(find_sets([photos], out), skip_bad=False)
    if len(sets) > 1:
        raise UserError(
            f"{photos} holds {len(sets)} photo sets: {', '.join(s.name or '.' for s in sets)}. "
            "An attack takes one photo set, so attack one at a time."
        )
    return source(sets[0].files)


def _write(images: Images, out: Path, about: dict[str, Any], earlier: set[Path]) -> list[Path]:
    """Write pictures, the sheet and a record of them, and remove those of an earlier attack.

    Returns:
        The pictures' files.
    """
    files = [out / f"{i:03}.png" for i in range(len(images))]
    for file in earlier - set(files):  # first, while the record still names them
        file.unlink()
    # before the pictures, so that those of an attack that is stopped here are known as such
    write_json(out / FOLDER / "attack.json", about | {"pictures": [str(f) for f in files]})
    for picture, file in zip(images, files, strict=True):
        with atomic_write(file) as part:
            to_pil(picture).save(part, "PNG")
    return files


def _summary(
    files: Sequence[Path], prompts: Sequence[str], who: str, notes: Sequence[str]
) -> Summary:
    """Return what is shown of an attack's pictures."""
    each = len(files) // len(prompts)
    rows = [{"picture": file, "prompt": prompts[i // each]} for i, file in enumerate(files)]
    count = f"{len(files)} picture{'s' * (len(files) != 1)}"
    return Summary(f"{count} by {who}. Folder: {files[0].parent}", rows, notes)


@contextmanager
def _at_the_end(kept: Path | None) -> Iterator[Path | None]:
    """Yield a neighbour of a new folder, which becomes the folder after all else was written.

    So an attack that was stopped finds no model of its own in its way.

    Raises:
        UserError: something is there already.
        Unwritable: it could not be written.
    """
    if kept is None:
        yield None
        return
    check_new_folder(kept)
    remove_parts(kept.parent, [kept.name])
    part = new_part(kept)
    try:
        yield part
        try:
            if kept.is_dir():
                kept.rmdir()
            os.replace(part, kept)
        except OSError as error:
            raise Unwritable(unwritable(kept, error)) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


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


def _check_mask(method: specs.Method, mask: Path | str | None) -> None:
    """Refuse a mask for an attacker that has no use for it."""
    if mask and not method.takes_masks:
        raise UserError(
            f"'{method.name}' paints in no mask. Leave --mask out, or take the attacker inpaint."
        )


def _earlier(out: Path) -> set[Path]:
    """Return the pictures of an earlier attack that still exist.

    Raises:
        UserError: a picture that would be replaced was not written by an attack.
    """
    existing = {f for f in out.glob("*.png") if f.stem.isdecimal() and len(f.stem) >= 3}
    if strange := sorted(existing - _listed(out)):
        raise UserError(
            *[
                f"{f} was not written by `cloakwork attack`, so it will not be overwritten. "
                "Choose another output folder."
                for f in strange
            ]
        )
    return existing


def _listed(out: Path) -> set[Path]:
    """Return the pictures that the record of an earlier attack names, whether they exist or not."""
    record = from_json(_Record, read_json(out / FOLDER / "attack.json"))
    return {out / picture.name for picture in record.pictures} if record else set()


@dataclass(frozen=True)
class _Record:
    """What is read of an attack's record."""

    pictures: list[Path]
