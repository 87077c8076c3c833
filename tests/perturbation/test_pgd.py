from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cloakwork.errors import UserError
from cloakwork.perturbation import pgd
from cloakwork.perturbation.parametrisation import Parametrisation
from cloakwork.perturbation.pgd import MICRO_BATCH, ascend, by_autograd, project
from cloakwork.state import RunState


def ramp(n: int = 3) -> list[torch.Tensor]:
    return [torch.rand(3, 5 + i, 7, generator=torch.Generator().manual_seed(i)) for i in range(n)]


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 255), st.integers(0, 2**16))
def test_project_stays_inside_and_is_idempotent(budget: float, seed: int) -> None:
    x0 = ramp()
    g = torch.Generator().manual_seed(seed)
    x = [p + 2 * torch.randn(p.shape, generator=g) for p in x0]
    once = project(x, x0, budget)
    assert all(
        (a - b).abs().max() <= budget / 255 + 1e-6 and a.min() >= 0 and a.max() <= 1
        for a, b in zip(once, x0, strict=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(once, project(once, x0, budget), strict=True))


def test_project_keeps_grey_photos_grey() -> None:
    grey = torch.rand(1, 5, 7, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1)
    moved = grey + torch.tensor([0.09, 0.02, -0.02])[:, None, None]
    moved_colours = moved * torch.tensor([1.0, 0.9, 0.8])[:, None, None]
    once = project([moved, moved], [grey, moved_colours], 255)
    assert torch.allclose(once[0], (grey + 0.03).clamp(0, 1))
    assert torch.equal(once[0][:1].expand(3, -1, -1), once[0])
    assert torch.equal(once[1], moved.clamp(0, 1)), "a photo with colours keeps all of its change"
    assert torch.equal(project(once[:1], [grey], 255)[0], once[0])


def test_channels_that_disagree_step_by_their_mean(rng: torch.Generator) -> None:
    """A grey photo goes as far as its budget wherever the three gradients do not cancel."""
    grey = torch.full((3, 5, 7), 0.5)
    weights = torch.tensor([3.0, -1.0, -1.0])[:, None, None]
    loss = by_autograd(lambda x, ids: (weights * x[0]).sum())
    (x,) = ascend([grey], loss, budget=8, step=None, steps=10, rng=rng, state=RunState())
    assert torch.allclose(x, grey + 8 / 255, atol=1e-6)


def test_whether_photos_are_grey_is_asked_once(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, is_grey = [], pgd.is_grey
    monkeypatch.setattr(pgd, "is_grey", lambda photo: (asked.append(photo), is_grey(photo))[1])
    grey, weights = torch.rand(1, 5, 7).expand(3, -1, -1), torch.randn(3, 5, 7, generator=rng)
    loss = by_autograd(lambda x, ids: sum((p * weights).sum() for p in x))
    how = {"budget": 8, "step": None, "steps": 4, "state": RunState(), "random_start": True}
    x, coloured = ascend([grey, ramp(1)[0]], loss, rng=rng, **how)
    assert len(asked) == 2
    assert torch.equal(x, x[:1].expand(3, -1, -1)) and not torch.equal(coloured[0], coloured[1])


def test_ascend_reaches_the_corner_of_the_box(rng: torch.Generator) -> None:
    x0 = [p * 0.5 + 0.25 for p in ramp()]
    weights = [torch.randn(p.shape, generator=rng) for p in x0]
    loss = by_autograd(
        lambda x, ids: sum((w * p).sum() for w, p in zip([weights[i] for i in ids], x, strict=True))
    )
    x = ascend(x0, loss, budget=8, step=None, steps=10, rng=rng, state=RunState())
    for a, b, w in zip(x, x0, weights, strict=True):
        assert torch.allclose(a, b + 8 / 255 * w.sign(), atol=1e-6)


@pytest.mark.parametrize("extra", [{"random_start": True}, {"momentum": 0.9}, {"final_step": 0.01}])
def test_options_keep_the_budget_and_raise_the_loss(extra: dict, rng: torch.Generator) -> None:
    x0 = ramp()
    goal = [torch.rand(p.shape, generator=rng) for p in x0]
    loss = by_autograd(
        lambda x, ids: (
            -sum((p - goal[i]).square().mean() for p, i in zip(x, ids, strict=True)) / len(ids)
        )
    )
    before = loss(x0, [0, 1, 2])[0]
    x = ascend(x0, loss, budget=11, step=2, steps=12, rng=rng, state=RunState(), **extra)
    assert loss(x, [0, 1, 2])[0] > before
    assert max((a - b).abs().max() for a, b in zip(x, x0, strict=True)) <= 11 / 255 + 1e-6


def test_step_decay_ends_at_its_share(rng: torch.Generator) -> None:
    x0 = [torch.full((3, 4, 4), 0.5)]
    x = ascend(
        x0,
        by_autograd(lambda x, ids: x[0].sum()),
        budget=200,
        step=1,
        steps=100,
        rng=rng,
        final_step=0.0,
        state=RunState(),
    )
    assert torch.allclose(
        (x[0] - x0[0]) * 255, torch.tensor(50.5), atol=1e-3
    )  # 1 + .99 + ... + .01


def test_more_photos_than_a_micro_batch_each_go_their_own_way(rng: torch.Generator) -> None:
    x0 = [p * 0.5 + 0.25 for p in ramp(MICRO_BATCH + 3)]
    signs = [torch.randint(0, 2, p.shape, generator=rng) * 2.0 - 1 for p in x0]
    asked: list[int] = []

    def loss(x: list[torch.Tensor], which: list[int]) -> torch.Tensor:
        asked.extend(which)
        return torch.stack([(p * signs[i]).sum() for p, i in zip(x, which, strict=True)]).mean()

    state = RunState()
    x = ascend(x0, by_autograd(loss), budget=8, step=4, steps=2, rng=rng, state=state)
    assert asked == 2 * list(range(len(x0))) and state.trace[1] > state.trace[0]
    assert all(
        torch.allclose(a, b + 8 / 255 * s, atol=1e-6) for a, b, s in zip(x, x0, signs, strict=True)
    )


def test_a_gradient_that_is_not_finite_stops(rng: torch.Generator) -> None:
    with pytest.raises(UserError, match="float32"):
        nan = by_autograd(lambda x, ids: sum(p.sum() for p in x) * float("nan"))
        ascend(ramp(), nan, budget=8, step=1, steps=1, rng=rng, state=RunState())


def test_steps_without_a_gradient_are_counted_over_an_interruption(tmp_path: Path) -> None:
    def run(state: RunState) -> None:
        flat = by_autograd(lambda x, ids: sum(p.sum() for p in x) * 0.0)
        ascend(ramp(), flat, budget=8, step=1, steps=5, rng=torch.Generator(), state=state)

    def stop(label: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    path = tmp_path / "s.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(RunState(path, progress=stop, checkpoint_seconds=0))
    again = RunState(path, checkpoint_seconds=0)
    run(again)
    assert again.dead_steps == 5


def test_interrupted_and_resumed_is_the_same(tmp_path: Path) -> None:
    x0 = ramp()

    def run(state: RunState) -> list[torch.Tensor]:
        rng = torch.Generator().manual_seed(3)
        loss = by_autograd(
            lambda x, ids: sum((p * torch.randn(p.shape, generator=rng)).sum() for p in x)
        )
        return ascend(
            x0,
            loss,
            budget=11,
            step=1,
            steps=9,
            rng=rng,
            random_start=True,
            momentum=0.5,
            state=state,
        )

    def stop(label: str, done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    whole = run(RunState())
    with pytest.raises(KeyboardInterrupt):
        run(RunState(tmp_path / "s.safetensors", progress=stop, checkpoint_seconds=0))
    steps = []
    resumed = run(
        RunState(
            tmp_path / "s.safetensors",
            progress=lambda label, done, total: steps.append(done),
            checkpoint_seconds=0,
        )
    )
    assert steps == [6, 7, 8, 9]
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def halves(photo: torch.Tensor) -> Parametrisation:
    """Sum and difference of neighbouring columns; a last column of its own would be lost."""

    def apart(x: torch.Tensor) -> torch.Tensor:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([(a + b) / 2, (a - b) / 2])

    def together(u: torch.Tensor) -> torch.Tensor:
        return torch.stack([u[0] + u[1], u[0] - u[1]], -1).flatten(-2)

    return Parametrisation(apart, together, scale=255)


@pytest.mark.parametrize("how", [{}, {"momentum": 0.9}, {"update": "adam"}])
def test_steps_in_other_parameters_keep_a_budget_of_pixels_and_resume(
    how: dict, tmp_path: Path
) -> None:
    x0 = [torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(i)) for i in range(2)]

    def run(state: RunState, steps: int = 6) -> list[torch.Tensor]:
        rng = torch.Generator().manual_seed(3)
        loss = by_autograd(
            lambda x, ids: sum((p * torch.randn(p.shape, generator=rng)).sum() for p in x)
        )
        more = {"random_start": True, "parametrise": halves, "state": state, **how}
        return ascend(x0, loss, budget=8, step=3, steps=steps, rng=rng, **more)

    def stop(label: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    whole = run(RunState())
    assert max((a - b).abs().max() for a, b in zip(whole, x0, strict=True)) <= 8 / 255 + 1e-6
    with pytest.raises(KeyboardInterrupt):
        run(RunState(tmp_path / "s.safetensors", progress=stop, checkpoint_seconds=0))
    resumed = run(RunState(tmp_path / "s.safetensors", checkpoint_seconds=0))
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_a_step_in_other_parameters_follows_their_gradient() -> None:
    """Of a loss that weighs the left column of each pair 3 and the right one -1, the sum rises with
    2 and the difference with 4: a sign step of 1 in both moves the left by 2, the right by 0."""
    x0 = [torch.full((3, 2, 4), 0.5)]
    weights = torch.tensor([3.0, -1.0, 3.0, -1.0])
    loss = by_autograd(lambda x, ids: (x[0] * weights).sum())
    (x,) = ascend(
        x0,
        loss,
        budget=8,
        step=1,
        steps=1,
        rng=torch.Generator(),
        parametrise=halves,
        state=RunState(),
    )
    moved = (x - x0[0]) * 255
    assert torch.allclose(moved, torch.tensor([2.0, 0.0, 2.0, 0.0]).expand_as(moved), atol=1e-4)
