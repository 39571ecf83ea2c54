"""What people do: act on a task, submit a quarantined record again, send a delivery again. For pages and API alike.

A transition is checked here so that a person learns at once; the stage that owns the case checks it again and is the
one that decides.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dashboards.dependencies import Dependencies
from dashboards.finding import Finder
from dashboards.intake import hash_key
from dashboards.problems import ProblemError
from jianguan.clock import to_millis
from jianguan.domain.case import TRANSITIONS, Command, Task
from jianguan.domain.contract import KIND_OF_TOPIC
from jianguan.domain.ids import make_id
from jianguan.ports import RawEvent

ACTIONS: Final = ("accept", "report", "close")
MAX_ACTOR: Final = 64
MAX_NOTE: Final = 2000


def _printable(value: str) -> str:
    if any(not (character.isprintable() or character in "\n\t") for character in value):
        raise ValueError("must not contain control characters")
    return value


class ActionBody(BaseModel):
    """Who acts, and what is to be written down."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    actor: Annotated[str, Field(min_length=1, max_length=MAX_ACTOR), AfterValidator(_printable)]
    note: Annotated[str, Field(max_length=MAX_NOTE), AfterValidator(_printable)] = ""


class Acted(NamedTuple):
    """A command that was handed over; the task after it once the outcome is known, else None."""

    command: str
    task: Task | None


def allowed(state: str) -> list[str]:
    """What a department may do with a task in `state`, in the order of the work."""
    return [action for action in ACTIONS if (state, action) in TRANSITIONS]


class Actions:
    """Writes go through the gateway; nothing here touches the store."""

    def __init__(self, deps: Dependencies, finder: Finder) -> None:
        self._deps = deps
        self._finder = finder

    async def act(self, identifier: str, action: str, body: ActionBody) -> Acted:
        """Hand the action to the stage that owns the case and wait a little for its outcome.

        404 for an unknown task, 409 (with `allowed`) when the task's state does not admit the action.
        """
        if action not in ACTIONS:
            raise ProblemError(404, "unknown-action", f"an action is one of {', '.join(ACTIONS)}")
        task, _ = await self._finder.task(identifier)
        self._check(task, action)
        at = to_millis(self._deps.clock.now())
        command = Command(
            id=make_id("cm", task.id, action, body.actor, body.note, str(at)),
            case_key=task.case_key,
            task=task.id,
            action=action,
            actor=body.actor,
            note=body.note,
            at=at,
        )
        with self._deps.live.expect(command.id) as expectation:
            await self._deps.gateway.command(command)
            outcome = await expectation.outcome(self._deps.limits.command_seconds)
        if outcome is None:
            return Acted(command.id, None)
        if outcome.step.what == "refused":
            raise ProblemError(
                409,
                "refused",
                "the action was refused: somebody else may have acted in the meantime",
                extra={"reason": _reason(outcome.step.detail)},
            )
        after = outcome.task if outcome.task is not None and outcome.task.id == task.id else None
        return Acted(command.id, after or (await self._finder.task(identifier))[0])

    async def retry(self, identifier: str) -> str:
        """Submit a quarantined record again, as it was; its receipt. 409 when it was already."""
        record = await self._finder.quarantined(identifier)
        if record.state != "quarantined":
            raise ProblemError(409, "already-retried", "the record was already submitted again", extra={"allowed": []})
        topic = record.topic.rpartition(".")[2]
        raw = RawEvent(
            value=record.raw,
            content_type=record.content_type,
            topic=topic if topic in KIND_OF_TOPIC else record.topic,
            key=hash_key(record.raw),
            submission=record.submission,
        )
        receipt = (await self._deps.gateway.submit([raw]))[0]
        if self._deps.retried is not None:
            await self._deps.retried(record, receipt)
        return receipt

    async def redeliver(self, identifier: str) -> None:
        """Queue a delivery again; 404 when it is not known."""
        if not await self._deps.redeliver(identifier):
            raise ProblemError(404, "unknown-delivery", "no delivery has that id")

    @staticmethod
    def _check(task: Task, action: str) -> None:
        if (task.state, action) not in TRANSITIONS:
            raise ProblemError(
                409,
                "transition",
                f"a task that is {task.state} does not admit {action}",
                extra={"state": task.state, "allowed": allowed(task.state)},
            )


def _reason(detail: str) -> str:
    try:
        found = json.loads(detail)
    except ValueError:
        return ""
    return str(found.get("reason", "")) if isinstance(found, dict) else ""
