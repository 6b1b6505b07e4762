//! One more command on a session with many observations, beside one with few.

use anyhow::ensure;
use tokio::time::Instant;

use crate::effort::Effort;
use crate::history::{self, History};
use crate::http;
use crate::http_client::{Connection, address};
use crate::surroundings::{INTERNAL_KEY, Surroundings};
use crate::table::{self, Comparison, Target, Unit};

const LONG: usize = 12_000;
const SHORT: usize = 200;
/// Commands on each in a round.
const COMMANDS: usize = 100;
const TARGET: f64 = 0.9;

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let database = surroundings.database("long_session").await?;
    let long = History {
        name: "long".to_owned(),
        definitions: 1,
        sessions: 1,
        observations: effort.size(LONG).max(2 * SHORT),
    };
    // A round has a short session of its own, so that it stays short.
    let short = History { name: "short".to_owned(), definitions: 1, sessions: effort.rounds, observations: SHORT };
    long.write(&database.pool).await?;
    short.write(&database.pool).await?;
    let (gateway, url) = surroundings.gateway_alone(&database).await?;
    let mut connection = Connection::open(address(&url)?).await?;
    table::group("One more command on a long session", &format!("a session of {SHORT} observations"))?;
    let title = format!("commands on a session of {} observations, gateway alone", long.observations);
    let mut line = Comparison::new(title, Unit::PerSecond, Target::RatioAtLeast(TARGET));
    for round in 0..effort.rounds {
        let on_short = commands(&mut connection, &short.session(round)).await?;
        let on_long = commands(&mut connection, &long.session(0)).await?;
        line.add(on_long, on_short);
    }
    table::print(&line)?;
    gateway.stop().await
}

/// Commands a second on one session, which the first one loads.
async fn commands(connection: &mut Connection, session: &str) -> anyhow::Result<f64> {
    let body = history::report();
    let mut started = Instant::now();
    for number in 0..=COMMANDS {
        if number == 1 {
            started = Instant::now();
        }
        let answer = connection.send(&http::report(session, INTERNAL_KEY, &body)).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
    }
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    Ok(COMMANDS as f64 / started.elapsed().as_secs_f64())
}
