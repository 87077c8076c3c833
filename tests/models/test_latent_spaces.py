"""Families by name: what stands for them on a device, and what is said where nothing does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import small_autoencoders

from cloakwork.errors import UserError
from cloakwork.models import autoencoders, hub, latent_spaces, latents, loading
from cloakwork.models.latent_spaces import SPACES, spelled


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The hub's copies on this machine, by id; there is no network."""
    kept: dict[str, Path] = {}

    def no_network(name: str, *_: object, **__: object) -> Path:
        raise UserError(f"No network for {name}.")

    monkeypatch.setattr(latent_spaces, "STUDENTS", tmp_path / "students")
    monkeypatch.setattr(latent_spaces, "BORROWED", {})
    monkeypatch.setattr(hub, "cached", lambda name, wanted: kept.get(name))
    monkeypatch.setattr(hub, "fetch", no_network)
    return kept


@pytest.fixture
def students(copies: dict[str, Path]) -> Iterator[Path]:
    """Small versions of sd and flux2, as the package brings them."""
    for name in ("sd", "flux2"):
        small_autoencoders.save("tiny", latent_spaces.STUDENTS / name)
    autoencoders._load_cpu.cache_clear()
    yield latent_spaces.STUDENTS
    autoencoders._load_cpu.cache_clear()


def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloakwork.models.device.pick_device", lambda _: torch.device("cuda"))


def own_encoder(copies: dict[str, Path], family: str, folder: Path) -> None:
    source = SPACES[family].full
    small_autoencoders.save("sd3", folder / source.subfolder)
    copies[source.id] = folder


def test_on_a_cpu_a_family_is_its_small_version(
    students: Path, copies: dict[str, Path], tmp_path: Path
) -> None:
    own_encoder(copies, "sd", tmp_path / "hub")
    own_encoder(copies, "sana", tmp_path / "hub-2")
    assert spelled(["sd", "tiny", "sana", "sd:full"], "cpu") == [
        "sd:tiny",
        "tiny",
        "sana:full",
        "sd:full",
    ]
    assert spelled(["all", "sd"], "cpu") == ["sd:tiny", "flux2:tiny", "sana:full"]


def test_elsewhere_it_is_its_own_encoder_where_that_is_at_hand(
    students: Path, copies: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_encoder(copies, "sd", tmp_path / "hub")
    on_gpu(monkeypatch)
    assert spelled(["sd", "flux2"], "cuda") == ["sd:full", "flux2:tiny"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sdxl", r"sdxl:tiny is not .*--fetch fetches .* \(madebyollin/taesdxl, about 10 MB\)"),
        ("sdxl:full", "xl-base-1.0, about 335 MB"),
        ("flux2:full", "FLUX.2-klein-4B, about 168 MB"),
        ("qwen", "qwen:full is not on this machine"),
        ("qwen:tiny", "no small version of qwen; name qwen:full"),
        ("sd:big", "no 'sd:big'; give sd:tiny or sd:full"),
    ],
)
def test_what_is_not_at_hand_is_one_sentence(students: Path, name: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        spelled([name], "cpu")
    assert len(caught.value.sentences) == 1


def test_tinys_autoencoder_stands_for_the_space_it_learned() -> None:
    found = autoencoders.load("sd:tiny", "cpu")
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    own = loading.load("tiny", "cpu")
    assert torch.equal(found.encode(x), own.encode(x)) and found.sizes == (512,)
    assert latent_spaces.offers("sd:tiny") == "comes with the package"


def test_nothing_at_hand(copies: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"--fetch fetches one for each .*about \d+ MB"):
        spelled(["all"], "cpu")


def test_fetched_where_the_user_says_so(
    copies: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(name: str, wanted: list[str], **_: object) -> Path:
        fetched.append((name, wanted))
        folder = tmp_path / "hub" / name
        for file in wanted:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        copies[name] = folder
        return folder

    monkeypatch.setattr(hub, "fetch", fetch)
    assert spelled(["qwen"], "cpu", fetch=True) == ["qwen:full"]
    files = ["vae/config.json", "vae/diffusion_pytorch_model.safetensors"]
    assert fetched == [("Qwen/Qwen-Image", files)]
    assert spelled(["qwen"], "cpu", fetch=True) == ["qwen:full"] and len(fetched) == 1
    of_all = spelled(["all"], "cpu", fetch=True)
    assert [name.partition(":")[0] for name in of_all] == list(SPACES)


def test_a_family_is_loaded_at_its_own_sizes(students: Path) -> None:
    found = autoencoders.load("flux2:tiny", "cpu")
    assert (found.name, found.sizes) == ("flux2:tiny", (512, 1024))
    assert autoencoders.is_alone("flux2:tiny") and not autoencoders.is_alone("flux2")


def test_a_list_says_where_each_is(students: Path, copies: dict[str, Path], tmp_path: Path) -> None:
    own_encoder(copies, "sd", tmp_path / "hub")
    names = ["flux2:tiny", "sd:full", "flux:tiny", "sana:tiny"]
    assert [latent_spaces.offers(name) for name in names] == [
        "comes with the package",
        "on this machine",
        "--fetch fetches madebyollin/taef1, about 10 MB",
        "",
    ]


def test_without_network_all_is_what_comes_with_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "cached", lambda *_: None)
    found = spelled(["all"], "cpu")
    assert found == ["sd:tiny", "sd3:tiny", "flux2:tiny"]
    assert all(map(latent_spaces.embedded, found))
    for name in found:
        coder = autoencoders.load(name, "cpu")
        channels = {"sd": 4, "sd3": 16, "flux2": 32}[name.removesuffix(":tiny")]
        assert (coder.scale, latents.channels(coder.vae)) == (8, channels)
