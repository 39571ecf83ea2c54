"""What people do: act on a task, submit a quarantined record again, send a delivery again. For pages and API alike.

Whether a task admits an action is decided by the stage that owns its case, not here: the store, which is all that is
seen from here, may be a moment behind. Only what can never change again, that a task is closed, is answered at once.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dashboards.dependencies import Dependencies
from dashboards.finding import Finder
from dashboards.intake import judge
from dashboards.problems import ProblemError
from jianguan.clock import to_millis
from jianguan.domain.case import TRANSITIONS, Command, Task, TaskState
from jianguan.domain.contract import KIND_OF_TOPIC
from jianguan.domain.ids import make_id
from jianguan.domain.trace import Step
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

        404 for an unknown task, 409 when the owner refuses the action; `allowed` then names what it would admit.
        """
        if action not in ACTIONS:
            raise ProblemError(404, "unknown-action", f"an action is one of {', '.join(ACTIONS)}")
        task, _ = await self._finder.task(identifier)
        if task.state == "closed":
            raise _not_admitted("closed", action)
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
            raise _refused(outcome.step, action)
        after = outcome.task if outcome.task is not None and outcome.task.id == task.id else None
        return Acted(command.id, after or (await self._finder.task(identifier))[0])

    async def retry(self, identifier: str) -> str:
        """Submit a quarantined record again, as it was; its receipt. 409 when it was already.

        One that is an event now, as a conflict always was, goes where the others of that event go: only there is it
        known which were accepted.
        """
        record = await self._finder.quarantined(identifier)
        if record.state != "quarantined":
            raise ProblemError(409, "already-retried", "the record was already submitted again", extra={"allowed": []})
        topic = record.topic.rpartition(".")[2]
        raw = RawEvent(
            value=record.raw,
            content_type=record.content_type,
            topic=topic if topic in KIND_OF_TOPIC else record.topic,
            key="",
            submission=record.submission,
        )
        verdict = judge(raw, self._deps.admit, self._deps.limits.event_bytes)
        receipt = (await self._deps.gateway.submit([verdict.raw]))[0]
        if self._deps.retried is not None:
            await self._deps.retried(record, receipt)
        return receipt

    async def redeliver(self, identifier: str) -> None:
        """Queue a delivery again; 404 when it is not known."""
        if not await self._deps.redeliver(identifier):
            raise ProblemError(404, "unknown-delivery", "no delivery has that id")


def _not_admitted(state: str, action: str, reason: str = "") -> ProblemError:
    return ProblemError(
        409,
        "transition",
        f"a task that is {state} does not admit {action}",
        extra={"state": state, "allowed": allowed(state), "reason": reason or f"{action}-not-allowed-when-{state}"},
    )


def _refused(step: Step, action: str) -> ProblemError:
    """The owner's refusal, with the state that it names if it does."""
    try:
        reason = str(json.loads(step.detail).get("reason", ""))
    except (ValueError, AttributeError):
        reason = ""
    _, _, state = reason.rpartition("-not-allowed-when-")
    if state in get_args(TaskState):
        return _not_admitted(state, action, reason)
    return ProblemError(409, "refused", "the action was refused", extra={"reason": reason})
