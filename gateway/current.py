"""What does the application that serves the present request keep for all of them?"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from flask import Flask, current_app

from gateway.core import Gateway
from gateway.feed import Feed
from gateway.preview.renderers import Renderers

_KEY = "skyrelay"


@dataclass
class Parts:
    """All that the requests of one process share.

    Attributes
    ----------
    gateway : Gateway
        Settings, database, store and outbox.
    feed : Feed
        Hands on to those who watch tasks what becomes of them.
    room : threading.BoundedSemaphore
        Of the requests that wait for something slow; see `gateway.api.waiting`.
    renderers : Renderers
        Make pictures.
    """

    gateway: Gateway
    feed: Feed
    room: threading.BoundedSemaphore
    renderers: Renderers


def install(app: Flask, parts: Parts) -> None:
    """Let the application keep these."""
    app.extensions[_KEY] = parts


def parts_of(app: Flask) -> Parts:
    """What this application keeps."""
    parts: Parts = app.extensions[_KEY]
    return parts


def gateway() -> Gateway:
    """The gateway that the present request has reached."""
    return parts_of(current_app).gateway


def feed() -> Feed:
    """The feed of the process that the present request has reached."""
    return parts_of(current_app).feed


def room() -> threading.BoundedSemaphore:
    """What a request that waits for something slow has to hold."""
    return parts_of(current_app).room


def renderers() -> Renderers:
    """The renderers of the process that the present request has reached."""
    return parts_of(current_app).renderers
