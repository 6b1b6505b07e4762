//! `docs/session-life.svg`: the states of a session and the steps between them, drawn from the code.
//!
//! The states through which a session goes when all is well stand in a row. What ends it early is a bar, which arrows lead to.

use std::fmt::Write as _;

use domain::lablet_session::SessionStatus;

/// In pixels, as all numbers here: a box, and the distance from one to the next.
const BOX: (i32, i32) = (96, 34);
const STEP: i32 = 116;
const LEFT: i32 = 10;
const TERMINATED_AT: i32 = 10;
const ROW_AT: i32 = 130;
const EXPIRED_AT: i32 = 230;

const STYLE: &str = "text{font:13px sans-serif;text-anchor:middle;fill:#1f2933}\
rect{fill:#eef2f6;stroke:#52606d}path{fill:none;stroke:#52606d;marker-end:url(#head)}marker path{fill:#52606d;stroke:none}\
@media(prefers-color-scheme:dark){text{fill:#e4e7eb}rect{fill:#323f4b;stroke:#9aa5b1}path{stroke:#9aa5b1}marker path{fill:#9aa5b1}}";

/// The diagram.
pub fn session_life() -> String {
    let row: Vec<SessionStatus> = SessionStatus::ALL.into_iter().filter(|status| bar_at(*status).is_none()).collect();
    let place =
        |status: SessionStatus| row.iter().position(|other| *other == status).and_then(|at| i32::try_from(at).ok());
    let width = LEFT * 2 + STEP * i32::try_from(row.len()).unwrap_or(i32::MAX) - (STEP - BOX.0);
    let height = EXPIRED_AT + BOX.1 + 10;
    let mut drawn = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"The life of a session\">\n<style>{STYLE}</style>\n<defs><marker id=\"head\" viewBox=\"0 0 8 8\" \
         refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n"
    );
    for status in SessionStatus::ALL {
        // A bar is as wide as the states that lead to it.
        let from = SessionStatus::ALL.into_iter().filter(|from| from.next().contains(&status)).filter_map(place);
        let (x, y, across) = match (place(status), bar_at(status)) {
            (Some(at), _) => (left_of(at), ROW_AT, BOX.0),
            (None, bar) => {
                let columns: Vec<i32> = from.collect();
                let (first, last) = (columns.iter().min().copied(), columns.iter().max().copied());
                let (first, last) = (left_of(first.unwrap_or(0)), left_of(last.unwrap_or(0)) + BOX.0);
                (first, bar.unwrap_or(EXPIRED_AT), last - first)
            }
        };
        // Where a bar leads to another one, its name says so: a line would cross the whole picture.
        let leads_to: Vec<&str> =
            status.next().iter().filter(|_| bar_at(status).is_some()).map(|next| next.as_str()).collect();
        let name =
            if leads_to.is_empty() { status.to_string() } else { format!("{status}, then {}", leads_to.join(", ")) };
        let _ = writeln!(
            drawn,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{across}\" height=\"{}\" rx=\"5\"/>\
             <text x=\"{}\" y=\"{}\">{name}</text>",
            BOX.1,
            x + across / 2,
            y + BOX.1 / 2 + 5
        );
        let Some(at) = place(status) else { continue };
        for next in status.next() {
            let (left, right) = (left_of(at), left_of(at) + BOX.0);
            let _ = match (place(*next), bar_at(*next)) {
                (Some(to), _) if to == at + 1 => {
                    let middle = ROW_AT + BOX.1 / 2;
                    writeln!(drawn, "<path d=\"M{right} {middle}H{}\"/>", left_of(to))
                }
                // What is skipped is passed above.
                (Some(to), _) => {
                    let (from, to, above) = (right - 24, left_of(to) + BOX.0 / 2, ROW_AT - 22 * (to - at));
                    writeln!(drawn, "<path d=\"M{from} {ROW_AT}C{from} {above} {to} {above} {to} {ROW_AT}\"/>")
                }
                (None, Some(bar)) if bar < ROW_AT => {
                    writeln!(drawn, "<path d=\"M{} {ROW_AT}V{}\"/>", left + 24, bar + BOX.1)
                }
                (None, _) => writeln!(drawn, "<path d=\"M{} {}V{EXPIRED_AT}\"/>", left + BOX.0 / 2, ROW_AT + BOX.1),
            };
        }
    }
    drawn.push_str("</svg>\n");
    drawn
}

fn left_of(column: i32) -> i32 {
    LEFT + STEP * column
}

/// Where the bar of a state is that ends a session early; `None` of one in the row.
fn bar_at(status: SessionStatus) -> Option<i32> {
    match status {
        SessionStatus::Terminated => Some(TERMINATED_AT),
        SessionStatus::Expired => Some(EXPIRED_AT),
        _ => None,
    }
}
