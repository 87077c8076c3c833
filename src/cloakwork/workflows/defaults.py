"""Defaults that workflows and their commands share; importing them loads no model and no torch."""

# what an attacker asks for
PROMPT = "a photo of sks person"

# identity where there are faces, the embedded CLIP's likeness where there are none, and whether the
# prompt was followed
AUDIT_METRICS = ("match", "identity", "face_missing", "clip_i", "clip_t")

# what attackers run the photos through first, each in turn: nothing, what platforms do, the firmest
# of the purifiers by diffusion, and the firmest of all (docs/red-team.md)
AUDIT_PURIFIERS = "none jpeg_and_resize gridpure codesr"

# what an audit in a hurry trains: a third of the steps, half of the pictures
QUICK_ATTACKER = "dreambooth:steps=100,sampling.n=8"

CHANGE_METRICS = ("ciede2000", "linf", "lpips", "psnr", "ssim")
"""how far photos are from their originals"""
ALONE_METRICS = ("brisque", "clip_iqa", "clip_iqac", "clip_t", "face_missing")
"""what can be said of pictures that are compared with nothing"""
INSPECT_METRICS = ("match", "clip_i", "clip_iqa")
"""what the pictures of a watched attacker are scored by"""
TEXTS = ("a photo of a person", "a noisy photo of a person")
"""what a photo shows, and what it shows if it is taken for noise"""
AUTOENCODERS = ("tiny", "tiny-b")
"""whose latents are inspected"""
TRIED_PURIFIERS = ("post:1080", "jpeg_and_resize", "blur", "codesr")
"""what photos may go through before an encoder sees them, when a protection is tried"""

SERVED = {"pid": "pid:tiny:steps=20", "learned": "learned"}
"""what `cloakwork serve` offers, with settings; the first is the usual one"""
