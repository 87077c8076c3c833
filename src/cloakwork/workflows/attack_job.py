"""What decides an attacker's pictures: the job."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloakwork.environment import surroundings
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Step, Workspace, key, purify_steps
from cloakwork.files import FOLDER
from cloakwork.models import pipelines
from cloakwork.specs import Method


@dataclass(frozen=True)
class AttackJob:
    """Everything that decides an attacker's pictures, beside the photos."""

    attacker: Method
    victim: str
    prompts: tuple[str, ...]
    purifiers: tuple[Method, ...]
    """what the photos go through first"""
    denoiser: str
    """of purifiers that diffuse pixels"""
    seed: int
    dtype: str

    def step(self, photos: Source) -> Step:
        """Return the attack on photos."""
        purified = purify_steps(
            photos,
            self.purifiers,
            model=self.victim,
            denoiser=self.denoiser,
            seed=self.seed,
            dtype=self.dtype,
        )
        return Step(self.attacker, (purified,), self.seed, (self.victim,), self.prompts, self.dtype)

    def checkpoint(self, photos: Source, out: Path, workspace: Workspace) -> Path:
        """Return the file from which a stopped attack on photos goes on."""
        return out / FOLDER / f"state-{key(self.step(photos), workspace)[:16]}.safetensors"

    def about(self, photos: Source, clean: Source | None, workspace: Workspace) -> dict[str, Any]:
        """Return everything needed to attack the same photos again."""
        return {
            "attacker": self.attacker.name,
            "config": asdict(self.attacker.config),
            "victim": {"name": self.victim, "weights": pipelines.weights(self.victim)},
            "prompts": list(self.prompts),
            "purifiers": [method.record() for method in self.purifiers],
            "seed": self.seed,
            "photos": sorted(str(f) for f in photos.files),
            "originals": sorted(str(f) for f in clean.files) if clean else [],
            "surroundings": surroundings(workspace.torch_device),
        }
