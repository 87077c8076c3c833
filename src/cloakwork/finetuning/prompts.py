"""What the subject is called in prompts."""

from __future__ import annotations

import re

from cloakwork.errors import UserError

SUBJECT = "sks"  # the word that stands for the subject in everybody's prompts


def with_token(prompt: str, token: str) -> str:
    """The prompt with the thief's own token for the subject: "sks" as a word of its own becomes
    `token`.
    """
    return re.sub(rf"(?<![\w<]){SUBJECT}(?![\w>])", lambda _: token, prompt)


def with_new_token(words: str, instance_prompt: str, token: str) -> str:
    """The instance prompt with new words in it.

    Raises:
        UserError: it has neither "sks" nor `token`, so the new words would learn nothing.
    """
    prompt = with_token(instance_prompt.replace(token, SUBJECT), words)
    if words not in prompt:
        raise UserError(
            f"The instance prompt '{instance_prompt}' has no '{SUBJECT}' in it; put it where the subject is named."
        )
    return prompt
