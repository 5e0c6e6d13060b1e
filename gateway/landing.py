"""What does somebody see who opens the gateway's address in a browser?"""

from __future__ import annotations

from flask import Blueprint, Response, render_template_string, request
from flask.typing import ResponseReturnValue

from gateway.openapi import documented, media
from skyrelay.stages import STAGES

blueprint = Blueprint("landing", __name__)

_FOR_ROBOTS = "User-agent: *\nDisallow: /\n"
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Skyrelay</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
pre { overflow-x: auto; padding: 1rem; border: 1px solid #8886 }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } }
</style>
<h1>Skyrelay</h1>
<p>Takes an astronomical image from stage to stage until its transients are known:
{{ titles }}.</p>
<p>This server speaks to programs, under <code>/api/</code>:</p>
<pre>
H="Authorization: Token KEY"
curl -d username=NAME -d password=PASSWORD {{ root }}api/auth/token/
curl -H "$H" -F file=@image.fits {{ root }}api/tasks/
curl -H "$H" -d steps=inspect -d steps=photometry {{ root }}api/tasks/1/process/
curl -H "$H" {{ root }}api/tasks/1/state/
curl -H "$H" {{ root }}api/tasks/1/files/
</pre>
</html>
"""


@blueprint.get("/")
@documented({200: media("text/html")})
def landing() -> ResponseReturnValue:
    """What this is, and how to begin."""
    titles = ", ".join(stage.title.lower() for stage in STAGES)
    return render_template_string(_PAGE, titles=titles, root=request.url_root)


@blueprint.get("/robots.txt")
@documented({200: media("text/plain", example=_FOR_ROBOTS)})
def robots() -> ResponseReturnValue:
    """Nothing here is for search engines."""
    return Response(_FOR_ROBOTS, mimetype="text/plain")
