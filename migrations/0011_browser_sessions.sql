-- Signing in: keys that sign what browsers keep for us, sessions that can be listed and ended by others, and forms that
-- were interrupted by signing in.

CREATE TABLE sign_in_keys (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        bytea       NOT NULL CHECK (octet_length(key) = 32),
    created_at timestamptz NOT NULL
);

COMMENT ON TABLE sign_in_keys IS 'Keys of HMAC-SHA-256. The newest signs; the others verify until nothing that they signed is valid any more.';

-- A sign-in that is under way at the provider is kept by its browser, signed. The table goes with a later release, as
-- gateways of the one before still use it while they are exchanged.
COMMENT ON TABLE sign_in_attempts IS 'Not used any more: a sign-in that is under way is kept by its browser, signed.';

-- The id names a session where it is listed and ended; it is worth nothing in a cookie. The address is that of the
-- sign-in; null for sessions that began before it was kept.
ALTER TABLE browser_sessions
    ADD COLUMN id      uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN address text CHECK (length(address) <= 100);
CREATE UNIQUE INDEX browser_sessions_by_id ON browser_sessions (id);

-- Rises whenever a session or a token was ended, so that open streams look again at whether they may go on.
CREATE SEQUENCE sign_in_ends;

CREATE TABLE interrupted_forms (
    -- Of the browser's secret, which is in its cookie, and the form's id, which is in the address.
    hash       bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    -- Hash of the name of the person to whom the form was served; nobody else gets it back.
    person     bytea       NOT NULL CHECK (octet_length(person) = 32),
    -- Names and values as they were sent, without the form's own secrets.
    fields     text        NOT NULL CHECK (octet_length(fields) <= 131072),
    created_at timestamptz NOT NULL
);

COMMENT ON TABLE interrupted_forms IS 'Forms that were sent when nobody was signed in any more, for the page on which they are sent again.';

CREATE INDEX interrupted_forms_by_age ON interrupted_forms (created_at);
CREATE INDEX interrupted_forms_by_person ON interrupted_forms (person, created_at);

GRANT SELECT, INSERT, DELETE ON sign_in_keys, interrupted_forms TO lablet_app;
GRANT USAGE, SELECT ON SEQUENCE sign_in_ends TO lablet_app;
