"""Everything with weights: the diffusion model, its loading and samplers, CLIP, faces, LPIPS,
upscalers.
"""
