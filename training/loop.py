"""The loop that every training script shares: warm-up and cosine decay, EMA, checkpoints, resume, a
written record."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from muon import Muon
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


@cache
def arithmetic() -> torch.dtype:
    """What trainings compute in: bfloat16, or float32 where the processor lacks it.

    There bfloat16 is imitated, and took some 45 times as long.
    """
    found = torch.cpu.get_capabilities()
    has = any(there for name, there in found.items() if name.endswith("bf16"))
    return torch.bfloat16 if has else torch.float32


def autocast() -> torch.autocast:
    """The context in which networks run."""
    kind = arithmetic()
    return torch.autocast("cpu", kind, enabled=kind != torch.float32)


def compiled(net: nn.Module) -> Any:
    """torch.compile with diffusers' upsampling restated as a repetition of pixels.

    On a CPU under bf16 autocast, inductor (torch 2.13) makes the backward of nearest interpolation
    zero: everything before the last upsampling silently stops learning, at half the loss and
    without an error. Compare the gradients of a compiled and a plain network (relative difference
    under 1 %) before trusting a new pair of torch and diffusers.
    """
    from diffusers.models.upsampling import Upsample2D

    def repeat(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)

    for module in net.modules():
        if isinstance(module, nn.Upsample):  # AutoencoderTiny's
            module.forward = repeat  # type: ignore[method-assign]
        elif isinstance(module, Upsample2D):
            module.forward = lambda x, size=None, conv=module.conv: conv(repeat(x))  # type: ignore[method-assign]
    return torch.compile(
        net, dynamic=False
    )  # dynamic shapes fail in inductor when the crop size changes


def checkpoint_from(folder: Path, weights: dict[str, Tensor], record: dict[str, Any]) -> bool:
    """Write a checkpoint without moments, whose weights and averages are those given, and its
    record; False where there is one already, which is left alone."""
    path = folder / "state.safetensors"
    if path.exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps(record))
    both = {
        f"{kind}.{k}": p.detach().float().clone()
        for k, p in weights.items()
        for kind in ("model", "ema")
    }
    save_file(both, path)
    return True


class Run:
    """Iterate over it for step numbers; call `descend(loss)` once a step. Stops after `minutes` or
    at `steps`.

    With `hurried` the schedule also ends with the minutes, however few steps they were: for
    machines whose load nobody knows.

    With `muon` the matrices and convolutions are trained by Muon, whose steps are brought to the
    length of AdamW's, so that one rate serves both; biases and the like stay with AdamW.

    A checkpoint (weights, EMA, optimizer moments, step) is written every two minutes and at the end
    by rename, so a killed run loses two minutes and `python SCRIPT ...` again goes on.
    `record.json` keeps the loss curve, CPU seconds, and the arithmetic of the last call.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        *,
        lr: float,
        steps: int,
        minutes: float,
        weight_decay: float = 0.0,
        ema: float = 0.0,
        warmup: int = 200,
        muon: bool = False,
        hurried: bool = False,
    ) -> None:
        self.folder, self.model, self.lr, self.steps, self.minutes, self.warmup = (
            folder,
            model,
            lr,
            steps,
            minutes,
            warmup,
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.params = dict(model.named_parameters())
        trained = {k: p for k, p in self.params.items() if p.requires_grad}
        # Muon takes matrices: the same memory seen as one row for each output channel
        self.matrices = {
            k: nn.Parameter(p.detach().view(len(p), -1))
            for k, p in trained.items()
            if muon and p.ndim > 1
        }
        rest = [p for k, p in trained.items() if k not in self.matrices]
        self.opt = torch.optim.AdamW(
            rest, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99), fused=True
        )
        self.optimizers: list[torch.optim.Optimizer] = [self.opt]
        if muon:
            kept = {"lr": lr, "weight_decay": weight_decay}
            self.muon = (
                Muon(self.matrices.values(), **kept)
                if arithmetic() == torch.float32
                else torch.optim.Muon(
                    self.matrices.values(), adjust_lr_fn="match_rms_adamw", **kept
                )
            )
            self.optimizers.append(self.muon)
        self.ema_rate = ema
        self.ema = {k: p.detach().clone() for k, p in self.params.items()} if ema else {}
        self.step, self.curve, self.cpu_seconds = 0, [], 0.0
        self.hurried, self.begun = hurried, time.monotonic()
        self._resume()

    def _resume(self) -> None:
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        saved = load_file(path)
        record = json.loads((self.folder / "record.json").read_text())
        self.step, self.curve, self.cpu_seconds = (
            record["step"],
            record["curve"],
            record["cpu_seconds"],
        )
        with torch.no_grad():
            for k, p in self.params.items():
                p.copy_(saved[f"model.{k}"])
                if self.ema:
                    self.ema[k].copy_(saved[f"ema.{k}"])
                if f"v.{k}" in saved:
                    self.opt.state[p] = {
                        "step": torch.tensor(float(self.step)),
                        "exp_avg": saved[f"m.{k}"].clone(),
                        "exp_avg_sq": saved[f"v.{k}"].clone(),
                    }
                elif f"m.{k}" in saved:
                    state = {"momentum_buffer": saved[f"m.{k}"].clone()}
                    self.muon.state[self.matrices[k]] = state
        print(f"resumed at step {self.step}", flush=True)

    def save(self) -> None:
        tensors = {f"model.{k}": p.detach().contiguous() for k, p in self.params.items()}
        tensors |= {f"ema.{k}": v.contiguous() for k, v in self.ema.items()}
        for k, p in self.params.items():
            if p in self.opt.state:
                tensors[f"m.{k}"] = self.opt.state[p]["exp_avg"].contiguous()
                tensors[f"v.{k}"] = self.opt.state[p]["exp_avg_sq"].contiguous()
            elif k in self.matrices and self.matrices[k] in self.muon.state:
                tensors[f"m.{k}"] = self.muon.state[self.matrices[k]]["momentum_buffer"]
        save_file(tensors, self.folder / "state.tmp")
        os.replace(self.folder / "state.tmp", self.folder / "state.safetensors")
        record = {
            "step": self.step,
            "cpu_seconds": round(self.cpu_seconds),
            "lr": self.lr,
            "steps": self.steps,
            "arithmetic": str(arithmetic()).removeprefix("torch."),
            "curve": self.curve,
        }
        (self.folder / "record.tmp").write_text(json.dumps(record))
        os.replace(self.folder / "record.tmp", self.folder / "record.json")

    def __iter__(self) -> Iterator[int]:
        begun = saved = shown = self.begun = time.monotonic()
        cpu = time.process_time()
        self.recent: list[float] = []
        first = self.step
        while self.step < self.steps and time.monotonic() - begun < 60 * self.minutes:
            yield self.step
            self.step += 1
            now = time.monotonic()
            if now - shown > 20:
                loss = sum(self.recent) / len(self.recent)
                self.curve.append([self.step, round(loss, 5)])
                print(
                    f"step {self.step}/{self.steps}  loss {loss:.4f}  "
                    f"{(self.step - first) / (now - begun):.2f} steps/s",
                    flush=True,
                )
                self.recent, shown = [], now
            if now - saved > 120:
                self.cpu_seconds, cpu, saved = (
                    self.cpu_seconds + time.process_time() - cpu,
                    time.process_time(),
                    now,
                )
                self.save()
        self.cpu_seconds += time.process_time() - cpu
        self.save()

    @property
    def share(self) -> float:
        """How much of the schedule is behind, 0 to 1."""
        spent = (time.monotonic() - self.begun) / (60 * self.minutes) if self.hurried else 0.0
        return min(1.0, max(self.step / self.steps, spent))

    def descend(self, loss: Tensor) -> None:
        """One clipped step at the scheduled rate, then the EMA."""
        rate = min(
            (self.step + 1) / self.warmup,
            0.5 * (1 + math.cos(math.pi * self.share)) + 0.01,
        )
        for group in (g for o in self.optimizers for g in o.param_groups):
            group["lr"] = self.lr * rate
        loss.backward()
        nn.utils.clip_grad_norm_(self.params.values(), 1.0)
        for k, matrix in self.matrices.items():
            matrix.grad = self.params[k].grad.reshape(matrix.shape)  # pyright: ignore[reportOptionalMemberAccess]
        for optimizer in self.optimizers:
            optimizer.step()
        for p in self.params.values():
            p.grad = None
        self.recent.append(loss.item())
        if self.ema:
            decay = min(self.ema_rate, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.ema.values()), [p.detach() for p in self.params.values()], 1 - decay
                )
