-- Run once by a superuser, in the new database. The migrations run as lablet_owner, who is none: what it may give, and what
-- it cannot take away, is given and taken here. Passwords come from Secrets. Statements are separated by empty lines.

CREATE ROLE lablet_app LOGIN;

CREATE ROLE lablet_projector LOGIN;

CREATE ROLE lablet_analyst LOGIN CONNECTION LIMIT 10;

-- Logins of analysts are made by it.
ALTER ROLE lablet_owner CREATEROLE;

-- Read models belong to the process that keeps them; the owner makes them in its name, and sets limits of analysts.
GRANT lablet_app, lablet_projector, lablet_analyst TO lablet_owner WITH ADMIN OPTION;

-- The watcher over the log's readers ends sessions that hold them up.
GRANT pg_signal_backend, pg_read_all_stats TO lablet_owner;

-- What is taken away from a role in Lablet's database, it would have in these.
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;

-- What everybody may do with a Postgres, and an analyst may not: run code, and what gives a transaction an id, writes, locks,
-- fills, or ends the sessions of others. The same functions as in confine_analysts, which mends the rest.
GRANT USAGE ON LANGUAGE plpgsql TO lablet_owner, lablet_app, lablet_projector;

REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;

ALTER ROLE lablet_analyst IN DATABASE lablet SET temp_file_limit = '1GB';

DO $$
DECLARE
    forbidden regprocedure;
BEGIN
    FOR forbidden IN
        SELECT oid::regprocedure
          FROM pg_proc
         WHERE pronamespace = 'pg_catalog'::regnamespace
           AND proname IN ('pg_current_xact_id', 'txid_current', 'pg_logical_emit_message', 'pg_notify', 'pg_cancel_backend',
               'pg_terminate_backend', 'loread', 'lowrite', 'lo_close', 'lo_creat', 'lo_create', 'lo_export', 'lo_from_bytea',
               'lo_get', 'lo_import', 'lo_lseek', 'lo_lseek64', 'lo_open', 'lo_put', 'lo_tell', 'lo_tell64', 'lo_truncate',
               'lo_truncate64', 'lo_unlink', 'pg_advisory_lock', 'pg_advisory_lock_shared', 'pg_advisory_unlock',
               'pg_advisory_unlock_all', 'pg_advisory_unlock_shared', 'pg_advisory_xact_lock',
               'pg_advisory_xact_lock_shared', 'pg_try_advisory_lock', 'pg_try_advisory_lock_shared',
               'pg_try_advisory_xact_lock', 'pg_try_advisory_xact_lock_shared')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO lablet_owner, lablet_app, lablet_projector', forbidden);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', forbidden);
    END LOOP;
END
$$;
