//! One row that cannot be read takes no other with it: whatever Postgres can hold in whichever column, every question is
//! answered, with what can be read and with a name for what cannot.

use advice::scope::SessionScope;
use app::log::Position;
use domain::lablet_session::SessionStatus;
use domain::{DefinitionId, RequestId, SessionId, WorkerId};
use projections::port_drift::DriftedPortFilter;
use projections::read_models::definitions::{DefinitionFilter, DefinitionSort};
use projections::read_models::observation_requests::RequestFilter;
use projections::read_models::observations::{NodeFilter, ObservationFilter};
use projections::read_models::sessions::{SessionFilter, SessionSort};
use projections::search::SearchDepth;
use projections::{PageRequest, ReadError, ReadModel};
use serde_json::json;
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;

use crate::given::{World, seen};

/// What Postgres can hold in a column of this type and this build cannot, or should not, read.
fn nasty(table: &str, data_type: &str, column: &str) -> &'static [&'static str] {
    match (data_type, column) {
        // A row's place in its list is what a page goes on from; the database itself keeps it in order.
        ("text", "position" | "created_position") if !table.ends_with(".checkpoint") => &[],
        ("timestamp with time zone", _) => {
            &["'infinity'", "'294276-12-31 23:59:59.999999+00'", "'4713-01-01 00:00Z BC'"]
        }
        ("integer" | "bigint", _) => &["-1"],
        ("double precision", _) => &["'NaN'", "'Infinity'", "-1", "1.7e308"],
        ("jsonb", _) => &["'7'", r#"'{"a": {"b": []}}'"#],
        ("text", "status" | "outcome" | "phase") => &["'flying'"],
        ("text", _) => &["'no id: ¿?'"],
        _ => &[],
    }
}

struct Column {
    table: String,
    name: String,
    data_type: String,
}

/// The columns of these read models, save those that Postgres makes itself.
async fn columns(world: &World, schemas: &[&str]) -> Vec<Column> {
    let statement = "SELECT table_schema || '.' || table_name, column_name::text, data_type::text
          FROM information_schema.columns
         WHERE table_schema = ANY($1) AND is_generated = 'NEVER' ORDER BY table_schema, table_name, ordinal_position";
    let found: Vec<(String, String, String)> =
        sqlx::query_as(statement).bind(schemas).fetch_all(&world.database.pool()).await.unwrap();
    found.into_iter().map(|(table, name, data_type)| Column { table, name, data_type }).collect()
}

async fn execute(world: &World, statement: String) -> u64 {
    let shown = statement.clone();
    match sqlx::query(AssertSqlSafe(statement)).execute(&world.database.pool()).await {
        Ok(done) => done.rows_affected(),
        // What the table itself refuses nobody has to read.
        Err(sqlx::Error::Database(error)) if error.is_check_violation() => 0,
        Err(error) => panic!("{shown}: {error}"),
    }
}

/// Two of everything, one of which will be spoilt, and a parked session.
async fn filled() -> World {
    let world = World::new().await;
    for id in ["ospf", "bgp"] {
        world.definition(id).await;
        world.revise(id, 4, &[]).await;
    }
    world.worker("cml-1").await;
    world.worker("cml-2").await;
    for worker in ["cml-1", "cml-2"] {
        let known = json!({"short_of_cpu": true, "queued_nodes": 2, "longest_wait_seconds": 5, "running_nodes": 3,
            "short_of_memory": false, "short_of_storage": false, "free_cpu_cores": 0.5, "total_cpu_cores": 64,
            "free_memory_mb": 10, "total_memory_mb": 20, "free_storage_mb": 10, "total_storage_mb": 20,
            "statistics": "answered", "launch_queue": "answered"});
        world.pressure(worker, world.now(), known).await;
        world.pressure(worker, world.now(), json!({"short_of_cpu": false})).await;
    }
    for (id, definition) in [("s-1", "ospf"), ("s-2", "bgp")] {
        world.running(id, definition).await;
        world.ask(id, &format!("r-{id}")).await;
        world.ask(id, &format!("q-{id}")).await;
        let profile =
            json!({"samples": 9, "steady": {"cpu_cores": {"peak": 1.5}}, "boot": {"cpu_cores": {"peak": 2.0}}});
        world.report(id, seen(json!({"total_storage_mb": 900.0, "profile": profile})), Some(&format!("r-{id}"))).await;
        world.fail(id, &format!("q-{id}"), "failed").await;
    }
    for id in ["s-3", "s-4"] {
        world.session(id, "ospf").await;
        let statement =
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                metadata)
            VALUES ('lablet_session', $1, 2, 'lablet_session.teleported', '1',
                    '{\"type\": \"lablet_session.teleported.v1\"}', '{\"actor\": 7}')";
        sqlx::query(statement).bind(id).execute(&world.database.pool()).await.unwrap();
    }
    world.settle().await;
    world
}

/// An answer is an answer, or names the row that cannot be read. Anything else is a failure of the question.
pub(crate) fn check<T>(asked: &str, answer: Result<T, ReadError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(ReadError::Unreadable { .. }) => None,
        Err(error) => panic!("{asked}: {error:?}"),
    }
}

/// All pages of the list of sessions in an order, one row at a time: how many can be read and how many cannot.
async fn walk(world: &World, sort: SessionSort, spoilt: &str) -> (usize, usize) {
    let filter = SessionFilter { sort, ..SessionFilter::default() };
    let (mut request, mut readable, mut unreadable) = (PageRequest::first(1), 0, 0);
    for _ in 0..10 {
        let page = check(spoilt, world.projections.sessions(&filter, &request).await).unwrap();
        readable += page.items.len();
        unreadable += page.unreadable.len();
        if page.next.is_none() {
            return (readable, unreadable);
        }
        request.cursor = page.next;
    }
    panic!("{spoilt}: {sort:?} does not end");
}

/// Asks everything, for both of the things of each kind.
async fn ask_everything(world: &World, spoilt: &str) {
    let reads = &world.projections;
    let request = PageRequest::default();
    for (session, definition, worker) in [("s-1", "ospf", "cml-1"), ("s-2", "bgp", "cml-2")] {
        let session = SessionId::parse(session).unwrap();
        let definition = DefinitionId::parse(definition).unwrap();
        let worker = WorkerId::parse(worker).unwrap();
        check(spoilt, reads.session(&session).await);
        check(spoilt, reads.session_summary(&session).await);
        let nodes = check(spoilt, reads.session_nodes(&session, &NodeFilter::default(), &request).await);
        assert!(nodes.is_some(), "{spoilt}");
        check(spoilt, reads.session_node(&session, None, "n-1").await);
        check(spoilt, reads.session_events(&session, Default::default(), &request).await);
        check(spoilt, reads.session_life(&session).await);
        check(spoilt, reads.session_profile(&session).await);
        check(spoilt, reads.session_node_profile(&session, "n-1").await);
        check(spoilt, reads.newest_profile(&session).await);
        let of_session = ObservationFilter { session_id: Some(session.clone()), definition_id: None };
        assert!(check(spoilt, reads.observations(&of_session, &request).await).is_some(), "{spoilt}");
        check(spoilt, reads.observation_request(&session, &RequestId::parse(format!("r-{session}")).unwrap()).await);
        check(spoilt, reads.definition(&definition).await);
        assert!(check(spoilt, reads.definition_revisions(&definition, &request).await).is_some(), "{spoilt}");
        assert!(
            check(spoilt, reads.definition_observations(&definition, SessionScope::Newest(20), 20).await).is_some(),
            "{spoilt}"
        );
        check(spoilt, reads.worker(&worker).await);
        assert!(check(spoilt, reads.port_map(&worker).await).is_some(), "{spoilt}");
        let spells = check(spoilt, reads.pressure_spells(&worker, &request).await).unwrap();
        // A row of the other worker's number is of neither.
        assert!(spells.items.len() + spells.unreadable.len() <= 2, "{spoilt}");
        let now = world.clock.now();
        check(spoilt, reads.worker_shortage(&worker, now, now).await);
        let deep = SearchDepth { dead_letters: true, history: true };
        assert!(check(spoilt, reads.search(session.as_str(), 5, deep).await).is_some(), "{spoilt}");
        assert!(check(spoilt, reads.search("5042", 5, deep).await).is_some(), "{spoilt}");
    }
    let ended = DriftedPortFilter { ended: true, ..DriftedPortFilter::default() };
    assert!(check(spoilt, reads.drifted_ports(&ended).await).is_some(), "{spoilt}");
    let ids = ["cml-1", "cml-2"].map(|id| WorkerId::parse(id).unwrap());
    assert!(check(spoilt, reads.worker_load(&ids).await).is_some(), "{spoilt}");
    assert!(check(spoilt, reads.workers(&request).await).is_some(), "{spoilt}");
    for sort in [DefinitionSort::Newest, DefinitionSort::Name] {
        let filter = DefinitionFilter { sort, ..DefinitionFilter::default() };
        let page = check(spoilt, reads.definitions(&filter, &request).await).unwrap();
        assert_eq!(page.items.len() + page.unreadable.len(), 2, "{spoilt}");
    }
    assert!(check(spoilt, reads.definitions_off(SessionScope::Newest(20), 20).await).is_some(), "{spoilt}");
    assert!(check(spoilt, reads.observation_requests(&RequestFilter::default(), &request).await).is_some(), "{spoilt}");
    assert!(check(spoilt, reads.overview().await).is_some(), "{spoilt}");
    assert!(check(spoilt, reads.freshness().await).is_some(), "{spoilt}");
    for model in ReadModel::ALL {
        assert!(check(spoilt, reads.dead_letters(model, true, &request).await).is_some(), "{spoilt}");
    }
    for sort in SessionSort::ALL {
        let (readable, unreadable) = walk(world, sort, spoilt).await;
        assert_eq!(readable + unreadable, 4, "{spoilt}, {sort:?}");
        assert!(readable >= 3, "{spoilt}, {sort:?}");
    }
}

/// Asks while the first row of each table holds whatever Postgres can hold in a column, one after the other, and gives how
/// often that was.
pub(crate) async fn spoil_each_column(world: &World, schemas: &[&str], ask: impl AsyncFn(&World, &str)) -> usize {
    ask(world, "nothing").await;
    let columns = columns(world, schemas).await;
    let mut spoilt_columns = 0;
    for column in &columns {
        let Column { table, name, data_type } = column;
        for value in nasty(table, data_type, name) {
            let spoilt = format!("{table}.{name} = {value}");
            let all = columns.iter().filter(|other| other.table == *table);
            let all = all.map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ");
            execute(world, format!("CREATE TABLE kept AS SELECT {all} FROM {table}")).await;
            let first = format!("(SELECT ctid FROM {table} ORDER BY 1 LIMIT 1)");
            let rows = execute(world, format!("UPDATE {table} SET \"{name}\" = {value} WHERE ctid = {first}")).await;
            if rows > 0 {
                ask(world, &spoilt).await;
                spoilt_columns += 1;
            }
            execute(world, format!("DELETE FROM {table}")).await;
            execute(world, format!("INSERT INTO {table} ({all}) SELECT {all} FROM kept")).await;
            execute(world, "DROP TABLE kept".to_owned()).await;
        }
    }
    ask(world, "nothing any more").await;
    spoilt_columns
}

#[tokio::test]
async fn whatever_a_column_holds_every_question_is_answered() {
    let world = filled().await;
    let schemas = [
        "read_sessions",
        "read_definitions",
        "read_observations",
        "read_observation_requests",
        "read_workers",
        "read_demands",
    ];
    let spoilt_columns = spoil_each_column(&world, &schemas, ask_everything).await;
    assert!(spoilt_columns > 150, "{spoilt_columns}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_and_a_rebuild_makes_it_anew() {
    let world = filled().await;
    let spoil = "UPDATE read_sessions.sessions SET updated_at = 'infinity' WHERE id = 's-1'".to_owned();
    execute(&world, spoil).await;
    let page = world.projections.sessions(&SessionFilter::default(), &PageRequest::default()).await.unwrap();
    let readable: Vec<&str> = page.items.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(readable, ["s-4", "s-3", "s-2"]);
    assert_eq!(page.unreadable.len(), 1);
    assert_eq!(page.unreadable[0].id, "s-1");
    assert!(page.unreadable[0].reason.starts_with("updated_at: "), "{:?}", page.unreadable);
    let detail = world.projections.session(&SessionId::parse("s-1").unwrap()).await;
    assert!(matches!(detail, Err(ReadError::Unreadable { row, .. }) if row.id == "s-1"));
    let found = world.projections.search("s-1", 5, Default::default()).await.unwrap();
    assert_eq!((found.exact.len(), found.unreadable.len()), (0, 1));
    world.projections.rebuild(ReadModel::Sessions, Default::default(), &CancellationToken::new()).await.unwrap();
    let page = world.projections.sessions(&SessionFilter::default(), &PageRequest::default()).await.unwrap();
    assert_eq!((page.items.len(), page.unreadable.len()), (4, 0));
}

#[tokio::test]
async fn a_demand_that_cannot_be_read_is_named_beside_the_sessions_that_can() {
    let world = filled().await;
    world.running("s-5", "ospf").await;
    world.observe("s-5", seen(json!({}))).await;
    world.settle().await;
    execute(&world, "UPDATE read_demands.sessions SET cpu_cores = 'NaN' WHERE session_id = 's-1'".to_owned()).await;
    let observed = world
        .projections
        .definition_observations(&DefinitionId::parse("ospf").unwrap(), SessionScope::Newest(20), 20)
        .await
        .unwrap();
    assert_eq!(observed.sessions.iter().map(|row| row.session_id.as_str()).collect::<Vec<_>>(), ["s-5"]);
    assert_eq!(observed.unreadable[0].id, "s-1");
    let reason = &observed.unreadable[0].reason;
    assert!(reason.starts_with("resources.cpu_cores.demand.value: "), "{reason}");
    let profile = world.projections.session_profile(&SessionId::parse("s-1").unwrap()).await;
    assert!(matches!(profile, Err(ReadError::Unreadable { row, .. }) if row.id == "s-1"));
}

#[tokio::test]
async fn a_time_of_a_cursor_that_is_none_is_refused() {
    let world = filled().await;
    let filter = SessionFilter { sort: SessionSort::Observed, ..SessionFilter::default() };
    for time in ["2026-13-45", "infinity'", "x", "2026-03-01 10:00:00+99:99"] {
        let request = PageRequest { limit: 1, cursor: Some(format!("observed:s-1:{time}")) };
        let answer = world.projections.sessions(&filter, &request).await;
        assert!(matches!(answer, Err(ReadError::Invalid(_))), "{time}: {answer:?}");
    }
}

#[tokio::test]
async fn an_event_with_metadata_of_another_shape_holds_up_no_read_model() {
    let world = filled().await;
    world.go("s-2", SessionStatus::Collecting).await;
    world.settle().await;
    let session = SessionId::parse("s-2").unwrap();
    assert_eq!(world.projections.session(&session).await.unwrap().unwrap().session.status, SessionStatus::Collecting);
    let parked = SessionId::parse("s-3").unwrap();
    let events = world.projections.session_events(&parked, Default::default(), &PageRequest::default()).await.unwrap();
    assert_eq!(events.items.len(), 2);
    assert_eq!(events.items[1].metadata.actor, None);
    assert!(events.items[1].position > Position::START);
}
