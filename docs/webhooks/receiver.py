"""Receives Lablet's webhooks: agrees to the handshake, verifies signatures, drops repetitions, prints each event as a line.

    pip install -r requirements.txt
    WEBHOOK_SECRET="$(cat booking.secret)" python receiver.py 8000

Put a proxy with TLS before it. The secret of a rotation may be given as well: WEBHOOK_SECRET="whsec_new whsec_old".
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

LARGEST = 1024 * 1024
WEBHOOKS = [Webhook(secret) for secret in os.environ["WEBHOOK_SECRET"].split()]
# Ids of messages that were taken. A program that is restarted keeps them where it keeps what it makes of them.
taken = set()
# Requests come in threads, of several targets at a time.
taking = threading.Lock()


def verify(body: bytes, headers: dict[str, str]) -> None:
    """Raises WebhookVerificationError unless one of the secrets signed the body, within the last five minutes."""
    for webhook in WEBHOOKS[:-1]:
        try:
            return webhook.verify(body, headers, json_parse=False)
        except WebhookVerificationError:
            pass
    WEBHOOKS[-1].verify(body, headers, json_parse=False)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_OPTIONS(self) -> None:
        # Whoever may send to you: compare it with the host of your Lablet.
        self.answer(200, {"WebHook-Allowed-Origin": self.headers.get("WebHook-Request-Origin", ""),
                          "WebHook-Allowed-Rate": "6000"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > LARGEST:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(length)
        headers = dict(self.headers.items())
        try:
            verify(body, headers)
        except WebhookVerificationError as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            return self.answer(401)
        event = from_http(HTTPMessage(headers, body), JSONFormat())
        # Deliveries are at least once: the same id again is the same event again.
        key = (self.path, event.get_id())
        with taking:
            if key not in taken:
                data = event.get_data()
                attributes = {name: str(value) for name, value in event.get_attributes().items()}
                print(json.dumps({"path": self.path, **attributes, "data": data}), flush=True)
                taken.add(key)
        self.answer(204)

    def answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()
