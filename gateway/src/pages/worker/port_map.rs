//! The port map: a strip that shows where in the worker's range ports are held, and who holds each.
//!
//! A worker may have thousands of ports in use; a page shows some of them, and the strip counts all.

use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::port_tags::{PortIntent, Transport};
use domain::ports::PortNumber;
use domain::ports::PortRange;
use domain::{Invalid, WorkerId};
use projections::read_models::sessions::port_map::{HoldSource, ProtocolSource};
use projections::read_models::sessions::{HeldPort, PortComparison, PortHolder, WorkerPorts};
use serde::{Deserialize, Serialize};

use super::WorkerQuery;
use crate::pages::named_row::NamedRow;
use crate::pages::parts::{Badge, Tone, counted};
use crate::pages::table::{Column, cell, csv_of, time};
use crate::paging::check_text;
use crate::problem::Problem;
use crate::queries::Queries;

/// Rows of a page. A port that several sessions hold has as many rows.
const MOST_ROWS: usize = 50;
/// Cells of the strip.
const CELLS: u32 = 60;
/// Width of a cell, in the strip's own measure, and of what is painted of it.
const CELL: u32 = 10;

/// A mark of a port, by which the map can be narrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Marked {
    /// Held by several sessions.
    Clash,
    /// Not honoured by the worker.
    OutOfRange,
    /// Other than allocated.
    Drifted,
    /// Allocated, and not looked at yet.
    NotObserved,
}

/// What the map can be narrowed to: value, words, and whether it is.
pub(super) fn marks(chosen: Option<Marked>) -> Vec<(&'static str, &'static str, bool)> {
    vec![
        ("", "All ports", chosen.is_none()),
        ("clash", "Clashes", chosen == Some(Marked::Clash)),
        ("out_of_range", "Outside the range", chosen == Some(Marked::OutOfRange)),
        ("drifted", "Other than allocated", chosen == Some(Marked::Drifted)),
        ("not_observed", "Not observed yet", chosen == Some(Marked::NotObserved)),
    ]
}

/// Which ports are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PortFilter {
    marked: Option<Marked>,
    text: Option<String>,
    after: Option<(PortNumber, Transport)>,
}

impl PortFilter {
    /// What the page's address says.
    ///
    /// # Errors
    /// [`Invalid`] for a text that is none, and a place that this page did not give.
    pub(super) fn from_query(query: &WorkerQuery) -> Result<Self, Invalid> {
        let expected = "a port and its protocol, as the link to the next ports gives them";
        let after = query.after.as_deref().map(|after| {
            let (outside, protocol) = after.split_once('-')?;
            let protocol = [Transport::Tcp, Transport::Udp].into_iter().find(|known| transport(known) == protocol)?;
            Some((PortNumber::new(outside.parse().ok()?).ok()?, protocol))
        });
        let after = match after {
            None => None,
            Some(Some(after)) => Some(after),
            Some(None) => return Err(Invalid::new("after", "is no place in the list", expected)),
        };
        let text = check_text("text", query.text.clone())?.map(|text| text.trim().to_lowercase());
        Ok(Self { marked: query.marked, text: text.filter(|text| !text.is_empty()), after })
    }

    fn wants(&self, port: &HeldPort) -> bool {
        let any = |wanted: fn(&PortHolder) -> bool| port.holders.iter().any(wanted);
        let marked = match self.marked {
            None => true,
            Some(Marked::Clash) => port.clash,
            Some(Marked::OutOfRange) => port.in_range == Some(false),
            Some(Marked::Drifted) => any(|holder| differs(&holder.comparison)),
            Some(Marked::NotObserved) => any(|holder| holder.comparison == PortComparison::Unknown),
        };
        let contains = |text: &String| {
            port.outside.to_string() == *text
                || port.holders.iter().any(|holder| {
                    [holder.session_id.as_str(), holder.definition_id.as_str(), holder.name.as_str()]
                        .iter()
                        .any(|part| part.to_lowercase().contains(text.as_str()))
                })
        };
        marked && self.text.as_ref().is_none_or(contains)
    }
}

/// The map as a page shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PortMapView {
    /// The whole in a sentence.
    pub(super) summary: String,
    /// Where in the range ports are held; none where the range is not known.
    pub(super) strip: Vec<Cell>,
    /// How many of the ports are asked for.
    pub(super) matching: usize,
    /// A page of them, with a row for each holder.
    pub(super) rows: Vec<Row>,
    /// Where the next page begins.
    pub(super) next: Option<String>,
    /// Whether there is more than was looked at.
    pub(super) cut: bool,
    /// Whether any port is held.
    pub(super) is_empty: bool,
}

/// One holder of one port.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) outside: PortNumber,
    pub(super) protocol: &'static str,
    pub(super) in_range: Option<bool>,
    pub(super) clash: bool,
    pub(super) holder: PortHolder,
}

/// Some neighbouring ports of the strip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) x: u32,
    pub(super) width: u32,
    pub(super) class: &'static str,
    pub(super) words: String,
}

impl PortMapView {
    /// The part of the map that is asked for.
    pub(super) fn new(held: &WorkerPorts, filter: &PortFilter) -> Self {
        let wanted: Vec<&HeldPort> = held.ports.iter().filter(|port| filter.wants(port)).collect();
        let mut rows = Vec::new();
        let mut next = None;
        let after = |port: &&&HeldPort| filter.after.is_none_or(|after| (port.outside, port.l4_protocol) > after);
        let mut last = None;
        for port in wanted.iter().filter(after) {
            if !rows.is_empty() && rows.len() + port.holders.len() > MOST_ROWS {
                next = last;
                break;
            }
            rows.extend(port.holders.iter().take(MOST_ROWS).map(|holder| row(port, holder)));
            last = Some(format!("{}-{}", port.outside, transport(&port.l4_protocol)));
        }
        Self {
            summary: summary(held),
            strip: held.port_range.map(|range| strip(&range, &held.ports)).unwrap_or_default(),
            matching: wanted.len(),
            rows,
            next,
            cut: held.cut,
            is_empty: held.ports.is_empty(),
        }
    }
}

fn row(port: &HeldPort, holder: &PortHolder) -> Row {
    let protocol = transport(&port.l4_protocol);
    Row {
        id: format!("p-{}-{protocol}-{}-{}", port.outside, holder.session_id, holder.name.as_str()),
        outside: port.outside,
        protocol,
        in_range: port.in_range,
        clash: port.clash,
        holder: holder.clone(),
    }
}

fn summary(held: &WorkerPorts) -> String {
    let ports = counted(&(held.ports.len() as u64), "port");
    let hold = if held.sessions == 1 { "holds" } else { "hold" };
    let sessions = counted(&held.sessions, "session");
    let outside = held.ports.iter().filter(|port| port.in_range == Some(false)).count();
    let clashes = match held.clashes {
        0 => "no clash".to_owned(),
        1 => "1 clash".to_owned(),
        count => format!("{count} clashes"),
    };
    let range = held.port_range.map_or_else(
        || "the worker's range is not known".to_owned(),
        |range| match outside {
            0 => format!("none outside {} to {}", range.first(), range.last()),
            count => format!("{count} outside {} to {}", range.first(), range.last()),
        },
    );
    format!("{sessions} {hold} {ports}: {clashes}, {range}.")
}

/// The range in cells of equally many ports, each with how many of them are held.
fn strip(range: &PortRange, ports: &[HeldPort]) -> Vec<Cell> {
    let (first, last) = (u32::from(range.first().get()), u32::from(range.last().get()));
    let of_each = (last - first + 1).div_ceil(CELLS);
    let cells = (last - first + 1).div_ceil(of_each);
    let width = CELLS * CELL / cells;
    (0..cells)
        .map(|cell| {
            let (from, until) = (first + cell * of_each, last.min(first + (cell + 1) * of_each - 1));
            let of_cell = |port: &&HeldPort| (from..=until).contains(&u32::from(port.outside.get()));
            let (mut held, mut clashes) = (0_u64, 0_u64);
            for port in ports.iter().filter(of_cell) {
                held += 1;
                clashes += u64::from(port.clash);
            }
            let class = match (held, clashes) {
                (0, _) => "free",
                (_, 0) if held * 4 <= u64::from(of_each) => "some",
                (_, 0) => "many",
                (..) => "clash",
            };
            let mut words =
                if from == until { format!("{from}: {held} held") } else { format!("{from} to {until}: {held} held") };
            if clashes > 0 {
                words.push_str(&format!(", {clashes} by several sessions"));
            }
            Cell { x: cell * width, width: width - 1, class, words }
        })
        .collect()
}

pub(super) fn transport(transport: &Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

/// Whether a port is other than allocated.
pub(super) fn differs(comparison: &PortComparison) -> bool {
    match comparison {
        PortComparison::Added | PortComparison::Removed | PortComparison::Changed => true,
        PortComparison::AsPlanned | PortComparison::Renamed | PortComparison::Unallocated | PortComparison::Unknown => {
            false
        }
    }
}

/// Whether the number was allocated.
pub(super) fn allocated(holder: &PortHolder) -> &'static str {
    match (holder.source, holder.comparison) {
        (HoldSource::Allocated | HoldSource::Both, _) => "yes",
        (HoldSource::Observed, PortComparison::Unallocated) => "nothing was",
        (HoldSource::Observed, _) => "no",
    }
}

/// Whether the number was observed, and when; `Err` says why there is no time.
pub(super) fn observed(holder: &PortHolder) -> Result<DateTime<Utc>, &'static str> {
    match (holder.source, holder.observed_at) {
        (HoldSource::Observed | HoldSource::Both, Some(at)) => Ok(at),
        (HoldSource::Observed | HoldSource::Both, None) => Err("yes"),
        (HoldSource::Allocated, _) if holder.comparison == PortComparison::Unknown => Err("not yet"),
        (HoldSource::Allocated, _) => Err("no"),
    }
}

/// The node and the line behind the port; `None`: unknown.
pub(super) fn target(holder: &PortHolder) -> Option<String> {
    let what = match holder.leads_to.as_ref()? {
        PortIntent::Forward { transport: protocol, inside } => format!("{} {inside}", transport(protocol)),
        PortIntent::Serial { line: 0 } => "console".to_owned(),
        PortIntent::Serial { line } => format!("line {line}"),
        PortIntent::Vnc => "screen".to_owned(),
        PortIntent::Named { intent } => intent.to_string(),
    };
    match holder.node_label.as_deref().map(str::trim).filter(|label| !label.is_empty()) {
        Some(label) => Some(format!("{label}, {what}")),
        None => Some(what),
    }
}

/// Whether the protocol is only assumed.
pub(super) fn is_assumed(holder: &PortHolder) -> bool {
    holder.protocol_source == ProtocolSource::Assumed
}

pub(super) fn clash() -> Badge {
    Badge::new(Tone::Bad, "‼", "clash")
}

pub(super) fn out_of_range() -> Badge {
    Badge::new(Tone::Warn, "⇥", "outside the range")
}

/// The ports that are asked for, all of them, as CSV.
///
/// # Errors
/// The database does not answer.
pub(super) async fn ports_as_csv(
    queries: &Queries,
    id: &WorkerId,
    held: &WorkerPorts,
    filter: &PortFilter,
) -> Result<Response, Problem> {
    let wanted = held.ports.iter().filter(|port| filter.wants(port));
    let rows: Vec<Row> = wanted.flat_map(|port| port.holders.iter().map(move |holder| row(port, holder))).collect();
    let rows = NamedRow::all(queries, rows, |row| &row.holder.session_id).await?;
    csv_of(&format!("port-map-{id}"), &COLUMNS, &rows)
}

const COLUMNS: [Column<NamedRow<Row>>; 15] = [
    ("outside_port", |named| named.row.outside.to_string()),
    ("protocol", |named| named.row.protocol.to_owned()),
    ("protocol_assumed", |named| is_assumed(&named.row.holder).to_string()),
    ("in_range", |named| cell(named.row.in_range.as_ref())),
    ("clash", |named| named.row.clash.to_string()),
    ("session_id", |named| named.row.holder.session_id.to_string()),
    ("session_starts_at", NamedRow::starts_at),
    ("definition_id", |named| named.row.holder.definition_id.to_string()),
    ("definition_name", NamedRow::definition_name),
    ("status", |named| named.row.holder.status.to_string()),
    ("name", |named| named.row.holder.name.as_str().to_owned()),
    ("allocated", |named| allocated(&named.row.holder).to_owned()),
    ("comparison", |named| Badge::comparison(&named.row.holder.comparison).words),
    ("observed_at", |named| observed(&named.row.holder).map(|at| time(&at)).unwrap_or_default()),
    ("target", |named| cell(target(&named.row.holder).as_ref())),
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn holder(session: &str, source: &str, comparison: &str) -> Value {
        json!({"session_id": session, "definition_id": "ospf", "status": "running", "name": "PC_serial",
            "source": source, "comparison": comparison, "protocol_source": "name", "observed_at": null,
            "observed_event_id": null, "node_id": null, "node_label": null, "leads_to": null})
    }

    fn held(ports: &[(u16, &[Value])]) -> WorkerPorts {
        let ports: Vec<Value> = ports
            .iter()
            .map(|(outside, holders)| {
                json!({"l4_protocol": "tcp", "outside": outside, "in_range": (2000..8000).contains(outside),
                    "clash": holders.len() > 1, "holders": holders})
            })
            .collect();
        let clashes = ports.iter().filter(|port| port["clash"] == true).count();
        let out_of_range = ports.iter().filter(|port| port["in_range"] == false).count();
        serde_json::from_value(json!({"worker_id": "w1", "port_range": {"first": 2000, "last": 7999}, "sessions": 2,
            "clashes": clashes, "out_of_range": out_of_range, "cut": false, "ports": ports}))
        .unwrap()
    }

    fn shown(view: &PortMapView) -> Vec<String> {
        view.rows.iter().map(|row| format!("{} {}", row.outside, row.holder.session_id)).collect()
    }

    #[test]
    fn a_clash_and_a_port_outside_are_counted_and_can_be_asked_for_alone() {
        let both = [holder("s1", "both", "as_planned"), holder("s2", "allocated", "unknown")];
        let held = held(&[(2001, &[holder("s1", "allocated", "removed")]), (5041, &both), (9000, &both[..1])]);
        let all = PortMapView::new(&held, &PortFilter::default());
        assert_eq!(all.summary, "2 sessions hold 3 ports: 1 clash, 1 outside 2000 to 7999.");
        assert_eq!(shown(&all), ["2001 s1", "5041 s1", "5041 s2", "9000 s1"]);
        let only =
            |marked| shown(&PortMapView::new(&held, &PortFilter { marked: Some(marked), ..PortFilter::default() }));
        assert_eq!(only(Marked::Clash), ["5041 s1", "5041 s2"]);
        assert_eq!(only(Marked::OutOfRange), ["9000 s1"]);
        assert_eq!(only(Marked::Drifted), ["2001 s1"]);
        assert_eq!(only(Marked::NotObserved), ["5041 s1", "5041 s2"]);
        let text = |text: &str| {
            let query = WorkerQuery { text: Some(text.to_owned()), ..WorkerQuery::default() };
            shown(&PortMapView::new(&held, &PortFilter::from_query(&query).unwrap()))
        };
        assert_eq!(text("9000"), ["9000 s1"]);
        assert_eq!(text("S2"), ["5041 s1", "5041 s2"]);
    }

    #[test]
    fn a_page_goes_on_where_the_one_before_ended_and_leaves_nothing_out() {
        let one = [holder("s1", "both", "as_planned")];
        let numbers: Vec<u16> = (3000..3130).collect();
        let ports: Vec<(u16, &[Value])> = numbers.iter().map(|number| (*number, one.as_slice())).collect();
        let (held, mut seen, mut after) = (held(&ports), 0, None);
        loop {
            let query = WorkerQuery { after: after.clone(), ..WorkerQuery::default() };
            let view = PortMapView::new(&held, &PortFilter::from_query(&query).unwrap());
            assert!(view.rows.len() <= MOST_ROWS && view.matching == 130);
            seen += view.rows.len();
            after = view.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, 130);
        for foreign in ["x", "3000", "3000-sctp", "70000-tcp"] {
            let query = WorkerQuery { after: Some(foreign.to_owned()), ..WorkerQuery::default() };
            assert!(PortFilter::from_query(&query).is_err(), "{foreign}");
        }
    }

    #[test]
    fn the_strip_covers_the_range_and_counts_every_port_once() {
        let one = [holder("s1", "both", "as_planned")];
        let strip = PortMapView::new(&held(&[(2000, &one), (2099, &one), (7999, &one)]), &PortFilter::default()).strip;
        assert_eq!(strip.len(), 60);
        assert_eq!(strip[0].words, "2000 to 2099: 2 held");
        assert_eq!((strip[59].words.as_str(), strip[59].class), ("7900 to 7999: 1 held", "some"));
        let port = |number| PortNumber::new(number).unwrap();
        let narrow = super::strip(&PortRange::new(port(5), port(5)).unwrap(), &[]);
        assert_eq!(narrow, [Cell { x: 0, width: 599, class: "free", words: "5: 0 held".to_owned() }]);
    }

    #[test]
    fn what_was_not_looked_at_is_not_said_to_be_absent() {
        let of = |source: &str, comparison: &str| {
            let holder: PortHolder = serde_json::from_value(holder("s1", source, comparison)).unwrap();
            (allocated(&holder), observed(&holder))
        };
        assert_eq!(of("allocated", "unknown"), ("yes", Err("not yet")));
        assert_eq!(of("allocated", "removed"), ("yes", Err("no")));
        assert_eq!(of("observed", "unallocated").0, "nothing was");
    }
}
