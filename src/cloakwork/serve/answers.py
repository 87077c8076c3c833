"""What the service answers, as its OpenAPI schema has it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

State = Literal["waiting", "running", "done", "failed", "stopped"]


class Faults(BaseModel):
    """Why something was refused."""

    faults: list[str] = Field(description="a sentence each")


class Progress(BaseModel):
    """How far a job is."""

    share: float = Field(default=0, ge=0, le=1)
    words: str = ""
    left: float | None = Field(default=None, description="seconds; null: unknown")


class Found(BaseModel):
    """What was made of a photo."""

    width: int
    height: int
    bytes: int
    budget_used: float = Field(description="largest change of a pixel in the file, 1/255")
    left: float | None = Field(
        description="share of the protection that the file keeps; null: all, it is lossless"
    )
    protection: str
    against: str = Field(description="the models that it was computed against, in words")
    notes: list[str]


class JobShown(BaseModel):
    """A job."""

    id: str
    state: State
    ahead: int = Field(default=0, description="jobs that come before it")
    progress: Progress = Progress()
    found: Found | None = Field(default=None, description="of a job that is done")
    result: str | None = Field(
        default=None, description="address of the protected photo; it is removed once it is fetched"
    )
    faults: list[str] = Field(default=[], description="why it failed")


class Health(BaseModel):
    """That the service is there."""

    status: Literal["ok"] = "ok"
    waiting: int
    running: int


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI is told of refusals by these statuses."""
    retry = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    found: dict[int | str, dict[str, Any]] = {}
    for status in (401, 403, *statuses):
        found[status] = {"model": Faults}
        if status == 429:
            found[status]["headers"] = retry
    return found
