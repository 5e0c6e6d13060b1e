"""Takes what Alertmanager sends, and says of each alert: status, name, page, summary."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(BaseHTTPRequestHandler):
    """Says what it is sent."""

    def do_POST(self) -> None:
        """Called for one message of Alertmanager."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in body["alerts"]:
            told = alert["annotations"]
            name = alert["labels"]["alertname"]
            print(alert["status"], name, told["runbook_url"], told["summary"], flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:
        """Nobody wants to read that it was asked."""


if __name__ == "__main__":
    HTTPServer(("", 8000), Receiver).serve_forever()
