"""How does a program have an address called when something has happened?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skyrelay.client.answers import Delivery, Webhook
from skyrelay.client.transport import Transport


class WebhookCalls(Transport):
    """Webhooks."""

    def create_webhook(self, url: str, events: Sequence[str] = ()) -> Webhook:
        """Have ``url`` called for these events, or for all; calls are signed with its secret."""
        body = {"url": url, "events": list(events)}
        return Webhook.model_validate(self._json("POST", "webhooks/", json=body))

    def webhooks(self) -> list[Webhook]:
        """Our webhooks."""
        return [Webhook.model_validate(each) for each in self._json("GET", "webhooks/")]

    def delete_webhook(self, number: int) -> None:
        """Delete a webhook."""
        self._request("DELETE", f"webhooks/{number}/")

    def webhook(self, number: int) -> Webhook:
        """One webhook, with its secret."""
        return Webhook.model_validate(self._json("GET", f"webhooks/{number}/"))

    def update_webhook(self, number: int, **fields: Any) -> Webhook:
        """Change url, events or active."""
        return Webhook.model_validate(self._json("PATCH", f"webhooks/{number}/", json=fields))

    def deliveries(self, number: int) -> list[Delivery]:
        """The log of a webhook, newest first."""
        found = self._json("GET", f"webhooks/{number}/deliveries/")
        return [Delivery.model_validate(each) for each in found]

    def redeliver(self, number: int, delivery: int) -> Delivery:
        """Send a delivery of a webhook once more."""
        path = f"webhooks/{number}/deliveries/{delivery}/redeliver/"
        return Delivery.model_validate(self._json("POST", path))
