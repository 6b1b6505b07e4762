-- What was done without as a list: by whom, when and why, page by page, events of read models beside commands and deliveries.

-- Why the read model did not take the event; null: it was discarded before this was kept.
ALTER TABLE projection_discards ADD COLUMN refused_because text;
CREATE INDEX projection_discards_discarded_at ON projection_discards (discarded_at);
