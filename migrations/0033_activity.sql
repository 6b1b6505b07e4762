-- Who changed what, newest first, among the millions of events by which sessions live. The index holds only the events by
-- which somebody changed something; whether one is among them is a comparison of its type, which costs an append next to
-- nothing. An index over the actor would hold every event.
CREATE INDEX events_changes ON events (epoch, written_by, position) WHERE event_type IN (
    'lablet_definition.created', 'lablet_definition.revised', 'lablet_definition.policy_set',
    'lablet_definition.proposal_claimed', 'lablet_definition.proposal_applied',
    'lablet_definition.proposal_failed', 'lablet_definition.proposal_dismissed', 'advice_policy.set',
    'worker.registered', 'worker.changed', 'lablet_session.evidence_excluded',
    'lablet_session.evidence_included', 'lablet_session.port_drift_acknowledged',
    'lablet_session.allocation_corrected');
