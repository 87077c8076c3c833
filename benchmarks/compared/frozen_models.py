"""Methods whose models stay as they are: of Diff-Protect, Mist, PhotoGuard, PID, Glaze and
DCT-Shield.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

import torch
from releases import dct_shield as dct_paper
from releases import diff_protect, impress
from releases import mist as mist_release
from releases import photoguard as notebooks
from releases import pid as pid_release

from cloakwork.models.lpips import load_lpips
from cloakwork.protections import advdm, dct_shield, glaze, mist, photoguard, pid, sds, sdst
from compared.sides import LOOP, TURNS, Case, short, stated

PIXELS = {"budget": 16, "step": 1, "prompt": "a photo"}
CUT = "the package cuts the random start to the pixel range before the first gradient"

DIFF_PROTECT = (
    Case(
        "advdm",
        advdm,
        short(advdm.PRESETS["paper"], steps="steps"),
        "xavihart/Diff-Protect ac5ffdb",
        (stated(diff_protect.advdm, **LOOP, **PIXELS, target=attrgetter("target")),),
        sample=True,
    ),
    Case(
        "mist",
        mist,
        short(mist.PRESETS["paper"], steps="steps"),
        "mist-project/mist 7bd1aef",
        (stated(mist_release.fused, **LOOP, **PIXELS, target=attrgetter("target"), rate=1e4),),
        sample=True,
    ),
    Case(
        "sds",
        sds,
        short(sds.PRESETS["paper"], steps="steps"),
        "xavihart/Diff-Protect ac5ffdb",
        (stated(diff_protect.distilled, **LOOP, **PIXELS),),
        sample=True,
    ),
    Case(
        "sdst",
        sdst,
        short(sdst.PRESETS["paper"], steps="steps"),
        "xavihart/Diff-Protect ac5ffdb",
        (stated(diff_protect.distilled, **LOOP, **PIXELS, target=attrgetter("target"), rate=5),),
        sample=True,
    ),
)

ENCODER = {**LOOP, "budget": 7.65, "step": 2.55}
DIFFUSION = {
    **LOOP,
    "budget": 12.75,
    "step": 0.765,
    "prompt": "",
    "repetitions": 2,
    "strength": 0.7,
    "ddim_steps": 4,
    "guidance": 7.5,
    "target": lambda given: torch.full_like(given.target, 0.5),
}
ADD_LOG = {**LOOP, "budget": 12.75, "step": 1}
GLAZE = {
    **LOOP,
    "styled": lambda given: torch.stack([glaze.restyle(p) for p in given.photos]),
    "lpips": lambda given: load_lpips(given.ldm.device),
    "p": 0.05,
    "alpha": 30,
    "lr": 1.275,
}
ENCODERS = (
    Case(
        "photoguard",
        photoguard,
        short(photoguard.PRESETS["paper"], steps="steps"),
        "MadryLab/photoguard 686bea7",
        (
            stated(notebooks.encoder, **ENCODER, start_cut=True),
            stated(notebooks.encoder, CUT, **ENCODER, start_cut=False),
        ),
    ),
    Case(
        "photoguard, diffusion",
        photoguard,
        short(replace(photoguard.PRESETS["diffusion"], repetitions=2), steps="turns"),
        "MadryLab/photoguard 686bea7",
        (
            stated(notebooks.diffusion, **DIFFUSION | {"steps": TURNS}, as_released=False),
            stated(
                notebooks.diffusion,
                "the package takes squared norms, of pictures that are cut to the pixel range",
                **DIFFUSION | {"steps": TURNS},
                as_released=True,
            ),
        ),
        photos=1,
    ),
    Case(
        "pid",
        pid,
        short(pid.PRESETS["paper"], steps="steps"),
        "PKU-ML/Diffusion-PID-Protection af7a928",
        (
            stated(pid_release.add_log, **ADD_LOG, start_cut=True),
            stated(pid_release.add_log, CUT, **ADD_LOG, start_cut=False),
        ),
    ),
    Case(
        "glaze",
        glaze,
        short(glaze.PRESETS["paper"], steps="steps"),
        "AAAAAAsuka/Impress 12f1f07",
        (
            stated(impress.glaze, **GLAZE, budget=16),
            stated(
                impress.glaze,
                "the package keeps a budget of pixels too, and its random start fills it",
                **GLAZE,
                budget=None,
            ),
        ),
        sample=True,
    ),
    Case(
        "dct_shield",
        dct_shield,
        short(replace(dct_shield.PRESETS["paper"], rounded=False), steps="steps"),
        "arXiv 2504.17894 (no code)",
        (stated(dct_paper.dct_shield, **LOOP, quality=75, eps=1, step=0.1, budget=64),),
    ),
)
