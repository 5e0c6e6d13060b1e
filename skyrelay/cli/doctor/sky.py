"""Do the sky services answer?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import requests

from skyrelay.cli.doctor.finding import Finding, Health
from skyrelay.programs import PATIENCE
from skyrelay.settings import Settings
from skyrelay.sky.remote import services
from skyrelay.sky.remote.services import Service

#: Answers of a server that is there, but without the service. To be asked for nothing, any other
#: error of ours is what they ought to say.
_GONE = {404, 410}


def sky_services(settings: Settings) -> Iterator[Finding]:
    """Each of them, at the first of its addresses that is well."""
    if settings.skyrelay_offline:
        yield Finding(Health.NOTE, "sky", "nobody is asked (SKYRELAY_OFFLINE)")
        return
    with ThreadPoolExecutor(len(KNOWN)) as pool:
        yield from pool.map(lambda service: _ask(service, settings), KNOWN)


KNOWN = [each for each in vars(services).values() if isinstance(each, Service)]


def _ask(service: Service, settings: Settings) -> Finding:
    wrong = []
    for address in service.addresses(settings):
        try:
            # The body is not read; not all of them know HEAD.
            with requests.get(address, timeout=PATIENCE, stream=True) as answer:
                status = answer.status_code
        except requests.RequestException:
            continue
        if status < 500 and status not in _GONE:
            return Finding(Health.GOOD, service.title, address)
        wrong.append(f"{address} says {status}")
    said = "; ".join(wrong) or "no address answers"
    return Finding(Health.NOTE, service.title, f"{said}; {service.instead}")
