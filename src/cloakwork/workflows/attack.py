"""A single part of an audit: one attack on one photo set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cloakwork import specs
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.compute import run_attack
from cloakwork.evaluation.sources import Source, source
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import FOLDER, expand_home
from cloakwork.finetuning.training import PREVIEW
from cloakwork.photos.left_out import left_out_of
from cloakwork.photos.masks import load_masks
from cloakwork.photos.sets import find_sets, load_all
from cloakwork.photos.sheets import write_grid
from cloakwork.state import Progress, RunState
from cloakwork.types import Images, Photos
from cloakwork.workflows.attack_files import (
    at_the_end,
    earlier_pictures,
    recorded_pictures,
    write_pictures,
)
from cloakwork.workflows.attack_job import AttackJob
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
    job = AttackJob(method, victim, prompts, chain, denoiser, seed, dtype)
    kept = expand_home(keep_model) if keep_model else None
    with locked(out, "attack", recorded_pictures(out)) as told, at_the_end(kept) as model:
        earlier = earlier_pictures(out)
        workspace = Workspace(out / FOLDER, device, progress, low_memory=low_memory)
        known = clean_source(originals)
        clean = known if beside_clean else None
        masks = load_masks(expand_home(mask), originals.files) if mask else None
        _tell(progress, 0, clean)
        images, said = _attack(job, originals, out, workspace, masks, sample_every, model)
        _tell(progress, 1, clean)
        files = write_pictures(images, out, job.about(originals, clean, workspace), earlier)
        beside = None
        if clean:
            beside, _ = _attack(job, clean, out, workspace, masks)
            _tell(progress, 2, clean)
        where = write_beside(images, beside, prompts, out) or (LEFT_OUT if known else "")
        _tidy(job, out, workspace)
    as_config = config is not None or isinstance(attacker, specs.Method)
    papers = paper_note(method, [victim]) if as_config else []
    notes = [*left_out_of(photos), *told, *said, *([where] if where else []), *papers]
    return Listed(files, _summary(files, prompts, f"{method.name} on {victim}", notes))


def _attack(
    job: AttackJob,
    photos: Source,
    out: Path,
    workspace: Workspace,
    masks: Photos | None,
    sample_every: int = 0,
    keep_model: Path | None = None,
) -> tuple[Images, list[str]]:
    """Return what the attacker gets from photos, and what the user is told of the run."""
    state = RunState(
        job.checkpoint(photos, out, workspace),
        job.attacker.name,
        workspace.progress,
        sample_every=sample_every,
        watch=partial(_look, out),
        keep_model=keep_model,
    )
    return run_attack(job.step(photos), workspace, state, masks), state.notes


def _tidy(job: AttackJob, out: Path, workspace: Workspace) -> None:
    """Remove the checkpoints of a finished attack, and what stopped ones left of its purifiers."""
    for left in (out / FOLDER).glob("state-*.safetensors"):
        left.unlink()
    if job.purifiers:
        workspace.results.tidy()


def _look(out: Path, done: int, pictures: Images) -> None:
    """Write the pictures of a training into a sheet that is named by the steps done."""
    write_grid(out / FOLDER / "training" / f"{done:06d}.png", pictures, PREVIEW)


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


def _summary(
    files: Sequence[Path], prompts: Sequence[str], who: str, notes: Sequence[str]
) -> Summary:
    """Return what is shown of an attack's pictures."""
    each = len(files) // len(prompts)
    rows = [{"picture": file, "prompt": prompts[i // each]} for i, file in enumerate(files)]
    count = f"{len(files)} picture{'s' * (len(files) != 1)}"
    return Summary(f"{count} by {who}. Folder: {files[0].parent}", rows, notes)


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
