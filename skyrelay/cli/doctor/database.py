"""Does the database answer, with the tables of this version?"""

from __future__ import annotations

from collections.abc import Iterator

from skyrelay.cli.doctor.finding import Finding, Health
from skyrelay.settings import Settings


def database(settings: Settings) -> Iterator[Finding]:
    """Where it is, and its revision."""
    try:
        from gateway.database import Database
        from gateway.migrate import revision_of, revisions
    except ModuleNotFoundError:
        yield Finding(Health.NOTE, "database", "not to be seen from here; ask beside the gateway")
        return
    opened = Database(settings.database_url)
    try:
        where = opened.url.render_as_string(hide_password=True)
        if not opened.answers():
            yield Finding(Health.BAD, "database", f"{where} does not answer; look at DATABASE_URL")
            return
        found, newest = revision_of(opened), revisions()[-1]
        said = f"{where}, revision {found or 'none'}"
        if found == newest:
            yield Finding(Health.GOOD, "database", said)
        else:
            said += f" and not {newest}: `python -m gateway migrate`"
            yield Finding(Health.BAD, "database", said)
    finally:
        opened.close()
