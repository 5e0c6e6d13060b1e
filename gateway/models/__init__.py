"""The tables of the gateway's database."""

from gateway.models.audit import AuditEntry
from gateway.models.base import Base, now
from gateway.models.runs import (
    IS_OPEN,
    IS_OUT,
    IS_WAITING,
    LIVE,
    AttemptState,
    DeadLetter,
    OutboxMessage,
    Run,
    RunState,
    StageAttempt,
)
from gateway.models.tasks import Preset, Task, task_groups
from gateway.models.users import (
    ApiToken,
    BrowserSession,
    Group,
    LoginAttempts,
    User,
    user_groups,
)

__all__ = [
    "IS_OPEN",
    "IS_OUT",
    "IS_WAITING",
    "LIVE",
    "ApiToken",
    "AttemptState",
    "AuditEntry",
    "Base",
    "BrowserSession",
    "DeadLetter",
    "Group",
    "LoginAttempts",
    "OutboxMessage",
    "Preset",
    "Run",
    "RunState",
    "StageAttempt",
    "Task",
    "User",
    "now",
    "task_groups",
    "user_groups",
]
