-- Filters of lists under a name, by whoever signs in: what people prefer to look at is no fact, so none of it is in the log.

CREATE TABLE saved_views (
    id         uuid        PRIMARY KEY,
    list       text        NOT NULL CHECK (length(list) BETWEEN 1 AND 40),
    name       text        NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    -- The address of the list after its `?`, without the page.
    query      text        NOT NULL CHECK (octet_length(query) BETWEEN 1 AND 2000),
    -- The person's name, as it appears as `admin:<name>` in events.
    owner      text        NOT NULL,
    -- Whether everybody sees it.
    shared     boolean     NOT NULL,
    created_at timestamptz NOT NULL
);

COMMENT ON TABLE saved_views IS 'Filters of the console''s lists under a name, own ones and shared ones.';

CREATE UNIQUE INDEX saved_views_by_name ON saved_views (owner, list, lower(name));
CREATE INDEX saved_views_shared ON saved_views (list) WHERE shared;

GRANT SELECT, INSERT, UPDATE, DELETE ON saved_views TO lablet_app;
