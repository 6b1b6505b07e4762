"""An OpenID provider with some people: Canaille, on a free port of this machine.

Its store is SQLite: the one in memory finds any code and any consent of the client, whichever was asked for.

Arguments: a folder of its own, and the redirect URIs of its one client. Prints one JSON line when it is ready. Reads commands, a line each, and
answers each with a line: "rotate" signs with a new key from now on and forgets the old one, "allow URI" adds a redirect
URI.
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


def configuration(port, folder):
    return {
        "SECRET_KEY": secrets.token_urlsafe(32),
        "SERVER_NAME": f"127.0.0.1:{port}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "sql", "JAVASCRIPT": False, "HTMX": False, "SMTP": None},
        "CANAILLE_SQL": {"DATABASE_URI": f"sqlite:///{folder}/canaille.sqlite"},
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


def main(folder, *redirect_uris):
    server = make_server("127.0.0.1", 0, lambda *_: [], threaded=True)
    app = canaille.create_app(configuration(server.port, folder))
    populate(app, list(redirect_uris))
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
        elif line.startswith("allow "):
            with app.app_context(), app.backend.session():
                client = app.backend.get(models.Client, client_id=CLIENT_ID)
                client.redirect_uris = [*client.redirect_uris, line.removeprefix("allow ").strip()]
                app.backend.save(client)
            print("allowed", flush=True)


main(*sys.argv[1:])
