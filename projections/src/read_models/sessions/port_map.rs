//! The port map of a worker: which session holds which outside port, as allocated and as observed.
//!
//! A port of a worker is told apart by its layer 4 protocol and its number. Allocations say only names and numbers; what
//! was observed says the protocol too.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::lablet_session::SessionStatus;
use domain::port_drift::PortDrift;
use domain::port_tags::{ObservedPort, PortIntent, Transport};
use domain::ports::PortRange;
use domain::ports::{PortMap, PortName, PortNumber};
use domain::timeslot::Timeslot;
use domain::{DefinitionId, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{PortComparison, compare_ports};
use crate::page::{self, ListRow, Listed};
use crate::{Projections, ReadError, UnreadableRow};

/// Most sessions that are looked at.
const MOST_SESSIONS: usize = 2_000;
/// Most ports that are answered.
const MOST_ROWS: usize = 20_000;

/// Which session holds which port of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerPorts {
    /// The worker.
    pub worker_id: WorkerId,
    /// The outside ports that its address translation honours; null: the worker is not known here.
    pub port_range: Option<PortRange>,
    /// Sessions that hold ports: scheduled and not stopped yet.
    pub sessions: u64,
    /// Ports that several sessions hold at the same time.
    pub clashes: u64,
    /// Ports that the worker does not honour.
    pub out_of_range: u64,
    /// True: there is more than could be looked at, so that ports and clashes may be missing.
    pub cut: bool,
    /// The ports by number.
    pub ports: Vec<HeldPort>,
    /// Sessions that hold ports and whose rows cannot be read: their ports are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
}

/// One outside port of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldPort {
    /// The layer 4 protocol.
    pub l4_protocol: Transport,
    /// The number.
    pub outside: PortNumber,
    /// Whether the worker honours it; null: its range is not known here.
    pub in_range: Option<bool>,
    /// Whether several sessions hold it at the same time: both are up, or their timeslots overlap.
    pub clash: bool,
    /// Who holds it.
    pub holders: Vec<PortHolder>,
}

/// A session's hold on a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortHolder {
    /// The session.
    pub session_id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// The port's name in the session.
    pub name: PortName,
    /// How it is known to hold the port.
    pub source: HoldSource,
    /// How what was allocated and what was observed under this name compare.
    pub comparison: PortComparison,
    /// How the protocol is known.
    pub protocol_source: ProtocolSource,
    /// When the ports were observed; null: not yet.
    pub observed_at: Option<DateTime<Utc>>,
    /// The event of that observation.
    pub observed_event_id: Option<Uuid>,
    /// CML's id of the node that it leads to; null: not known.
    pub node_id: Option<String>,
    /// The node's label.
    pub node_label: Option<String>,
    /// What of the node it leads to.
    pub leads_to: Option<PortIntent>,
}

/// How a session is known to hold a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldSource {
    /// It was allocated, and not observed with this number, or not observed yet.
    Allocated,
    /// It was observed, and not allocated with this number.
    Observed,
    /// It was allocated and observed so.
    Both,
}

/// How the layer 4 protocol of a port is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolSource {
    /// The tag of the observed port says it.
    Observed,
    /// The port's name ends in a protocol, as the names of observed ports do.
    Name,
    /// Nothing says it: TCP is assumed.
    Assumed,
}

/// A session that holds ports.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Holding {
    id: SessionId,
    definition_id: DefinitionId,
    status: SessionStatus,
    allocated_ports: Option<PortMap>,
    observed_ports: Option<PortMap>,
    port_drift: Option<PortDrift>,
    verdict_observed_at: Option<DateTime<Utc>>,
    verdict_event_id: Option<Uuid>,
    timeslot: Option<Timeslot>,
    /// Of the newest observation, which may not be the one that `observed_ports` are of.
    ports: Option<Vec<ObservedPort>>,
}

/// Ports that are allocated to a session, or would be.
#[derive(Debug, Clone, Copy)]
pub struct Allocation<'a> {
    /// The session.
    pub session_id: &'a SessionId,
    /// Its definition.
    pub definition_id: &'a DefinitionId,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// When it is meant to run.
    pub timeslot: Option<Timeslot>,
    /// The ports.
    pub ports: &'a PortMap,
}

impl Allocation<'_> {
    /// Replaces what the row of its session says, or adds one: the row may be about to be written.
    fn put_among(&self, sessions: &mut Vec<Holding>) {
        if !SessionStatus::HOLDING_PORTS.contains(&self.status) {
            return;
        }
        let index = sessions.iter().position(|session| session.id == *self.session_id).unwrap_or_else(|| {
            sessions.push(Holding {
                id: self.session_id.clone(),
                definition_id: self.definition_id.clone(),
                status: self.status,
                allocated_ports: None,
                observed_ports: None,
                port_drift: None,
                verdict_observed_at: None,
                verdict_event_id: None,
                timeslot: None,
                ports: None,
            });
            sessions.len() - 1
        });
        if let Some(session) = sessions.get_mut(index) {
            session.status = self.status;
            session.timeslot = self.timeslot;
            session.allocated_ports = Some(self.ports.clone());
        }
    }
}

impl Projections {
    /// The port map of a worker, from its sessions that are scheduled and not stopped yet.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn port_map(&self, id: &WorkerId) -> Result<WorkerPorts, ReadError> {
        self.port_map_if(id, None).await
    }

    /// The port map of a worker as it would be with this allocation, whatever the rows show of its session.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn port_map_with(&self, id: &WorkerId, allocation: Allocation<'_>) -> Result<WorkerPorts, ReadError> {
        self.port_map_if(id, Some(allocation)).await
    }

    async fn port_map_if(&self, id: &WorkerId, allocation: Option<Allocation<'_>>) -> Result<WorkerPorts, ReadError> {
        // Of a worker whose row cannot be read the range is not known; who holds its ports still is.
        let (port_range, unreadable_worker) = match self.worker(id).await {
            Ok(worker) => (worker.map(|worker| worker.profile.port_range), None),
            Err(ReadError::Unreadable { row, .. }) => (None, Some(row)),
            Err(error) => return Err(error),
        };
        let mut query = QueryBuilder::new(page::select("id", "id"));
        query.push(
            "
                 SELECT id, definition_id, status, allocated_ports, observed_ports, port_drift, verdict_observed_at,
                        CASE WHEN timeslot_end IS NOT NULL
                             THEN json_build_object('start', timeslot_start, 'end', timeslot_end) END AS timeslot,
                        verdict_event_id, ports
                   FROM read_sessions.sessions
                  WHERE worker_id = ",
        );
        query.push_bind(id.as_str().to_owned());
        query.push(" AND status = ANY(").push_bind(SessionStatus::HOLDING_PORTS.map(SessionStatus::as_str)).push(")");
        query.push(" ORDER BY created_position LIMIT ").push_bind(i64::try_from(MOST_SESSIONS + 1).unwrap_or(i64::MAX));
        query.push(") r");
        let mut rows: Vec<ListRow<Holding>> = self.rows("port_holders", query).await?;
        let more_sessions = rows.len() > MOST_SESSIONS;
        rows.truncate(MOST_SESSIONS);
        let Listed { items: mut sessions, mut unreadable } = Listed::from_rows(rows);
        unreadable.extend(unreadable_worker);
        if let Some(allocation) = allocation {
            allocation.put_among(&mut sessions);
        }
        let mut ports = port_map(port_range, &sessions, self.log.clock().now());
        let more_ports = ports.len() > MOST_ROWS;
        ports.truncate(MOST_ROWS);
        Ok(WorkerPorts {
            worker_id: id.clone(),
            port_range,
            sessions: sessions.len() as u64,
            clashes: ports.iter().filter(|port| port.clash).count() as u64,
            out_of_range: ports.iter().filter(|port| port.in_range == Some(false)).count() as u64,
            cut: more_sessions || more_ports,
            ports,
            unreadable,
        })
    }
}

/// Who holds which port, by number and protocol.
fn port_map(range: Option<PortRange>, sessions: &[Holding], now: DateTime<Utc>) -> Vec<HeldPort> {
    let spans: BTreeMap<&SessionId, Span> =
        sessions.iter().map(|session| (&session.id, Span::new(session, now))).collect();
    let mut held: BTreeMap<(PortNumber, Transport), Vec<PortHolder>> = BTreeMap::new();
    for session in sessions {
        let seen: BTreeMap<(&PortName, PortNumber), &ObservedPort> =
            session.ports.iter().flatten().map(|seen| ((&seen.name, seen.tag.outside), seen)).collect();
        for row in compare_ports(
            session.allocated_ports.as_ref(),
            session.observed_ports.as_ref(),
            session.port_drift.as_ref(),
        ) {
            let holds = match (row.allocated, row.observed) {
                (Some(allocated), Some(observed)) if allocated == observed => {
                    [Some((allocated, HoldSource::Both)), None]
                }
                (allocated, observed) => [
                    allocated.map(|number| (number, HoldSource::Allocated)),
                    observed.map(|number| (number, HoldSource::Observed)),
                ],
            };
            for (outside, source) in holds.into_iter().flatten() {
                let seen = seen.get(&(row.observed_name.as_ref().unwrap_or(&row.name), outside));
                let (l4_protocol, protocol_source) = match seen {
                    Some(seen) => (seen.l4_protocol, ProtocolSource::Observed),
                    None => protocol_of(&row.name),
                };
                held.entry((outside, l4_protocol)).or_default().push(PortHolder {
                    session_id: session.id.clone(),
                    definition_id: session.definition_id.clone(),
                    status: session.status,
                    name: row.name.clone(),
                    source,
                    comparison: row.comparison,
                    protocol_source,
                    observed_at: session.verdict_observed_at,
                    observed_event_id: session.verdict_event_id,
                    node_id: seen.map(|seen| seen.node_id.to_string()),
                    node_label: seen.map(|seen| seen.node_label.to_string()),
                    leads_to: seen.map(|seen| seen.tag.intent.clone()),
                });
            }
        }
    }
    held.into_iter()
        .map(|((outside, l4_protocol), holders)| {
            let sessions: BTreeSet<&SessionId> = holders.iter().map(|holder| &holder.session_id).collect();
            HeldPort {
                l4_protocol,
                outside,
                in_range: range.map(|range| range.first() <= outside && outside <= range.last()),
                clash: overlap(sessions.iter().filter_map(|id| spans.get(id))),
                holders,
            }
        })
        .collect()
}

/// From when to when a session holds its ports; open where that is not known.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

impl Span {
    /// One that is up holds them now and until its timeslot has ended, which may have been long ago. One that is only
    /// scheduled holds them in its timeslot.
    fn new(session: &Holding, now: DateTime<Utc>) -> Self {
        let slot = session.timeslot.map(|timeslot| timeslot.occupied());
        if session.status == SessionStatus::Scheduled {
            Self { from: slot.map(|(from, _)| from), until: slot.map(|(_, until)| until) }
        } else {
            Self { from: None, until: slot.map(|(_, until)| until.max(now)) }
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let before = |from: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>| {
            from.is_none() || until.is_none() || from < until
        };
        before(self.from, other.until) && before(other.from, self.until)
    }
}

/// Whether any two of them hold the same at the same time.
fn overlap<'a>(spans: impl Iterator<Item = &'a Span>) -> bool {
    let spans: Vec<&Span> = spans.collect();
    spans.iter().enumerate().any(|(index, one)| spans[index + 1..].iter().any(|other| one.overlaps(other)))
}

/// The protocol by the name of a port. Who allocates may have named a port otherwise.
fn protocol_of(name: &PortName) -> (Transport, ProtocolSource) {
    match name.description() {
        Some(described) => (described.transport, ProtocolSource::Name),
        None => (Transport::Tcp, ProtocolSource::Assumed),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn holding(id: &str, changes: Value) -> Holding {
        let mut holding = json!({"id": id, "definition_id": "ospf", "status": "running", "allocated_ports": null,
            "observed_ports": null, "port_drift": null, "verdict_observed_at": null, "verdict_event_id": null, "ports": null});
        for (name, value) in changes.as_object().unwrap() {
            holding[name] = value.clone();
        }
        serde_json::from_value(holding).unwrap()
    }

    fn range() -> Option<PortRange> {
        PortRange::new(PortNumber::new(2000).unwrap(), PortNumber::new(7999).unwrap()).ok()
    }

    fn mapped(range: Option<PortRange>, sessions: &[Holding]) -> Vec<HeldPort> {
        port_map(range, sessions, "2026-03-01T10:00:00Z".parse().unwrap())
    }

    #[test]
    fn sessions_clash_only_where_they_hold_a_port_at_the_same_time() {
        let slot = |start: &str, end: &str| json!({"start": start, "end": end});
        let morning = slot("2026-03-01T08:00:00Z", "2026-03-01T09:00:00Z");
        let noon = slot("2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z");
        let afternoon = slot("2026-03-01T13:20:00Z", "2026-03-01T14:00:00Z");
        let evening = slot("2026-03-01T18:00:00Z", "2026-03-01T19:00:00Z");
        for ((one, slot_of_one), (other, slot_of_other), clash) in [
            (("running", &morning), ("running", &noon), true),
            (("running", &morning), ("scheduled", &evening), false),
            (("running", &Value::Null), ("scheduled", &evening), true),
            (("scheduled", &noon), ("scheduled", &evening), false),
            (("scheduled", &noon), ("scheduled", &afternoon), true),
            (("scheduled", &Value::Null), ("scheduled", &evening), true),
        ] {
            let of = |id: &str, status: &str, slot: &Value| {
                holding(id, json!({"status": status, "timeslot": slot, "allocated_ports": {"PC_serial": 5041}}))
            };
            let ports = mapped(range(), &[of("s-1", one, slot_of_one), of("s-2", other, slot_of_other)]);
            assert_eq!(ports[0].clash, clash, "{one} {slot_of_one}, {other} {slot_of_other}");
        }
    }

    fn told(ports: &[HeldPort]) -> Vec<String> {
        let holder = |holder: &PortHolder| format!("{} {} {:?}", holder.session_id, holder.name, holder.source);
        ports
            .iter()
            .map(|port| {
                let holders: Vec<String> = port.holders.iter().map(holder).collect();
                let clash = if port.clash { " clash" } else { "" };
                format!("{:?} {}{clash}: {}", port.l4_protocol, port.outside, holders.join(", "))
            })
            .collect()
    }

    #[test]
    fn a_port_is_held_by_allocation_by_observation_or_by_both() {
        let ports = mapped(
            range(),
            &[holding(
                "s-1",
                json!({"allocated_ports": {"PC_serial": 5041, "PC_vnc": 5042, "R1_tcp": 5043},
                       "observed_ports": {"PC_serial": 5041, "PC_vnc": 5142, "R2_serial": 9000}}),
            )],
        );
        assert_eq!(
            told(&ports),
            [
                "Tcp 5041: s-1 PC_serial Both",
                "Tcp 5042: s-1 PC_vnc Allocated",
                "Tcp 5043: s-1 R1_tcp Allocated",
                "Tcp 5142: s-1 PC_vnc Observed",
                "Tcp 9000: s-1 R2_serial Observed",
            ]
        );
        assert_eq!(ports[2].holders[0].comparison, PortComparison::Removed);
        assert_eq!(ports[3].holders[0].comparison, PortComparison::Changed);
        let in_range: Vec<_> = ports.iter().map(|port| port.in_range).collect();
        assert_eq!(in_range, [Some(true), Some(true), Some(true), Some(true), Some(false)]);
        let unknown = mapped(None, &[holding("s-1", json!({"allocated_ports": {"PC_serial": 5041}}))]);
        assert_eq!((unknown[0].in_range, unknown[0].holders[0].comparison), (None, PortComparison::Unknown));
    }

    #[test]
    fn two_sessions_on_one_port_clash_and_two_protocols_do_not() {
        let ports = mapped(
            range(),
            &[
                holding("s-1", json!({"allocated_ports": {"PC_serial": 5041, "R1_udp": 5050}})),
                holding("s-2", json!({"observed_ports": {"PC_serial": 5041, "R1_tcp": 5050}})),
                holding("s-3", json!({"allocated_ports": {"a": 5060}, "observed_ports": {"b": 5060}})),
            ],
        );
        assert_eq!(
            told(&ports),
            [
                "Tcp 5041 clash: s-1 PC_serial Allocated, s-2 PC_serial Observed",
                "Tcp 5050: s-2 R1_tcp Observed",
                "Udp 5050: s-1 R1_udp Allocated",
                "Tcp 5060: s-3 a Allocated, s-3 b Observed",
            ],
            "a session does not clash with itself"
        );
    }

    #[test]
    fn what_was_observed_tells_the_protocol_and_else_the_name_and_else_nothing() {
        let seen = json!({"name": "port", "node_id": "n-1", "node_label": "R1", "outside": 5041, "kind": "forward",
                          "transport": "udp", "inside": 161, "l4_protocol": "udp", "honoured": true});
        let session = json!({"allocated_ports": {"port": 5041}, "observed_ports": {"port": 5041}, "ports": [seen]});
        let ports = mapped(range(), &[holding("s-1", session)]);
        let holder = &ports[0].holders[0];
        assert_eq!((ports[0].l4_protocol, holder.protocol_source), (Transport::Udp, ProtocolSource::Observed));
        assert_eq!(holder.node_label.as_deref(), Some("R1"));

        for (name, protocol, source) in [
            ("R1_udp", Transport::Udp, ProtocolSource::Name),
            ("R1_udp_161", Transport::Udp, ProtocolSource::Name),
            ("R1_udp_161_2", Transport::Udp, ProtocolSource::Name),
            ("my_udp_serial", Transport::Tcp, ProtocolSource::Name),
            ("PC_serial_1", Transport::Tcp, ProtocolSource::Name),
            ("udp", Transport::Tcp, ProtocolSource::Assumed),
            ("console", Transport::Tcp, ProtocolSource::Assumed),
            ("5041", Transport::Tcp, ProtocolSource::Assumed),
        ] {
            assert_eq!(protocol_of(&PortName::parse(name).unwrap()), (protocol, source), "{name}");
        }
    }
}
