"""Protect against a model of one's own: a diffusers folder, a hub id or a safetensors file.

python examples/against_stable_diffusion.py photos/ safe/ models/stable-diffusion-1-5
"""

import sys

import cloakwork

photos, out, model = sys.argv[1:]
# presets are the papers' for such models; --dry-run on the command line counts what that takes
records = cloakwork.protect([photos], out, protection="pid", surrogates=[model], steps=50)
print(records[0].models)

ldm = cloakwork.load(model)
print(f"{ldm.name}: pictures of {ldm.size} pixels, latents {ldm.scale} times smaller")
