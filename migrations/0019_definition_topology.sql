-- A definition's version, which its proposals do not raise, beside the sequence of its last event; and its stated topology.

SET LOCAL ROLE lablet_app;

DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_definitions', 'read_definitions_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.definitions') IS NULL;
        EXECUTE format('ALTER TABLE %I.definitions ADD COLUMN content_sequence bigint, ADD COLUMN topology jsonb', tables);
        EXECUTE format('UPDATE %I.definitions SET content_sequence = sequence', tables);
        EXECUTE format('ALTER TABLE %I.definitions ALTER COLUMN content_sequence SET NOT NULL', tables);
    END LOOP;
END
$$;

-- Where nothing was applied yet, there is nothing to be made again.
UPDATE read_definitions.checkpoint SET revision = 4 WHERE position LIKE '0000000000-%' AND revision = 3;

RESET ROLE;
