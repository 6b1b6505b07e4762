-- What others in this database and in its cluster can do to the log and its readers: limits of analysts, kept however
-- they are changed, and what a watcher has to see and end.

-- Ordinary triggers do not fire under session_replication_role = replica.
ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_immutable;

-- One change of structure at a time per read model. A row, because everybody may take an advisory lock where a superuser
-- did not forbid it.
CREATE TABLE structure_locks (
    read_model text PRIMARY KEY
);
INSERT INTO structure_locks (read_model)
VALUES ('sessions'), ('definitions'), ('observations'), ('observation_requests'), ('workers');
GRANT SELECT, UPDATE ON structure_locks TO lablet_app;

-- The limits of every login that is a member of lablet_analyst. An owner changes them here; the watcher, `lablet migrate`
-- and `lablet analyst` apply them to the logins, as a setting of a role is not inherited by its members.
CREATE TABLE analyst_limits (
    setting text PRIMARY KEY CHECK (setting IN (
        'statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'lock_timeout',
        'transaction_timeout', 'work_mem', 'temp_file_limit', 'connection_limit')),
    value   text NOT NULL,
    -- A time as Postgres writes it, 0 for none.
    CHECK (setting NOT LIKE '%\_timeout' OR value::interval >= interval '0'),
    CHECK (setting <> 'connection_limit' OR value::integer >= 0)
);
INSERT INTO analyst_limits (setting, value) VALUES
    ('statement_timeout', '5min'),
    ('idle_in_transaction_session_timeout', '1min'),
    ('idle_session_timeout', '1h'),
    ('lock_timeout', '5s'),
    -- A setting of Postgres 17; under earlier ones the watcher alone keeps it.
    ('transaction_timeout', '15min'),
    ('work_mem', '16MB'),
    -- Of one session.
    ('temp_file_limit', '1GB'),
    -- Of one login.
    ('connection_limit', '10');
COMMENT ON TABLE analyst_limits IS 'Limits of every login that is a member of lablet_analyst.';

-- Passwords that `lablet` gave to analysts' logins, as SCRAM verifiers. Postgres lets every role change its own: the
-- watcher puts these back. Nobody but the owner may read them.
CREATE TABLE analyst_passwords (
    role_name text PRIMARY KEY,
    verifier  text NOT NULL
);
COMMENT ON TABLE analyst_passwords IS 'SCRAM verifiers of the passwords that analysts'' logins shall have.';

-- The watcher of the deployment, and what it ended.
CREATE TABLE log_watcher (
    only_row     boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    holder       text,
    leased_until timestamptz,
    -- Null: nobody has watched yet.
    looked_at    timestamptz,
    -- How many sessions it has ended.
    ended        bigint      NOT NULL DEFAULT 0,
    -- What it cannot end or mend, and what would let it; empty: nothing.
    problems     text[]      NOT NULL DEFAULT '{}'
);
INSERT INTO log_watcher DEFAULT VALUES;
GRANT SELECT, UPDATE ON log_watcher TO lablet_app;

CREATE TABLE ended_sessions (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ended_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    pid              integer     NOT NULL,
    role_name        text        NOT NULL,
    database_name    text        NOT NULL,
    application_name text        NOT NULL,
    -- How long it had been seen to hold a transaction id, or what it did beyond its limit.
    seconds          double precision NOT NULL,
    reason           text        NOT NULL
);
COMMENT ON TABLE ended_sessions IS 'Sessions that the watcher ended, the newest thousand.';
GRANT SELECT, INSERT, DELETE ON ended_sessions TO lablet_app;

-- Whose sessions the watcher never ends: the application's and its owner's, which say so by their application_name
-- (`PGAPPNAME=lablet-maintenance psql …` for whoever maintains the database by hand).
CREATE FUNCTION is_own_session(role_id oid, application_name text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(application_name, '') LIKE 'lablet%'
       AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = role_id
                      AND (r.rolsuper OR r.rolname = 'lablet_app'
                           OR r.oid = (SELECT relowner FROM pg_class WHERE oid = 'public.events'::regclass)))
$$;

CREATE FUNCTION is_analyst(role_id oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role_id AND NOT r.rolsuper AND r.rolname <> 'lablet_app'
                      AND r.oid <> (SELECT relowner FROM pg_class WHERE oid = 'public.events'::regclass)
                      AND pg_has_role(r.oid, 'lablet_analyst', 'MEMBER'))
$$;

-- Sessions of the whole cluster that can hold up the log's readers (they have a transaction id: no reader passes it), and
-- analysts' sessions that have outlived one of their limits. With the owner's rights, as others do not see how old a
-- stranger's transaction is; the text of a query, which may hold a secret, is no part of it.
CREATE FUNCTION sessions_to_watch()
    RETURNS TABLE (pid integer, backend_start timestamptz, transaction_id text, role_name text, database_name text,
                   application_name text, kind text, is_own boolean, transaction_seconds double precision,
                   beyond_limit text, beyond_seconds double precision)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH limits AS (
        SELECT (SELECT value::interval FROM public.analyst_limits WHERE setting = 'statement_timeout') AS statement,
               (SELECT value::interval FROM public.analyst_limits
                 WHERE setting = 'idle_in_transaction_session_timeout') AS idle_in_transaction,
               (SELECT value::interval FROM public.analyst_limits WHERE setting = 'idle_session_timeout') AS idle,
               (SELECT value::interval FROM public.analyst_limits
                 WHERE setting = 'transaction_timeout') AS transaction
    ), sessions AS (
        SELECT a.*, is_analyst,
               -- An owner who may not see strangers' activity sees no type; only a client has both role and database.
               coalesce(a.backend_type, CASE WHEN a.usesysid IS NULL OR a.datid IS NULL THEN 'unknown'
                                             ELSE 'client backend' END) AS kind,
               -- Postgres itself ends what keeps the limits; what is still there a little later has lifted them.
               CASE WHEN NOT is_analyst THEN NULL
                    WHEN a.state = 'active' AND l.statement > interval '0'
                         AND clock_timestamp() - a.query_start > l.statement + interval '5s' THEN 'statement_timeout'
                    WHEN a.state LIKE 'idle in transaction%' AND l.idle_in_transaction > interval '0'
                         AND clock_timestamp() - a.state_change > l.idle_in_transaction + interval '5s'
                        THEN 'idle_in_transaction_session_timeout'
                    WHEN a.xact_start IS NOT NULL AND l.transaction > interval '0'
                         AND clock_timestamp() - a.xact_start > l.transaction + interval '5s'
                        THEN 'transaction_timeout'
                    WHEN a.state = 'idle' AND l.idle > interval '0'
                         AND clock_timestamp() - a.state_change > l.idle + interval '5s' THEN 'idle_session_timeout'
               END AS beyond
          FROM pg_stat_activity a
          CROSS JOIN limits l
          CROSS JOIN LATERAL (SELECT coalesce(public.is_analyst(a.usesysid), false) AS is_analyst) of_role
         WHERE a.pid <> pg_backend_pid() AND (a.backend_xid IS NOT NULL OR a.usesysid IS NOT NULL)
    )
    SELECT s.pid, s.backend_start, s.backend_xid::text, coalesce(s.usename::text, ''), coalesce(s.datname::text, ''),
           coalesce(s.application_name, ''), s.kind, public.is_own_session(s.usesysid, s.application_name),
           extract(epoch FROM clock_timestamp() - s.xact_start)::float8, s.beyond,
           extract(epoch FROM clock_timestamp() - CASE s.beyond WHEN 'statement_timeout' THEN s.query_start
                                                                WHEN 'transaction_timeout' THEN s.xact_start
                                                                ELSE s.state_change END)::float8
      FROM sessions s WHERE s.backend_xid IS NOT NULL OR s.beyond IS NOT NULL
    UNION ALL
    -- Nobody's session, and so nobody's to end: whoever prepared it has to finish it.
    SELECT NULL, NULL, p.transaction::text, p.owner::text, p.database::text, p.gid, 'prepared transaction', false,
           extract(epoch FROM clock_timestamp() - p.prepared)::float8, NULL, NULL
      FROM pg_prepared_xacts p
$$;

-- Ends one of those sessions, with the owner's right to do so: a session of a client, not of our own, that still is what
-- was seen. Answers whether it was told to end.
CREATE FUNCTION end_session(session_pid integer, session_start timestamptz, session_transaction text) RETURNS boolean
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(bool_or(pg_terminate_backend(s.pid)), false)
      FROM public.sessions_to_watch() s
     WHERE s.pid = session_pid AND s.backend_start IS NOT DISTINCT FROM session_start
       AND s.transaction_id IS NOT DISTINCT FROM session_transaction
       AND s.kind = 'client backend' AND NOT s.is_own
$$;

-- Compares what analysts may do with what they should, and with `mend` makes it so. Answers what was not as it should be,
-- with the problem where it could not be mended. An analyst's own statements can undo some of it (a role may always change
-- its own password and settings), and each new login lacks it, so it is done again and again.
CREATE FUNCTION confine_analysts(mend boolean) RETURNS TABLE (subject text, deviation text, problem text)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = error
AS $$
DECLARE
    -- What gives a transaction an id, writes, locks, fills, or ends the sessions of others.
    forbidden CONSTANT name[] := ARRAY[
        'pg_current_xact_id', 'txid_current', 'pg_logical_emit_message', 'pg_notify', 'pg_cancel_backend',
        'pg_terminate_backend', 'loread', 'lowrite', 'lo_close', 'lo_creat', 'lo_create', 'lo_export', 'lo_from_bytea',
        'lo_get', 'lo_import', 'lo_lseek', 'lo_lseek64', 'lo_open', 'lo_put', 'lo_tell', 'lo_tell64', 'lo_truncate',
        'lo_truncate64', 'lo_unlink', 'pg_advisory_lock', 'pg_advisory_lock_shared', 'pg_advisory_unlock',
        'pg_advisory_unlock_all', 'pg_advisory_unlock_shared', 'pg_advisory_xact_lock', 'pg_advisory_xact_lock_shared',
        'pg_try_advisory_lock', 'pg_try_advisory_lock_shared', 'pg_try_advisory_xact_lock',
        'pg_try_advisory_xact_lock_shared'];
    deviating record;
    statements text[];
    statement text;
BEGIN
    FOR deviating IN
        -- Rights that everybody has unless they are taken away. Those who need them get them by name.
        SELECT 'database ' || current_database() AS subject, 'everybody may create temporary tables' AS deviation,
               ARRAY[format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database())] AS statements,
               format('SELECT NOT has_database_privilege(''public'', %L, ''TEMPORARY'')', current_database()) AS done,
               'needs the owner of the database, or a superuser' AS needs
         WHERE has_database_privilege('public', current_database(), 'TEMPORARY')
        UNION ALL
        SELECT 'schema public', 'everybody may create objects', ARRAY['REVOKE CREATE ON SCHEMA public FROM PUBLIC'],
               'SELECT NOT has_schema_privilege(''public'', ''public'', ''CREATE'')',
               'needs the owner of the schema, or a superuser'
         WHERE has_schema_privilege('public', 'public', 'CREATE')
        UNION ALL
        SELECT 'language plpgsql', 'everybody may run code',
               ARRAY[format('GRANT USAGE ON LANGUAGE plpgsql TO lablet_app, %I', current_user),
                     'REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC'],
               'SELECT NOT has_language_privilege(''public'', ''plpgsql'', ''USAGE'')', 'needs a superuser'
         WHERE has_language_privilege('public', 'plpgsql', 'USAGE')
        UNION ALL
        SELECT 'function ' || p.oid::regprocedure, 'everybody may call it',
               ARRAY[format('GRANT EXECUTE ON FUNCTION %s TO lablet_app, %I', p.oid::regprocedure, current_user),
                     format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', p.oid::regprocedure)],
               format('SELECT NOT has_function_privilege(''public'', %s::oid, ''EXECUTE'')', p.oid),
               'needs a superuser'
          FROM pg_proc p
         WHERE p.proname = ANY (forbidden) AND p.pronamespace = 'pg_catalog'::regnamespace
           AND has_function_privilege('public', p.oid, 'EXECUTE')
        UNION ALL
        -- A setting of the role in this database goes before one of the role alone, which it may make itself, too.
        SELECT 'role ' || r.rolname, l.setting || ' is not ' || l.value,
               ARRAY[format('ALTER ROLE %I IN DATABASE %I SET %I = %L', r.rolname, current_database(), l.setting, l.value)],
               format('SELECT EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                                       WHERE s.setrole = %s AND d.datname = %L AND %L = ANY (s.setconfig))',
                      r.oid, current_database(), l.setting || '=' || l.value),
               CASE l.setting WHEN 'temp_file_limit' THEN 'needs a superuser'
                              ELSE 'needs CREATEROLE over the role, or a superuser' END
          FROM pg_roles r
         CROSS JOIN public.analyst_limits l
         WHERE r.rolcanlogin AND public.is_analyst(r.oid) AND l.setting <> 'connection_limit'
           AND EXISTS (SELECT FROM pg_settings WHERE name = l.setting)
           AND NOT EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                            WHERE s.setrole = r.oid AND d.datname = current_database()
                              AND l.setting || '=' || l.value = ANY (s.setconfig))
        UNION ALL
        SELECT 'role ' || r.rolname, 'it may have more than ' || l.value || ' connections',
               ARRAY[format('ALTER ROLE %I CONNECTION LIMIT %s', r.rolname, l.value)],
               format('SELECT rolconnlimit BETWEEN 0 AND %s FROM pg_roles WHERE oid = %s', l.value, r.oid),
               'needs CREATEROLE over the role, or a superuser'
          FROM pg_roles r
          JOIN public.analyst_limits l ON l.setting = 'connection_limit'
         WHERE r.rolcanlogin AND public.is_analyst(r.oid) AND r.rolconnlimit NOT BETWEEN 0 AND l.value::integer
        UNION ALL
        -- Other databases are not ours to close.
        SELECT 'role ' || r.rolname,
               'it may connect to other databases, where nothing is taken away from it: '
                   || left(string_agg(d.datname, ', ' ORDER BY d.datname), 200),
               ARRAY[]::text[], 'SELECT false',
               'REVOKE CONNECT ON DATABASE … FROM PUBLIC closes them, or pg_hba.conf'
          FROM pg_roles r
          JOIN pg_database d ON d.datallowconn AND d.datname <> current_database()
                            AND has_database_privilege(r.oid, d.oid, 'CONNECT')
         WHERE r.rolcanlogin AND public.is_analyst(r.oid)
         GROUP BY r.rolname
    LOOP
        subject := deviating.subject;
        deviation := deviating.deviation;
        problem := deviating.needs;
        IF mend THEN
            BEGIN
                FOREACH statement IN ARRAY deviating.statements LOOP
                    EXECUTE statement;
                END LOOP;
                -- Who lacks the right to take something away is told so by a notice only.
                EXECUTE deviating.done INTO STRICT statement;
                IF statement::boolean THEN
                    problem := NULL;
                END IF;
            EXCEPTION WHEN insufficient_privilege THEN
                NULL;
            WHEN internal_error THEN
                problem := SQLERRM;
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
    -- Only a superuser sees passwords.
    IF NOT has_table_privilege('pg_authid', 'SELECT') THEN
        RETURN;
    END IF;
    FOR deviating IN
        SELECT p.role_name, p.verifier FROM public.analyst_passwords p JOIN pg_authid a ON a.rolname = p.role_name
         WHERE a.rolpassword IS DISTINCT FROM p.verifier
    LOOP
        subject := 'role ' || deviating.role_name;
        deviation := 'its password was changed by somebody else than lablet';
        problem := 'is put back by the watcher';
        IF mend THEN
            BEGIN
                EXECUTE format('ALTER ROLE %I PASSWORD %L', deviating.role_name, deviating.verifier);
                problem := NULL;
            EXCEPTION WHEN internal_error THEN
                problem := SQLERRM;
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Gives a login a password that is kept: remembers its verifier. For owners.
CREATE FUNCTION keep_analyst_password(login text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT has_table_privilege('pg_authid', 'SELECT') THEN
        RETURN false;
    END IF;
    INSERT INTO public.analyst_passwords (role_name, verifier)
    SELECT rolname, rolpassword FROM pg_authid
     WHERE rolname = login AND rolpassword IS NOT NULL AND public.is_analyst(oid)
        ON CONFLICT (role_name) DO UPDATE SET verifier = excluded.verifier;
    RETURN FOUND;
END
$$;

REVOKE EXECUTE ON FUNCTION is_own_session(oid, text), is_analyst(oid), sessions_to_watch(),
    end_session(integer, timestamptz, text), confine_analysts(boolean), keep_analyst_password(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sessions_to_watch(), end_session(integer, timestamptz, text), confine_analysts(boolean)
    TO lablet_app;

SELECT count(*) FROM confine_analysts(true);
