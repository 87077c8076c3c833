"""Metrics of faces: the arithmetic on made-up embeddings in closed form; with dlib's models here,
against dlib itself."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.metrics import face_missing, identity, ims_vgg, match, subject_detection
from cloakwork.metrics._measure import measure
from cloakwork.models import faces as nets
from cloakwork.models.faces import Face, Faces, load_faces, resized
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float
from cloakwork.types import Photos

ROOT = Path(__file__).parents[2]
PEOPLE = ROOT.parent / "shared" / "data" / "identities"
FACES = ("identity", "match", "face_missing", "subject_detection", "ims_vgg")

try:
    load_faces("dlib")
    MISSING = ""
except Unscored as why:
    MISSING = why.reason
needs_dlib = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def sample(name: str) -> Tensor:
    return as_float(load_photo(SAMPLE_PHOTOS / name).pixels)


def face_at(x: float, y: float, *, area: float = 1, score: float = 1) -> Face:
    return Face(area, score, torch.tensor([x, y], dtype=torch.float32), (0, 0, 1, 1))


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Photos:
    """Pictures whose faces are points of a plane: grey level k shows the k-th entry. Clean: 0, 1.
    Seen: 2, 3, 4 and nothing."""
    shown = {
        0: [face_at(0, 0)],
        1: [face_at(2, 0)],
        2: [face_at(1, 0.5)],
        3: [face_at(9, 9, area=1), face_at(1, 3, area=2)],
        4: [face_at(1, 0.1, score=2), face_at(0, 0, score=4)],
    }
    made_up = Faces(
        "made up", "0", "euclidean", 1.2, lambda pixels: shown.get(int(pixels[0, 0, 0]), [])
    )
    for module in (identity, match, face_missing, subject_detection, ims_vgg):
        monkeypatch.setattr(module, "load_faces", lambda name: made_up)
    return [torch.full((3, 4, 4), k / 255) for k in range(6)]


def test_identity_is_the_distance_of_the_largest_face_to_the_mean(plane: Photos) -> None:
    found = measure("identity", plane[2:], plane[:2])
    assert found.values[:3] == pytest.approx([0.5, 3, 0.1]) and math.isnan(found.values[3])
    assert (
        found.reason
        == "1 of 4: 'identity' has nothing to compare where no face was found in the picture."
    )
    assert found.mean == pytest.approx(1.2) and found.instrument == "made up (weights 0)"


def test_references_without_a_face_do_not_count(plane: Photos) -> None:
    assert measure("identity", plane[2:3], [*plane[:2], plane[5]]).values == pytest.approx([0.5])


def test_match_counts_missing_faces_as_none(plane: Photos) -> None:
    found = measure("match", plane[2:], plane[:2], cfg=match.Config(threshold=0.5))
    assert found.values == [1, 0, 1, 0] and found.reason is None


def test_match_has_no_threshold_for_every_embedder(plane: Photos) -> None:
    found = measure("match", plane[2:], plane[:2], cfg=match.Config("made up"))
    assert all(math.isnan(v) for v in found.values)
    assert found.reason == (
        "'match' has no calibrated threshold for the embedder 'made up'; give one as its field "
        "'threshold'."
    )


def test_face_missing_is_a_share(plane: Photos) -> None:
    assert measure("face_missing", plane[2:]).mean == 0.25


def test_subject_detection_averages_over_faces(plane: Photos) -> None:
    assert measure("subject_detection", plane[3:]).values == [1, 3, 0]


def test_ims_vgg_keeps_near_references_only(plane: Photos) -> None:
    """(1, .5) is sqrt(1.25) from both; (1, .1) sqrt(1.01); (1, 3) too far from either; the last has
    no face."""
    found = measure("ims_vgg", plane[2:], plane[:2])
    assert found.values == pytest.approx(
        [1 - math.sqrt(1.25), -1, 1 - math.sqrt(1.01), -1], abs=1e-6
    )
    nearer = measure(
        "ims_vgg", [plane[4]], [plane[0], plane[2]], cfg=ims_vgg.Config(threshold=0.5)
    ).values
    assert nearer == pytest.approx([0.6])  # .4 from the second, sqrt(1.01) from the first


def test_cosine_embedders_are_compared_by_angle() -> None:
    arc = Faces("arc", "0", "cosine", None, lambda pixels: [])
    assert arc.distance(torch.tensor([2.0, 0]), torch.tensor([3.0, 3.0])) == pytest.approx(
        1 - math.sqrt(0.5)
    )


@pytest.mark.parametrize("name", ["identity", "match", "ims_vgg"])
def test_no_face_in_the_references_is_unscored(name: str, plane: Photos) -> None:
    found = measure(name, plane[2:], plane[5:])
    assert all(math.isnan(v) for v in found.values)
    assert found.reason and found.reason.startswith(
        "made up finds no face in the 1 clean photos of the subject"
    )


def test_the_default_threshold_is_the_calibrated_one() -> None:
    cells = json.loads((ROOT / "results" / "face_calibration.json").read_text())["cells"]
    (cell,) = [
        c for c in cells if c["view"] == "round trip" and c["reference"] == "five clean photos"
    ]
    assert match.THRESHOLDS["dlib"] == pytest.approx(cell["threshold"], abs=0.001)


@pytest.mark.parametrize("name", FACES)
def test_without_models_everything_is_unscored_and_says_how_to_get_them(
    name: str, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_faces.cache_clear()
    monkeypatch.setenv("CLOAKWORK_FACE_MODELS", str(tmp_path))
    found = measure(name, photos, photos)
    assert len(found.values) == 3 and all(math.isnan(v) for v in found.values)
    assert found.reason == nets.GET_DLIB and "pip install 'cloakwork[face]'" in nets.GET_DLIB
    load_faces.cache_clear()


def test_other_embedders_say_what_they_lack(photos: Photos, tmp_path: Path) -> None:
    assert "insightface's ONNX files" in (
        measure("identity", photos, photos, cfg=identity.Config("nowhere")).reason or ""
    )
    (tmp_path / "det.onnx").touch()
    if not nets.importlib.util.find_spec("insightface"):
        reason = measure("identity", photos, photos, cfg=identity.Config(str(tmp_path))).reason
        assert reason and "pip install insightface onnxruntime" in reason


def test_other_subjects_are_detected_by_clip(photos: Photos) -> None:
    """CLIP's share of "a picture of cup" less that of "a picture of non-cup"."""
    from cloakwork.models.clip import load_clip

    found = measure("subject_detection", photos, cfg=subject_detection.Config(subject="cup"))
    assert found.instrument == str(load_clip()) and found.reason is None
    shares = load_clip().choose(photos, ["a picture of cup", "a picture of non-cup"])
    assert found.values == pytest.approx((2 * shares[:, 0] - 1).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((128, 128), (256, 256)),
        ((60, 90), (480, 720)),
        ((256, 300), (256, 300)),
        ((3000, 2400), (1200, 960)),
    ],
)
def test_small_pictures_are_doubled_and_large_ones_shrunk(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    assert resized(np.zeros((*size, 3), np.uint8)).shape == (*shown, 3)


@needs_dlib
def test_the_descriptor_is_dlibs() -> None:
    """A portrait and a crop of it, through dlib's own calls."""
    import dlib  # type: ignore[import-not-found]

    folder = nets._dlib_models()
    detector = dlib.get_frontal_face_detector()
    landmarks = dlib.shape_predictor(str(folder / nets.LANDMARKS))
    descriptor = dlib.face_recognition_model_v1(str(folder / nets.DESCRIPTOR))
    portrait = sample("astronaut.jpg")
    crop = portrait[:, :300, 80:400]
    vectors = []
    for x in (portrait, crop):
        pixels = np.ascontiguousarray((x * 255).round().byte().permute(1, 2, 0).numpy())
        boxes, scores, _ = detector.run(pixels, 0, 0.0)
        chip = dlib.get_face_chip(pixels, landmarks(pixels, boxes[0]), 150)
        vectors.append(np.array(descriptor.compute_face_descriptor(chip)))
    assert measure("identity", [crop], [portrait]).values == pytest.approx(
        [np.linalg.norm(vectors[0] - vectors[1])], abs=0.02
    )
    assert measure("subject_detection", [crop]).values == pytest.approx([scores[0]], abs=1e-4)


@needs_dlib
def test_a_portrait_has_a_face_and_a_cup_has_none() -> None:
    portrait, cup = sample("astronaut.jpg"), sample("coffee.png")
    small = torch.nn.functional.interpolate(
        portrait[None, :, :300, 80:380], (128, 128), mode="bicubic", antialias=True
    )[0].clamp(0, 1)
    assert measure("face_missing", [portrait, cup, small]).values == [0, 1, 0]
    assert measure("match", [small, cup], [portrait]).values == [1, 0]
    assert measure("subject_detection", [cup]).values == [0]
    assert math.isnan(measure("identity", [cup], [portrait]).values[0])
    assert measure("identity", [portrait], [cup]).reason


# results/face_calibration.json, photos at 128 px against five clean ones: no error of either kind
AT_128 = 0.445


@needs_dlib
@pytest.mark.skipif(not PEOPLE.is_dir(), reason="needs ../shared/data/identities")
def test_people_are_told_apart_at_128_px() -> None:
    """Three people, two photos each: without an autoencoder between, the calibration's own
    threshold has no errors."""
    from cloakwork.photos.preprocessing import preprocess

    people = sorted(p for p in PEOPLE.iterdir() if p.is_dir())[:3]
    photos = [
        [as_float(load_photo(f).pixels) for f in sorted((p / "set_B").glob("*.jpg"))]
        for p in people
    ]
    for i, own in enumerate(photos):
        seen = preprocess(own[:2], 128)
        near, *far = [
            identity.score(seen, own[2:] if j == i else other, None, identity.Config())
            for j, other in sorted(enumerate(photos), key=lambda pair: pair[0] != i)
        ]
        assert (near < AT_128).all() and (near < match.THRESHOLDS["dlib"]).all()
        assert all((f > AT_128).all() for f in far)
