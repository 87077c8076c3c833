"""What a list says of the families of whole models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import of_all_workers
from helpers import small_families

from cloakwork import cli
from cloakwork.models import latent_spaces, pipelines, published

COUNTED = Path(__file__).parents[2] / "results" / "families.json"
REVISION = 40 * "0"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the hub's copies; there is no network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def keep(cache: Path, folder: Path, name: str) -> Path:
    """Put a pipeline there as the hub's client does; return its folder."""
    kept = cache / f"models--{name.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(REVISION)
    return Path(shutil.copytree(folder, kept / "snapshots" / REVISION))


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return what the list says of each family."""
    assert cli.main(["list", "models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("families of whole models") + 1
    rows = (line.strip().partition("  ") for line in lines[at : at + len(pipelines.FAMILIES)])
    return {name: text.strip() for name, _, text in rows}


def test_families_are_listed_with_what_would_be_fetched(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys)
    assert list(found) == [family.NAME for family in pipelines.FAMILIES]
    assert found["Stable Diffusion 1.x and 2.x"] == (
        "folder of StableDiffusionPipeline, or one file; naming "
        "stable-diffusion-v1-5/stable-diffusion-v1-5 fetches it, about 4.3 GB"
    )
    assert found["FLUX.1"].startswith(
        "folder of FluxPipeline or FluxKontextPipeline, or one file; naming black-forest-labs/"
    )
    assert found["Z-Image"] == "folder of ZImagePipeline; none of the hub's on this machine"


def test_copies_that_are_whole_are_at_hand(
    cache: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    small = small_families.save("flux", of_all_workers(tmp_path_factory) / "small-flux")
    keep(cache, small, "me/flux")
    shutil.rmtree(keep(cache, small, "me/half") / "transformer")
    strange = keep(cache, small, "me/strange") / "model_index.json"
    strange.write_text(json.dumps({"_class_name": "Other", "vae": ["diffusers", "Other"]}))
    (keep(cache, small, "me/encoder") / "model_index.json").unlink()
    found = told(capsys)
    assert found["FLUX.1"].endswith("or one file; on this machine: me/flux")
    assert found["Stable Diffusion XL"].endswith("fetches it, about 14 GB")


def test_sizes_are_those_that_were_counted() -> None:
    """Numbers are as long as those of the family's autoencoder, whose size is known."""
    spaces = {space.full.id: space for space in latent_spaces.SPACES.values()}
    counted = json.loads(COUNTED.read_text())
    names = {
        "Stable Diffusion 1.x and 2.x": "Stable Diffusion 1.5",
        "Stable Diffusion 3 and 3.5": "Stable Diffusion 3.5 medium",
        "FLUX.1": "FLUX.1 dev",
        "FLUX.2 klein": "FLUX.2 klein 4B",
    }
    for family, one in published.PUBLISHED.items():
        found = counted[names.get(family, family)]
        numbers = sum(found[part] for part in ("denoiser", "text_encoders", "autoencoder"))
        length = round(1e6 * spaces[one.id].full.megabytes / found["autoencoder"])
        assert length in (2, 4)
        assert one.megabytes == pytest.approx(length * numbers / 1e6, rel=0.01)
