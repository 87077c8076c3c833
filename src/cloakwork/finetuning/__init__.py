"""Fine-tuning a diffusion model on photos: DreamBooth's loop, class pictures, prompts, LoRA,
contrastive decoupling, export.
"""
