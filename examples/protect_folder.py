"""Protect a folder of photos, and see how visible it became.

python examples/protect_folder.py photos/ safe/ [pid]
"""

import sys

import cloakwork

photos, out, *rest = sys.argv[1:]
# the quick protection; "cloakwork" is stronger and takes ten times as long
protection = rest[0] if rest else "pid"

for record in cloakwork.protect([photos], out, protection=protection):
    for photo in record.photos:
        print(f"{photo.name}: PSNR {photo.psnr:.1f} dB, {photo.visible}")
print(f"Before and after: {out}/before-after.html")
