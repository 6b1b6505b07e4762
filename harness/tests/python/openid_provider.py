"""An OpenID provider with some people: Canaille, in memory, on a free port of this machine.

Arguments: the redirect URIs of its one client. Prints one JSON line when it is ready. Reads commands, a line each, and
answers each with a line: "rotate" signs with a new key from now on and forgets the old ones.
"""

import json
import secrets
import sys
import threading

from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

import canaille
from canaille.app import models

CLIENT_ID = "lablet"
CLIENT_SECRET = secrets.token_urlsafe(32)
PASSWORD = secrets.token_urlsafe(16)
# Nobody is in no group that the client knows.
PEOPLE = {"ada": "lab-admins", "oli": "lab-operators", "vic": "lab-viewers", "nobody": None}


def new_key():
    return RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True)


def configuration(port):
    return {
        "SECRET_KEY": secrets.token_urlsafe(32),
        "SERVER_NAME": f"127.0.0.1:{port}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False, "HTMX": False, "SMTP": None},
        # Nobody is trusted, so that consent is asked for.
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [new_key()], "TRUSTED_DOMAINS": [], "USERINFO_MAPPING": {
            "SUB": "{{ user.user_name }}",
            "PREFERRED_USERNAME": "{{ user.user_name }}",
        }},
    }


def populate(app, redirect_uris):
    with app.app_context(), app.backend.session():
        for name, group in PEOPLE.items():
            person = models.User(
                user_name=name,
                formatted_name=name.title(),
                family_name=name.title(),
                emails=[f"{name}@example.com"],
                password=PASSWORD,
            )
            app.backend.save(person)
            if group:
                app.backend.save(models.Group(display_name=group, members=[person]))
        client = models.Client(
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            client_name="Lablet",
            client_uri="https://lablet.example.com",
            redirect_uris=redirect_uris,
            grant_types=["authorization_code"],
            response_types=["code"],
            scope=["openid", "profile", "email", "groups"],
            token_endpoint_auth_method="client_secret_basic",
        )
        app.backend.save(client)
        client.audience = [client]
        app.backend.save(client)


def main():
    server = make_server("127.0.0.1", 0, lambda *_: [], threaded=True)
    app = canaille.create_app(configuration(server.port))
    populate(app, sys.argv[1:])
    server.app = app
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ready = {
        "issuer": f"http://127.0.0.1:{server.port}",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "password": PASSWORD,
    }
    print(json.dumps(ready), flush=True)
    # Ends with whoever started it: then there are no more lines.
    for line in sys.stdin:
        if line.strip() == "rotate":
            app.config["CANAILLE_OIDC"]["ACTIVE_JWKS"] = [new_key()]
            print("rotated", flush=True)


main()
