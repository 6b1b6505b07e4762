-- A role for the process that keeps the read models. It owns them, reads the log and cannot append; what all others sign in
-- as, lablet_app, reads them and cannot write them. docs/postgres-permissions.md has the rights of each.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'lablet_projector') THEN
        BEGIN
            CREATE ROLE lablet_projector NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    -- Whoever migrates gives it tables, and makes more of them in its name. Where a superuser made the role, the membership
    -- is theirs to give, too.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        BEGIN
            EXECUTE format('GRANT lablet_projector TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;
        END;
    END IF;
    -- As long as nobody signs in as it, `lablet project` runs as lablet_app, and so does all of `lablet up`.
    IF NOT EXISTS (SELECT FROM pg_roles r
                    WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> current_user
                      AND pg_has_role(r.oid, 'lablet_projector', 'MEMBER')) THEN
        GRANT lablet_projector TO lablet_app;
    END IF;
END
$$;

ALTER ROLE lablet_projector SET idle_in_transaction_session_timeout = '15s';

-- The read models and the views over them, as a rebuild replaces the tables below the views.
DO $$
DECLARE
    owned record;
BEGIN
    FOR owned IN
        SELECT nspname FROM pg_namespace WHERE nspname LIKE 'read\_%' OR nspname = 'analytics_v1'
    LOOP
        EXECUTE format('ALTER SCHEMA %I OWNER TO lablet_projector', owned.nspname);
    END LOOP;
    FOR owned IN
        SELECT n.nspname, c.relname, CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE (n.nspname LIKE 'read\_%' OR n.nspname = 'analytics_v1') AND c.relkind IN ('r', 'v')
    LOOP
        EXECUTE format('ALTER %s %I.%I OWNER TO lablet_projector', owned.kind, owned.nspname, owned.relname);
    END LOOP;
    -- What is read of a model, and whether it is being made anew.
    FOR owned IN
        SELECT nspname FROM pg_namespace WHERE nspname LIKE 'read\_%' AND nspname NOT LIKE '%\_retired'
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO lablet_app', owned.nspname);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO lablet_app', owned.nspname);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE lablet_projector IN SCHEMA %I GRANT SELECT ON TABLES TO lablet_app',
                       owned.nspname);
    END LOOP;
END
$$;

-- A retry of what a read model did not take writes its rows: whoever is asked for one and may not write them leaves it here
-- for the process that keeps them.
CREATE TABLE requested_retries (
    id             uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    read_model     text        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    requested_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- By one of the processes that keep the read models; what it has not finished a while later is another's.
    taken_at       timestamptz,
    finished_at    timestamptz,
    -- What came of it, or why nothing did; both null while it waits.
    outcome        jsonb,
    failure        text
);
CREATE INDEX requested_retries_waiting ON requested_retries (requested_at) WHERE finished_at IS NULL;
COMMENT ON TABLE requested_retries IS
    'Retries of dead letters of read models that somebody asked for; those that are finished are kept for an hour.';

GRANT USAGE ON SCHEMA public TO lablet_projector;
GRANT SELECT ON _sqlx_migrations, events, log_epoch, log_epochs, projection_discards, relays, webhook_targets
    TO lablet_projector;
GRANT SELECT, UPDATE ON structure_locks, log_watcher TO lablet_projector;
GRANT SELECT, INSERT, DELETE ON ended_sessions, verifications TO lablet_projector;
GRANT SELECT, UPDATE, DELETE ON requested_retries TO lablet_projector;
GRANT EXECUTE ON FUNCTION sessions_to_watch(), end_session(integer, timestamptz, text), confine_analysts(boolean),
    log_place(), log_restore() TO lablet_projector;

GRANT SELECT, INSERT ON requested_retries TO lablet_app;
-- What no statement of its processes needs, or none any more.
REVOKE ALL ON structure_locks FROM lablet_app;
REVOKE INSERT, DELETE ON verifications FROM lablet_app;
REVOKE INSERT ON relays FROM lablet_app;
REVOKE DELETE ON admin_tokens, webhook_targets FROM lablet_app;

-- Both are Lablet's own, whatever else they are members of.
CREATE OR REPLACE FUNCTION is_own_session(role_id oid, application_name text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(application_name, '') LIKE 'lablet%'
       AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = role_id
                      AND (r.rolsuper OR r.rolname IN ('lablet_app', 'lablet_projector')
                           OR r.oid = (SELECT relowner FROM pg_class WHERE oid = 'public.events'::regclass)))
$$;

CREATE OR REPLACE FUNCTION is_analyst(role_id oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role_id AND NOT r.rolsuper
                      AND r.rolname NOT IN ('lablet_app', 'lablet_projector')
                      AND r.oid <> (SELECT relowner FROM pg_class WHERE oid = 'public.events'::regclass)
                      AND pg_has_role(r.oid, 'lablet_analyst', 'MEMBER'))
$$;
