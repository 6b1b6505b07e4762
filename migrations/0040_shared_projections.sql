-- Processes that keep read models divide them among themselves: who is there, and who does what. Nothing is lost without it,
-- as a checkpoint is moved by one at a time: it keeps processes from doing the same twice.

CREATE TABLE projection_members (
    holder        text        PRIMARY KEY,
    -- Its session: once Postgres has ended that, the process is taken to be gone before its time is over.
    session_pid   integer     NOT NULL,
    joined_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    present_until timestamptz NOT NULL,
    -- Of each read model that it keeps, the revision of its build.
    revisions     jsonb       NOT NULL
);
COMMENT ON TABLE projection_members IS 'Processes that keep read models.';

CREATE TABLE projection_leases (
    read_model  text        NOT NULL,
    -- Following the log with the rows that are read, or making those of a newer revision beside them.
    task        text        NOT NULL CHECK (task IN ('follow', 'rebuild')),
    -- Raised whenever it changes hands.
    lease_epoch bigint      NOT NULL DEFAULT 0,
    -- It holds as long as its holder is present. Null: it was given back.
    holder      text,
    taken_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (read_model, task)
);
COMMENT ON TABLE projection_leases IS 'Which process keeps which read model.';

-- The one place that says who is present.
CREATE VIEW present_projection_members AS
SELECT m.holder, m.joined_at, m.revisions
  FROM projection_members m
 WHERE m.present_until > clock_timestamp()
   AND EXISTS (SELECT FROM pg_stat_get_activity(m.session_pid));
COMMENT ON VIEW present_projection_members IS 'Processes that keep read models and are there.';

GRANT SELECT, INSERT, UPDATE, DELETE ON projection_members, projection_leases TO lablet_projector;
GRANT SELECT ON present_projection_members TO lablet_projector;
-- Who keeps what is shown to people.
GRANT SELECT ON projection_leases, present_projection_members TO lablet_app;
