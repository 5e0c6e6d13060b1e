"""What is a client made of?"""

from __future__ import annotations

from typing import Self

from skyrelay.client.account import AccountCalls
from skyrelay.client.administration import AdministrationCalls
from skyrelay.client.errors import NotAuthenticated, RequestRefused
from skyrelay.client.files import FileCalls
from skyrelay.client.intakes import IntakeCalls
from skyrelay.client.pictures import PictureCalls
from skyrelay.client.presets import PresetCalls
from skyrelay.client.processing import ProcessingCalls
from skyrelay.client.queue import QueueCalls
from skyrelay.client.reference import ReferenceCalls
from skyrelay.client.results import ResultCalls
from skyrelay.client.skyportal import SkyPortalCalls
from skyrelay.client.tasks import TaskCalls
from skyrelay.client.webhooks import WebhookCalls


class Client(
    TaskCalls,
    ProcessingCalls,
    QueueCalls,
    FileCalls,
    PictureCalls,
    ResultCalls,
    PresetCalls,
    ReferenceCalls,
    IntakeCalls,
    WebhookCalls,
    SkyPortalCalls,
    AccountCalls,
    AdministrationCalls,
):
    """A session with a Skyrelay server. Not to be shared between threads.

    Every method raises `ServerAway` if the server cannot be reached and a `RequestRefused`
    (`NotAuthenticated`, `Forbidden`, `NotFound`, `Conflict`) if it refuses.
    """

    @classmethod
    def login(cls, base_url: str, username: str, password: str) -> Self:
        """A client with the token of this user."""
        client = cls(base_url)
        try:
            client.obtain_token(username, password)
        except RequestRefused as error:
            client.close()
            if error.status == 400:
                raise NotAuthenticated(error.status, error.body) from error
            raise
        return client

    def obtain_token(self, username: str, password: str) -> str:
        """Get the user's token, and use it from now on."""
        answer = self._json(
            "POST", "auth/token/", json={"username": username, "password": password}
        )
        self.token = str(answer["token"])
        return self.token
