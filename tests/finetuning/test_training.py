from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.files import cache_folder
from cloakwork.finetuning import training
from cloakwork.finetuning.batches import latent_batches
from cloakwork.finetuning.latent_dataset import LatentDataset, encode_dataset
from cloakwork.finetuning.prior import class_pictures
from cloakwork.finetuning.training import (
    Training,
    _descend,
    adamw,
    finetune,
    train_steps,
    weighted_error,
)
from cloakwork.finetuning.weights import (
    restore_training,
    temporarily_trained,
    training_tensors,
    weights_of,
)
from cloakwork.models.ldm import LDM
from cloakwork.photos.preprocessing import Preprocessing, preprocess
from cloakwork.state import RunState
from cloakwork.types import Photos

PROMPT = "a photo of sks person"


def error_on(model: LDM, z: torch.Tensor) -> float:
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        return (
            torch.stack([model.latent_loss(z, model.embed([PROMPT]), g) for _ in range(8)])
            .mean()
            .item()
        )


def moved(model: LDM, before: dict[str, torch.Tensor]) -> float:
    """Share of the weights that changed."""
    now = weights_of(model)
    return sum((now[k] != v).sum().item() for k, v in before.items()) / sum(
        v.numel() for v in before.values()
    )


@pytest.mark.parametrize("setting", ["batch=0", "lr=-1", "final_lr=2"])
def test_settings_out_of_range_are_refused_before_anything_is_computed(setting: str) -> None:
    with pytest.raises(UserError, match=f"The field {setting.partition('=')[0]} is "):
        specs.parse("protections", f"metacloak:tiny:training.{setting}")


def test_learning_lowers_the_error_on_what_was_learned(
    small: LDM, photos: Photos, rng: torch.Generator
) -> None:
    model = small.copy()
    what = encode_dataset(model, preprocess(photos, 128), PROMPT)
    before = error_on(model, what.latents)
    train_steps(model, what, None, Training(lr=1e-4, batch=3), 12, rng)
    assert error_on(model, what.latents) < 0.97 * before
    assert not any(p.requires_grad for p in model.denoiser.parameters())


def test_borrowed_weights_come_back(small: LDM, photos: Photos, rng: torch.Generator) -> None:
    model = small.copy()
    what = encode_dataset(model, preprocess(photos, 128), PROMPT)
    before = {k: v.clone() for k, v in weights_of(model).items()}
    text = model.embed([PROMPT]).hidden
    with pytest.raises(KeyboardInterrupt), temporarily_trained(model):
        train_steps(model, what, what, Training(lr=1e-3), 1, rng)
        assert moved(model, before) > 0.9
        raise KeyboardInterrupt
    assert moved(model, before) == 0
    assert torch.equal(model.embed([PROMPT]).hidden, text)


def test_bf16_weights_at_the_published_rate_hardly_move(
    small: LDM, photos: Photos, rng: torch.Generator
) -> None:
    """What the release of Anti-DreamBooth does in effect: at 5e-7 almost nothing passes bf16's
    rounding."""
    model = small.copy()
    what = encode_dataset(model, preprocess(photos, 128), PROMPT)
    train_steps(
        model, what, None, Training(lr=1e-12, weights="bfloat16"), 1, rng
    )  # rounds once, so that later changes are learning
    before = {k: v.clone() for k, v in weights_of(model).items()}
    train_steps(model, what, None, Training(lr=5e-7, weights="bfloat16"), 3, rng)
    assert moved(model, before) < 0.05
    train_steps(model, what, None, Training(lr=5e-7), 3, rng)
    assert moved(model, before) > 0.5


def test_successive_calls_go_round_all_pictures(
    small: LDM, photos: Photos, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    model = small.copy()
    what = encode_dataset(model, preprocess(photos, 128), PROMPT)
    seen = []
    original = LDM.diffuse

    def spy(self: LDM, z: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.extend(next(i for i, p in enumerate(what.latents) if torch.equal(p, one)) for one in z)
        return original(self, z, *rest)

    monkeypatch.setattr(LDM, "diffuse", spy)
    for k in range(3):
        train_steps(model, what, None, Training(), 2, rng, first=2 * k)
    assert seen == [0, 1, 2, 0, 1, 2]


def test_class_pictures_are_made_once(small: LDM, monkeypatch: pytest.MonkeyPatch) -> None:
    first = class_pictures(small, "a photo of person", 2, steps=2)
    monkeypatch.setattr(LDM, "sample", None)
    assert torch.equal(first, class_pictures(small, "a photo of person", 2, steps=2))
    assert first.shape == (2, 3, 128, 128)


def test_damaged_class_pictures_are_made_again(small: LDM) -> None:
    first = class_pictures(small, "a photo of a cat", 2, steps=1)
    kept = max(cache_folder().glob("class-*/0.safetensors"), key=lambda f: f.stat().st_mtime_ns)
    content = bytearray(kept.read_bytes())
    for damaged in (content[:-5] + b"\x55" + content[-4:], content[:100], b""):
        kept.write_bytes(damaged)
        assert torch.equal(first, class_pictures(small, "a photo of a cat", 2, steps=1))


def test_a_step_lowers_dreambooths_two_losses(small: LDM) -> None:
    """Against a plain statement of L(subject) + w L(class) at the same timesteps and noise."""
    z = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    texts, weight = [PROMPT, PROMPT, "a photo of person", "a photo of person"], 0.3
    with torch.no_grad():
        both = weighted_error(
            small,
            list(z),
            texts,
            [0.5, 0.5, weight / 2, weight / 2],
            torch.Generator().manual_seed(1),
        )
        g = torch.Generator().manual_seed(1)
        t = torch.randint(0, 1000, (4,), generator=g)
        noise = torch.randn(z.shape, generator=g)
        a = small.scheduler.alphas_cumprod[t][:, None, None, None]
        z_t = a.sqrt() * z + (1 - a).sqrt() * noise
        wrong = (
            small.denoiser(z_t, t, encoder_hidden_states=small.embed(texts).hidden).sample - noise
        ) ** 2
    assert both.item() == pytest.approx(
        (wrong[:2].mean() + weight * wrong[2:].mean()).item(), rel=1e-4
    )


def test_subject_and_class_share_a_pass_at_draws_of_their_own(
    small: LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient is that of L(subject) + w L(class), each of which drew for itself; the UNet and
    the text encoder are called once a step."""
    z = torch.randn(5, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    subject, prior = LatentDataset(z[:2], PROMPT), LatentDataset(z[2:], "a photo of person")
    how, rng, calls = Training(batch=2, prior_weight=0.3), torch.Generator().manual_seed(1), []
    name, apart = "unet.mid_block.resnets.0.conv1.weight", small.copy()
    with apart.trainable() as named:
        losses = [
            apart.latent_loss(d.latents[:2], apart.embed([d.prompt]), rng) for d in (subject, prior)
        ]
        (theirs,) = torch.autograd.grad(losses[0] + 0.3 * losses[1], named[name])
    after = torch.randn(1, generator=rng)
    ours: list[torch.Tensor] = []

    def stop(loss: torch.Tensor, params: list[torch.nn.Parameter], *rest: object) -> None:
        (one,) = torch.autograd.grad(loss, together.denoiser.mid_block.resnets[0].conv1.weight)
        ours.append(one)

    together = small.copy()
    for part in (together.denoiser, together.text_encoder):
        part.register_forward_pre_hook(lambda part, given: calls.append(type(part)))
    monkeypatch.setattr(training, "_descend", stop)
    rng.manual_seed(1)
    train_steps(together, subject, prior, how, 1, rng)
    assert len(calls) == len(set(calls)) == 2
    assert torch.allclose(ours[0], theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())
    assert torch.equal(torch.randn(1, generator=rng), after)


def test_gradient_checkpointing_learns_the_same(small: LDM, photos: Photos) -> None:
    """By its own setting, and where memory is to be spared anyway."""
    learned, passes = [], []
    for on, low_memory in ((False, False), (True, False), (False, True)):
        model = replace(small.copy(), low_memory=low_memory)
        model.denoiser.register_forward_hook(
            lambda net, *_: passes.append(net.is_gradient_checkpointing)
        )
        what = encode_dataset(model, preprocess(photos, 128), PROMPT)
        train_steps(
            model,
            what,
            None,
            Training(lr=1e-4, gradient_checkpointing=on),
            1,
            torch.Generator().manual_seed(2),
        )
        learned.append(weights_of(model))
        assert not model.denoiser.is_gradient_checkpointing
    assert passes == [False, True, True]
    assert all(torch.equal(p, other[k]) for other in learned[1:] for k, p in learned[0].items())


def test_only_some_weights_learn(small: LDM, photos: Photos, rng: torch.Generator) -> None:
    model, state = small.copy(), RunState()
    feed = latent_batches(model, photos, Preprocessing(), 2, rng)
    before = {k: v.clone() for k, v in weights_of(model).items()}
    finetune(
        model,
        feed,
        PROMPT,
        None,
        Training(lr=1e-3),
        2,
        rng,
        state,
        lambda n: photos[0][None],
        only=lambda k: k.endswith("bias"),
    )
    assert {k for k, v in weights_of(model).items() if not torch.equal(v, before[k])} == {
        k for k in before if k.endswith("bias")
    }
    assert len(state.trace) == 2 and not any(p.requires_grad for p in model.denoiser.parameters())


def test_8_bit_adam_goes_on_where_it_was() -> None:
    pytest.importorskip("bitsandbytes", reason="optional")
    how, start = (
        Training(lr=1e-2, adam8bit=True),
        torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)),
    )

    def steps(named: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        for _ in range(3):
            _descend(
                sum((p - 1).square().mean() for p in named.values()),
                list(named.values()),
                optimizer,
                how,
            )  # type: ignore[arg-type]

    one = {
        "large": torch.nn.Parameter(start.clone()),
        "small": torch.nn.Parameter(start[0, :9].clone()),
    }
    optimizer = adamw(list(one.values()), how)
    steps(one, optimizer)
    two = {k: torch.nn.Parameter(torch.zeros_like(p)) for k, p in one.items()}
    other = adamw(list(two.values()), how)
    restore_training(
        two, other, {k: v.clone() for k, v in training_tensors(one, optimizer).items()}
    )
    steps(one, optimizer)
    steps(two, other)
    assert all(torch.equal(p, two[k]) for k, p in one.items())
