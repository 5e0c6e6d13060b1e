"""The tables of the gateway's database."""

from gateway.models.analyses import IS_FETCHING, Analysis, AnalysisState
from gateway.models.audit import AuditEntry
from gateway.models.base import LARGEST_ID, Base, now
from gateway.models.followups import Duty, FollowUp
from gateway.models.idempotency import AnsweredRequest
from gateway.models.intake import IS_READY, Intake, IntakeFile, IntakeKind, IntakeState
from gateway.models.lists import ListChange
from gateway.models.measurements import (
    IS_LITTER,
    CoverageCell,
    Measurement,
    MeasurementSet,
    SetState,
    Source,
    TaskResults,
)
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
from gateway.models.webhooks import IS_PENDING, DeliveryState, Webhook, WebhookDelivery

__all__ = [
    "IS_FETCHING",
    "IS_LITTER",
    "IS_OPEN",
    "IS_OUT",
    "IS_PENDING",
    "IS_READY",
    "IS_WAITING",
    "LARGEST_ID",
    "LIVE",
    "Analysis",
    "AnalysisState",
    "AnsweredRequest",
    "ApiToken",
    "AttemptState",
    "AuditEntry",
    "Base",
    "BrowserSession",
    "CoverageCell",
    "DeadLetter",
    "DeliveryState",
    "Duty",
    "FollowUp",
    "Group",
    "Intake",
    "IntakeFile",
    "IntakeKind",
    "IntakeState",
    "ListChange",
    "LoginAttempts",
    "Measurement",
    "MeasurementSet",
    "OutboxMessage",
    "Preset",
    "Run",
    "RunState",
    "SetState",
    "Source",
    "StageAttempt",
    "Task",
    "TaskResults",
    "User",
    "Webhook",
    "WebhookDelivery",
    "now",
    "task_groups",
    "user_groups",
]
