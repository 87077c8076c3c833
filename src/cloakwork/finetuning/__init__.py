"""Fine-tuning: DreamBooth's training loop, class pictures, prompts, LoRA, contrastive decoupling,
export.
"""
