-- Nobody but an analyst asks for the nodes of all labs by what they are, and reads most of them then; every node of every
-- observation paid for the index over them as much as for its row.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same structure.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_observations', 'read_observations_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.observation_nodes') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        -- Tables of a rebuild have indexes of the same names.
        DROP INDEX IF EXISTS observation_nodes_node_definition_image_definition_idx;
    END LOOP;
END
$$;

RESET ROLE;
SET LOCAL search_path = public;
