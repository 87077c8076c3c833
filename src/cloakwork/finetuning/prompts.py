"""What the subject is called in prompts."""

from __future__ import annotations

import re

from cloakwork.errors import UserError

SUBJECT = "sks"  # the word that stands for the subject in everybody's prompts


def with_token(prompt: str, token: str) -> str:
    """Put the attacker's own token into a prompt, wherever "sks" stands as a word of its own.

    >>> with_token("a photo of sks person", "zwx")
    'a photo of zwx person'
    >>> with_token("<sks> and sks2 are other words", "zwx")
    '<sks> and sks2 are other words'
    """
    return re.sub(rf"(?<![\w<]){SUBJECT}(?![\w>])", lambda _: token, prompt)


def with_new_token(words: str, instance_prompt: str, token: str) -> str:
    """Put new words into the instance prompt, where "sks" or `token` stands.

    >>> with_new_token("<a> <a>_1", "a photo of sks person", "<a>")
    'a photo of <a> <a>_1 person'

    Raises:
        UserError: it has neither "sks" nor `token`, so the new words would learn nothing.
    """
    prompt = with_token(instance_prompt.replace(token, SUBJECT), words)
    if words not in prompt:
        raise UserError(
            f"The instance prompt '{instance_prompt}' has no '{SUBJECT}' in it; put it where the "
            "subject is named."
        )
    return prompt
