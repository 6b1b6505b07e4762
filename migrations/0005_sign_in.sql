-- Signing in: tokens, one-time links, browsers' sessions, and sign-ins that are under way at an OpenID provider.
--
-- No secret is kept: of what a browser or a script presents, there is the SHA-256. The secrets have 256 random bits, so
-- a slow hash would protect nothing.

CREATE TABLE admin_tokens (
    id           uuid        PRIMARY KEY,
    hash         bytea       NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    name         text        NOT NULL,
    role         text        NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at   timestamptz NOT NULL,
    -- Null: it is valid until it is revoked.
    expires_at   timestamptz,
    revoked_at   timestamptz,
    -- Written at most once a minute; null before the first use.
    last_used_at timestamptz
);

COMMENT ON TABLE admin_tokens IS 'Bearer tokens that `lablet token create` made. Revoked ones stay, so that it can be seen whose they were.';

CREATE TABLE sign_in_links (
    hash       bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    name       text        NOT NULL,
    role       text        NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);

COMMENT ON TABLE sign_in_links IS 'Links that sign a browser in, once.';

CREATE INDEX sign_in_links_by_age ON sign_in_links (expires_at);

CREATE TABLE browser_sessions (
    hash         bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    name         text        NOT NULL,
    role         text        NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    signed_in_by text        NOT NULL CHECK (signed_in_by IN ('link', 'token', 'provider')),
    -- Hash of the token it began with, a minted or a configured one: it ends when that is no longer valid.
    token_hash   bytea       CHECK (octet_length(token_hash) = 32),
    created_at   timestamptz NOT NULL,
    -- Written at most once a minute.
    last_seen_at timestamptz NOT NULL,
    CHECK ((signed_in_by = 'token') = (token_hash IS NOT NULL))
);

COMMENT ON TABLE browser_sessions IS 'Browsers that are signed in. How long a session may last is for the gateway to say.';

CREATE INDEX browser_sessions_by_age ON browser_sessions (created_at);
CREATE INDEX browser_sessions_by_use ON browser_sessions (last_seen_at);

CREATE TABLE sign_in_attempts (
    -- Of the cookie that binds the attempt to the browser in which it began.
    hash       bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    state      text        NOT NULL,
    nonce      text        NOT NULL,
    -- PKCE: what the provider's code can be redeemed with. Worth nothing without the code and the client's secret.
    verifier   text        NOT NULL,
    return_to  text        NOT NULL,
    created_at timestamptz NOT NULL
);

COMMENT ON TABLE sign_in_attempts IS 'Sign-ins that are under way at the OpenID provider. Each is used once, within minutes.';

CREATE INDEX sign_in_attempts_by_age ON sign_in_attempts (created_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON admin_tokens, sign_in_links, browser_sessions, sign_in_attempts TO lablet_app;
