"""Which protection is meant and what it is computed against, as a caller names both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloakwork import specs
from cloakwork.models import latent_spaces
from cloakwork.perturbation.start import refined


def named_protection(
    protection: specs.Given,
    surrogates: Sequence[str] | str,
    device: str,
    *,
    config: Any,
    preset: str | None,
    refine: int,
    fetch: bool,
    settings: Mapping[str, Any],
    arguments: Sequence[str],
) -> tuple[specs.Method, list[str]]:
    """Return a protection with its settings, and the names of its surrogates.

    Args:
        protection, surrogates, device, config, preset, refine, fetch, settings: as of
            `protect.protect`.
        arguments: names that the caller takes beside the settings.

    Raises:
        UserError: unknown methods or families, or wrong settings.
    """
    surrogates = [surrogates] if isinstance(surrogates, str) else surrogates
    names = latent_spaces.spelled(surrogates, device, fetch=fetch)
    method = specs.method(
        "protections",
        protection,
        names,
        config=config,
        preset=preset,
        settings=settings,
        arguments=arguments,
    )
    return refined(method, refine) if refine else method, names
