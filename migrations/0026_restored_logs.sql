-- A log that was restored from a backup: recognised by what no backup can carry over, and closed to writers until a new epoch
-- has begun. Without one, new events would stand among the restored ones or before them, and readers would skip them.

ALTER TABLE log_epoch
    -- Where the epoch began, as log_place() says it.
    ADD COLUMN place    text,
    -- The server's timeline then: a promotion or a recovery to a point in time raises it. What was lost by it is not known.
    ADD COLUMN timeline integer;

-- The cluster's identifier and the table's number in it. A dump has neither; a clone of the database within the same
-- cluster keeps both, and goes on with the same transaction numbers.
CREATE FUNCTION log_place() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT system_identifier || '/' || 'public.events'::regclass::oid FROM pg_control_system()
$$;

-- `none`: the log is where its epoch began. `epoch_due`: it was restored, and no new epoch has begun.
-- `unfinished`: a restore is under way or was interrupted; see the table unfinished_restore, which is there only then.
CREATE FUNCTION log_restore() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN to_regclass('public.unfinished_restore') IS NOT NULL THEN 'unfinished'
                WHEN e.place = public.log_place() THEN 'none'
                ELSE 'epoch_due' END
      FROM public.log_epoch e
$$;

-- Called by each connection that is to append.
CREATE FUNCTION refuse_to_append_to_a_restored_log() RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CASE public.log_restore()
        WHEN 'unfinished' THEN
            RAISE EXCEPTION 'this database is being restored, or its restore was interrupted'
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Restore into an empty database: lablet restore';
        WHEN 'epoch_due' THEN
            RAISE EXCEPTION 'this database was restored from a backup, and no new epoch has begun'
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'As its owner: lablet migrate --restored';
        ELSE NULL;
    END CASE;
END
$$;

REVOKE EXECUTE ON FUNCTION log_place(), log_restore(), refuse_to_append_to_a_restored_log() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_place(), log_restore(), refuse_to_append_to_a_restored_log() TO lablet_app;

-- The epochs that there were.
CREATE TABLE log_epochs (
    epoch          integer     PRIMARY KEY,
    began_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The last event of the epochs before; null: there was none, or nobody knows any more. What somebody was told of beyond
    -- it, in an earlier epoch, was lost.
    after_position text COLLATE "C",
    -- When the backup was made that the log was restored from; null: unknown, or it was not restored.
    backup_made_at timestamptz
);
COMMENT ON TABLE log_epochs IS 'Epochs of the log: one more each time it was restored from a backup.';
GRANT SELECT ON log_epochs TO lablet_app;
INSERT INTO log_epochs (epoch) SELECT epoch FROM log_epoch;

-- A log that is here because it was restored earlier, and that got no new epoch, holds transactions that this server has not
-- begun yet: its place stays unknown.
UPDATE log_epoch e
   SET place = log_place(), timeline = (SELECT timeline_id FROM pg_control_checkpoint())
 WHERE NOT EXISTS (SELECT FROM events
                    WHERE epoch = e.epoch AND written_by >= pg_snapshot_xmax(pg_current_snapshot()));
