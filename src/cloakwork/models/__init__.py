"""Everything with weights: diffusion models and their samplers, CLIP, faces, LPIPS, upscalers."""
