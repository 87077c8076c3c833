"""Metrics of pictures (CLIP, DINO, KID, BRISQUE, LIQE): against another library, a published
definition or a closed form."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.metrics import (
    brisque,
    clip_i,
    clip_iqa,
    clip_iqac,
    clip_t,
    dino,
    ims_clip,
    kid,
    liqe_quality,
    liqe_scene_human,
)
from cloakwork.metrics._measure import measure
from cloakwork.models import hub, liqe
from cloakwork.models.clip import EMBEDDED_CLIP, MEAN, STD, load_clip, square, standardise
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float
from cloakwork.types import Photos


@pytest.fixture(scope="module")
def coffee() -> Tensor:
    return as_float(load_photo(SAMPLE_PHOTOS / "coffee.png").pixels)


def published(x: Tensor, side: int) -> Tensor:
    """A picture as the published processor gives it to CLIP."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    picture = Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy())
    return processor(picture, return_tensors="pt")["pixel_values"][0]


def reference_clip(x: Tensor) -> Tensor:
    """CLIP's embedding by the published processor, and the model called directly."""
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(EMBEDDED_CLIP)
    values = published(x, model.config.vision_config.image_size)[None]
    with torch.no_grad():
        return model.vision_model(values).pooler_output @ model.visual_projection.weight.T


def test_pictures_of_any_size_are_prepared_as_published(rng: torch.Generator) -> None:
    """To the two roundings to 8 bits that Pillow does, one after each direction."""
    sizes = torch.randint(100, 400, (12, 2), generator=rng).tolist()
    for height, width in [(290, 330), (330, 290), (224, 301), (97, 128), *sizes]:
        x = (64 + torch.randint(0, 128, (3, height, width), generator=rng)) / 255
        for side in (128, 224):
            ours = standardise(square(x, side), MEAN, STD)
            error = (ours - published(x, side)) * torch.tensor(STD)[:, None, None]
            assert error.abs().max() < 2 / 255, (height, width, side)


def test_clip_sees_what_the_published_recipe_sees(coffee: Tensor) -> None:
    mine, other = load_clip().pictures([coffee]), reference_clip(coffee)
    assert (
        F.cosine_similarity(mine, other).item() > 0.999
    )  # Pillow rounds to 8 bits twice, and this CLIP sees fine noise
    assert mine.shape == (1, load_clip().model.config.projection_dim)


def test_clip_reads_with_the_text_tower(coffee: Tensor) -> None:
    """The end-of-text state through the projection, for texts of different lengths in one batch."""
    clip, texts = (
        load_clip(),
        ["a photo of a cup", "a photo of a brown cup of coffee on a wooden table, seen from above"],
    )
    together = clip.texts(texts)
    for text, embedding in zip(texts, together, strict=True):
        ids = clip.tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            alone = (
                clip.model.text_model(ids).last_hidden_state[:, -1]
                @ clip.model.text_projection.weight.T
            )
        assert torch.allclose(alone[0], embedding, atol=1e-4)


def test_clip_t_leaves_the_attackers_token_out(photos: Photos) -> None:
    cfg = clip_t.Config()
    a = clip_t.score(
        photos, None, ["a photo of sks person", "a photo of <sks> cup", "a photo of asks"], cfg
    )
    b = clip_t.score(photos, None, ["a photo of person", "a photo of cup", "a photo of asks"], cfg)
    assert torch.equal(a, b)
    assert clip_t.without("sks, sks! asks", "sks") == ", ! asks"
    clip = load_clip()
    by_hand = (
        F.normalize(clip.pictures(photos), dim=-1)
        * F.normalize(clip.texts(["a photo of cup"]), dim=-1)
    ).sum(-1)
    assert torch.allclose(
        clip_t.score(photos, None, ["a photo of cup"] * 3, cfg), by_hand, atol=1e-6
    )


def test_likeness_to_the_mean_of_the_references(photos: Photos) -> None:
    clip = load_clip()
    e = clip.pictures(photos)
    unit = F.normalize(e, dim=-1)
    pairs = (unit[:1] @ unit[1:].T).mean()  # DreamBooth's CLIP-I
    found = clip_i.score(photos[:1], photos[1:], None, clip_i.Config())
    assert (found * unit[1:].mean(0).norm()).item() == pytest.approx(pairs.item(), abs=1e-5)
    by_hand = unit[0] @ F.normalize(e[1:].mean(0), dim=0)
    assert ims_clip.score(photos[:1], photos[1:], None, ims_clip.Config()).item() == pytest.approx(
        by_hand.item(), abs=1e-5
    )
    assert clip_i.score(photos[:1], photos[:1], None, clip_i.Config()).item() == pytest.approx(
        1, abs=1e-5
    )


def test_clip_iqa_is_torchmetrics(photos: Photos) -> None:
    from torchmetrics.functional.multimodal.clip_iqa import (
        _clip_iqa_compute,
        _clip_iqa_format_prompts,
    )

    clip = load_clip()
    prompts, names = _clip_iqa_format_prompts(("quality",))
    x, anchors = (F.normalize(e, dim=-1) for e in (clip.pictures(photos), clip.texts(prompts)))
    theirs = _clip_iqa_compute(
        x * clip.scale / 100, anchors, names
    )  # it multiplies by 100, the published CLIPs' scale
    assert torch.allclose(clip_iqa.score(photos, None, None, clip_iqa.Config()), theirs, atol=1e-5)


def test_clip_iqac_is_a_hyperbolic_tangent(photos: Photos) -> None:
    """Softmax of two, one share less the other: tanh of half the difference of the logits."""
    clip = load_clip()
    x = F.normalize(clip.pictures(photos), dim=-1)
    good, bad = F.normalize(clip.texts(["a good photo of cat", "a bad photo of cat"]), dim=-1)
    expected = (clip.scale * (x @ good - x @ bad) / 2).tanh()
    assert torch.allclose(
        clip_iqac.score(photos, None, None, clip_iqac.Config(subject="cat")), expected, atol=1e-5
    )


def test_a_square_keeps_small_and_oblong_photos(coffee: Tensor) -> None:
    assert square(coffee[:, :128, :128], 128) is not coffee and torch.equal(
        square(coffee[:, :128, :128], 128), coffee[:, :128, :128]
    )
    assert square(coffee[:, :40, :200], 128).shape == square(coffee, 128).shape == (3, 128, 128)


def test_dino_takes_the_class_token_of_any_vit(tmp_path: Path, photos: Photos) -> None:
    from transformers import ViTConfig, ViTModel

    model = ViTModel(
        ViTConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=48,
            image_size=112,
        )
    )
    model.save_pretrained(tmp_path)
    found = dino.score(photos[:2], photos[2:], None, dino.Config(str(tmp_path)))
    views = torch.stack([square(square(p, 128), 112) for p in photos])
    views = (views - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    with torch.no_grad():
        tokens = model.eval()(views).last_hidden_state[:, 0]
    assert torch.allclose(found, F.cosine_similarity(tokens[:2], tokens[2:]), atol=1e-5)
    assert measure("dino", photos, photos, cfg=dino.Config(str(tmp_path))).instrument.startswith(
        "DINO "
    )


def test_kid_is_torchmetrics_polynomial_mmd(rng: torch.Generator) -> None:
    from torchmetrics.image.kid import poly_mmd

    x, y = (
        torch.randn(12, 30, generator=rng, dtype=torch.double),
        0.3 + torch.randn(12, 30, generator=rng, dtype=torch.double),
    )
    assert kid.mmd(x, y).item() == pytest.approx(poly_mmd(x, y).item(), rel=1e-9)


def test_kid_of_two_points_in_closed_form() -> None:
    """All of x at one point of mean square 1, all of y at zero: (1 + 1)^3 + 1 - 2 = 7."""
    assert kid.mmd(torch.ones(3, 5), torch.zeros(4, 5)).item() == pytest.approx(7)


def test_kid_is_unbiased(rng: torch.Generator) -> None:
    """Two draws from one distribution: zero on average, however few they are; the biased estimate
    is far from it."""
    draws = [torch.randn(2, 6, 8, generator=rng, dtype=torch.double) for _ in range(400)]
    values = torch.stack([kid.mmd(x, y) for x, y in draws])
    assert values.mean().abs() < 3 * values.std() / 20
    assert values.min() < 0


@pytest.mark.parametrize("features", ["alexnet", "tiny"])
def test_kid_tells_another_subject(features: str, coffee: Tensor) -> None:
    other = as_float(load_photo(SAMPLE_PHOTOS / "rocket.jpg").pixels)
    views = [coffee[:, i : i + 256, j : j + 256] for i, j in product((0, 60, 120), (100, 200, 300))]
    foreign = [
        other[:, i : i + 256, j : j + 256] for i, j in product((0, 60, 120), (100, 200, 300))
    ]
    near, far = (
        kid.score(x, views[::2], None, kid.Config(features)).item() for x in (views[1::2], foreign)
    )
    assert far > 3 * abs(near)


# the package brisque 0.2.0 (numpy 2.3, OpenCV 5.0.0, libsvm 3.37), run once on the same pixels; at
# 101 px the halves differ
@pytest.mark.parametrize(
    ("name", "size", "value"),
    [
        ("coffee.png", None, 3.0479264284917633),
        ("astronaut.jpg", None, 10.051241743345798),
        ("coffee.png", 128, 29.557677747111228),
        ("astronaut.jpg", 128, 31.581963408359314),
        ("chelsea.png", 128, 38.03526864798502),
        ("rocket.jpg", 128, -8.077790013268697),
        ("chelsea.png", 101, 37.34596080065418),
    ],
)
def test_brisque_is_that_of_the_package(name: str, size: int | None, value: float) -> None:
    x = as_float(load_photo(SAMPLE_PHOTOS / name).pixels)
    x = x[:, 40 : 40 + size, 40 : 40 + size] if size else x
    assert brisque.score([x], None, None, brisque.Config()).item() == pytest.approx(value, abs=2e-3)


def test_brisque_knows_ruined_pictures(coffee: Tensor, rng: torch.Generator) -> None:
    x = coffee[:, :256, :256]
    noisy, blurred = (
        (x + 0.2 * torch.randn(x.shape, generator=rng)).clamp(0, 1),
        F.avg_pool2d(x[None], 9, 1, 4)[0],
    )
    for recipe in ("package", "release"):
        clean, *worse = brisque.score([x, noisy, blurred], None, None, brisque.Config(recipe))
        assert all(w > clean + 20 for w in worse)


def test_brisque_in_strips_is_brisque(coffee: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from cloakwork.models import brisque
    from cloakwork.models import brisque as net

    whole = net.features(coffee[0].double())
    monkeypatch.setattr(brisque, "STRIP", 600 * 37)
    assert torch.allclose(net.features(coffee[0].double()), whole, rtol=1e-9)


def test_a_gaussian_has_shape_two(rng: torch.Generator) -> None:
    from cloakwork.models.brisque import asymmetric_fit, moments

    alpha, mean, left, right = asymmetric_fit(
        moments(2 * torch.randn(400_000, generator=rng, dtype=torch.double))
    )
    assert (alpha.item(), mean.item()) == pytest.approx((2, 0), abs=0.03)
    assert (left.item(), right.item()) == pytest.approx((4, 4), abs=0.06)


def test_liqe_is_its_demo(coffee: Tensor) -> None:
    """The release's own steps on another CLIP: all windows unfolded, every so many taken, softmax
    of the mean logits."""
    clip, x = load_clip(), coffee[:, :300, :400]
    size, step = clip.size, clip.size // 7
    windows = (
        x.unfold(1, size, step)
        .unfold(2, size, step)
        .permute(1, 2, 0, 3, 4)
        .reshape(-1, 3, size, size)
    )
    chosen = windows[[len(windows) // 15 * i for i in range(15)]]
    assert torch.equal(liqe.patches(x, size), chosen)
    texts = [
        f"a photo of a {s} with {d} artifacts, which is of {q} quality"
        for q, s, d in product(liqe.QUALITIES, liqe.SCENES, liqe.DISTORTIONS)
    ]
    e, c = F.normalize(clip.pixels(chosen), dim=-1), F.normalize(clip.texts(texts), dim=-1)
    shares = (clip.scale * e @ c.T).mean(0).softmax(0).tolist()
    quality = sum(p * (1 + i // 99) for i, p in enumerate(shares))
    scenes = [sum(p for i, p in enumerate(shares) if i // 11 % 9 == k) for k in range(9)]
    assert len(shares) == 495
    assert liqe_quality.score([x], None, None, liqe_quality.Config("tiny")).item() == pytest.approx(
        quality, abs=1e-4
    )
    human = liqe_scene_human.score([x], None, None, liqe_scene_human.Config("tiny")).item()
    assert human == float(liqe.SCENES[scenes.index(max(scenes))] == "human")


def test_liqe_takes_pictures_of_any_size(coffee: Tensor) -> None:
    for x in (
        coffee[:, :60, :60],
        coffee[:, :100, :400],
        F.interpolate(coffee[None], (1100, 1700))[0],
    ):
        patches = liqe.patches(x, 224)
        assert patches.shape == (15, 3, 224, 224)
        assert len({p.numpy().tobytes() for p in patches}) == 15


def gone(*args: object, **kwargs: object) -> None:
    raise OSError("no network")


@pytest.mark.parametrize(
    ("name", "cfg", "why"),
    [
        ("dino", None, "give one as its field 'dino'"),
        ("liqe_quality", None, "convert it to a CLIPModel folder"),
        ("liqe_scene_human", None, "convert it to a CLIPModel folder"),
        ("clip_i", clip_i.Config("./not/here"), "There is no model folder './not/here'"),
        (
            "clip_i",
            clip_i.Config("somebody/something"),
            r"nor could it be fetched from the hub \(OSError\)",
        ),
        ("kid", kid.Config("somebody/something"), "Check the spelling and the network"),
    ],
)
def test_what_is_not_here_is_unscored(
    name: str, cfg: object, why: str, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", gone)
    found = measure(name, photos, photos, ["a cup"] * 3, cfg)
    assert all(math.isnan(v) for v in found.values) and math.isnan(found.mean)
    assert len(found.values) == (1 if name == "kid" else 3)
    assert found.instrument == ""
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(found.reason)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(Unscored, match="Pickle files are never loaded"):
        hub.folder(str(tmp_path))


def test_a_folder_of_something_else_is_unscored(photos: Photos) -> None:
    found = measure(
        "clip_i", photos, photos, cfg=clip_i.Config(str(EMBEDDED_CLIP.parent / "tiny" / "unet"))
    )
    assert found.reason and "The CLIP model" in found.reason and "could not be read" in found.reason


def test_too_small_and_flat_pictures_have_no_brisque(coffee: Tensor) -> None:
    found = measure("brisque", [coffee, coffee[:, :31, :60], torch.full((3, 64, 64), 0.5)])
    assert [math.isnan(v) for v in found.values] == [False, True, True]
    assert found.reason == (
        "2 of 3: BRISQUE needs sides of at least 32 px and a picture that is not one flat colour."
    )
    assert found.mean == pytest.approx(3.048, abs=2e-3)


def test_text_and_set_metrics_say_what_they_lack(photos: Photos) -> None:
    assert (
        measure("clip_t", photos).reason
        == "'clip_t' compares pictures with the prompts they were asked for, and none were given."
    )
    assert (
        measure("clip_i", photos).reason
        == "'clip_i' compares with clean photos of the subject, and none were given."
    )
    assert "needs two pictures" in (measure("kid", photos[:1], photos).reason or "")
