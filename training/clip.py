"""A small CLIP, trained contrastively on the same photos and captions as the UNet: tokenizer, text
and vision tower.

Its text tower is the pipeline's text encoder; the whole of it serves the CLIP-shaped metrics.
Captions repeat inside a batch (101 classes), so every pair with the same class *and* the same kind
of degradation counts as a match.

Run: python training/clip.py --work WORK --minutes 20      (again after an interruption: it goes on)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import CAPTION_OF, all_captions, captions, load_index, name_of, sampling_weights, to_unit
from loop import Run, autocast
from numpy.lib.format import open_memmap
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
VOCABULARY = 1600
PATCH = 16  # pixels
# the field's rare token; a bare "sks" could be a piece of another word in so small a vocabulary
PLACEHOLDER = "<sks>"

# Words that prompts of the field use and that the captions lack, so that they cost few tokens
EXTRA = """a photo of person riding a bike in front of the eiffel tower near mount fuji \
on the beach in the snow at night wearing
a red hat
a man a woman a boy a girl a dog a cat a backpack a teapot a toy a vase a sneaker \
a candle a bowl a stuffed animal
plush
an oil painting in the style of van gogh an anime picture an artwork landscape drawing \
sketch sculpture watercolor
illustration
without not no noise pattern blur low high quality sharp smooth natural good bad hd rt \
bright dark black white grey
blue green yellow
high definition masterpiece best quality worst quality ugly deformed face eyes hair \
smile glasses indoor outdoor city
street forest mountain"""


def train_tokenizer(texts: list[str]) -> CLIPTokenizer:
    """A byte-level BPE that spells any prompt, in the layout that CLIPTokenizer reads."""
    bpe = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 3 - len(alphabet),
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    learned = json.loads(bpe.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split()) for m in learned["merges"]]
    tokens = (
        sorted(alphabet) + [b + "</w>" for b in sorted(alphabet)] + ["".join(m) for m in merges]
    )
    vocabulary = {
        t: i for i, t in enumerate(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))
    }
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    tokenizer.add_tokens([PLACEHOLDER])
    return tokenizer


def build(tokenizer: CLIPTokenizer, patch: int = PATCH) -> CLIPModel:
    """The two towers, new; `patch` is the side in pixels of what the vision tower sees as one
    token."""
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        **ends,
    )
    vision = CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=576,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=128,
        patch_size=patch,
        hidden_act="quick_gelu",
    )
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=128
    )
    return CLIPModel._from_config(
        config, attn_implementation="eager"
    )  # sdpa's bf16 backward is slow on a CPU


def normalise(x: Tensor) -> Tensor:
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def jitter(x: Tensor, rng: torch.Generator) -> Tensor:
    """Flips, shifts of up to 12 px and small changes of brightness, so that 7,700 photos last for
    many epochs."""
    if torch.rand((), generator=rng) < 0.5:
        x = x.flip(-1)
    dy, dx = torch.randint(-12, 13, (2,), generator=rng).tolist()
    padded = F.pad(x, (12, 12, 12, 12), mode="reflect")[..., 12 + dy : 140 + dy, 12 + dx : 140 + dx]
    gain = 1 + 0.3 * (torch.rand(x.shape[0], 3, 1, 1, generator=rng) - 0.5)
    return (padded * gain).clamp(0, 1)


def contrastive_loss(
    model: CLIPModel, tokens: dict[str, Tensor], x: Tensor, labels: Tensor
) -> Tensor:
    """Symmetric InfoNCE with several right answers a row: the target is uniform over the pairs that
    match."""
    out = model(**tokens, pixel_values=normalise(x))
    logits = out.logits_per_image
    same = (labels[:, None] == labels[None]).float()
    target = same / same.sum(1, keepdim=True)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument(
        "--steps", type=int, default=2400, help="length of the learning-rate schedule"
    )
    args = parser.parse_args()
    index = load_index(args.work)
    pixels = open_memmap(args.work / "views.npy", "r")
    folders = sorted({r["folder"] for r in index})
    tokenizer = train_tokenizer(all_captions(folders) + EXTRA.splitlines() * 20)
    tokenizer.save_pretrained(args.work / "tokenizer")
    torch.manual_seed(0)
    model = build(tokenizer)
    run = Run(
        args.work / "clip", model, lr=1e-3, steps=args.steps, minutes=args.minutes, weight_decay=0.1
    )
    weights = sampling_weights(index) ** 0.5
    weights /= weights.sum()
    names = {n: i for i, n in enumerate(sorted({name_of(f) for f in folders}))}
    kinds = {"clean": 0, "noise": 1, "blur": 2, "jpeg": 3}
    for step in run:
        draw = np.random.default_rng(step)
        rows = draw.choice(len(index), args.batch, p=weights)
        views = np.where(draw.random(args.batch) < 0.35, 3, draw.integers(0, 3, args.batch))
        texts, labels = [], []
        for row, view in zip(rows, views, strict=True):
            kind = index[row]["kinds"][view]
            texts.append(str(draw.choice(captions(index[row]["folder"], kind))))
            labels.append(
                names[name_of(index[row]["folder"])] * 4 + kinds[CAPTION_OF.get(kind, "clean")]
            )
        tokens = dict(tokenizer(texts, padding=True, return_tensors="pt"))
        x = jitter(to_unit(pixels[rows, views]), torch.Generator().manual_seed(step))
        with autocast():
            loss = contrastive_loss(model, tokens, x, torch.tensor(labels))
        run.descend(loss)


if __name__ == "__main__":
    main()
