//! What analysts see, and what they do not.

use projections::ReadModel;
use projections::rebuild::RebuildOptions;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use tokio_util::sync::CancellationToken;

use crate::given::{World, seen};

const VIEWS: [&str; 28] = [
    "advice_misses",
    "advice_scores",
    "changes",
    "definition_deviations",
    "definition_observation_totals",
    "definition_recommendations",
    "definition_revisions",
    "definitions",
    "drifted_ports",
    "events",
    "freshness",
    "node_demands",
    "node_interfaces",
    "node_pools",
    "observation_nodes",
    "observation_requests",
    "observations",
    "observed_ports",
    "port_drift",
    "proposals",
    "session_demands",
    "session_evidence",
    "session_steps",
    "sessions",
    "sizing_gaps",
    "worker_pressure",
    "worker_pressure_spells",
    "workers",
];

/// The greatest counter that an observation may have.
const MOST_BYTES: u64 = 9_007_199_254_740_991;

async fn lived_in() -> World {
    let world = World::new().await;
    world.worker("cml-1").await;
    world.pressure("cml-1", world.now(), json!({"short_of_cpu": true, "free_cpu_cores": 0.5, "queued_nodes": 0})).await;
    world.definition("ospf").await;
    world.definition("bgp").await;
    world.running("s-1", "ospf").await;
    world.ask("s-1", "r-1").await;
    let used = json!({"cpu_cores": 0.5, "memory_mb": 400, "disk_mb": 100, "disk_read_bytes": MOST_BYTES});
    let interface =
        json!({"interface_id": "i-1", "label": "Gi0/0", "slot": 0, "state": "STARTED", "ip4": ["10.0.0.1"]});
    let serial = json!({"name": "PC_serial", "node_id": "n-1", "node_label": "PC", "outside": 5041, "kind": "serial",
                        "line": 0, "l4_protocol": "tcp", "honoured": true});
    let forward = json!({"name": "R1_ssh", "node_id": "n-2", "node_label": "R1", "outside": 5200, "kind": "forward",
                         "transport": "tcp", "inside": 22, "l4_protocol": "tcp", "honoured": true});
    let drifted = json!({
        "observed_ports": {"PC_serial": 5041, "PC_vnc": 5142, "R1_ssh": 5200},
        "ports": [serial, forward],
        "nodes": [{"node_id": "n-1", "label": "PC", "node_definition": "desktop", "ram_mb": 512, "cpus": 1},
                  {"node_id": "n-2", "label": "R1", "node_definition": "iosv", "ram_mb": 1024, "cpus": 1, "usage": used,
                   "interfaces": [interface], "profile": {"steady": {"cpu_cores": {"peak": 0.75}}}}],
        "usage": {"memory_mb": 400, "storage_mb": 9},
        "profile": {"samples": 8, "missed_samples": 2, "steady": {"cpu_cores": {"peak": 0.75}}},
        "coverage": {"phase": "steady", "sampled_share": 0.8, "worker_short": true, "worker_short_of": ["cpu"]}
    });
    world.report("s-1", seen(drifted), Some("r-1")).await;
    for number in 0..3 {
        world.ended(&format!("s-1{number}"), "bgp", 1500.0 + 1000.0 * f64::from(number)).await;
    }
    world.propose("bgp", "p-1").await;
    let observed = "SELECT event_id::text FROM events WHERE aggregate_id = 's-1' AND event_type LIKE '%observed'";
    let evidence: String = sqlx::query_scalar(observed).fetch_one(&world.database.pool()).await.unwrap();
    world.revise("ospf", 4, &[evidence]).await;
    world.settle().await;
    world
}

async fn analyst(world: &World) -> PgPool {
    app::log::pool(&world.database.url_as("lablet_analyst"), 2).unwrap()
}

async fn count(pool: &PgPool, view: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM analytics_v1.{view}")))
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_view_and_every_column_says_what_it_is() {
    let world = World::new().await;
    let views: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT relname::text, obj_description(oid, 'pg_class') FROM pg_class
          WHERE relnamespace = 'analytics_v1'::regnamespace AND relkind <> 'i' ORDER BY relname",
    )
    .fetch_all(&world.database.pool())
    .await
    .unwrap();
    assert_eq!(views.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), VIEWS);
    for (view, comment) in &views {
        let comment = comment.as_deref().unwrap_or_default();
        for part in ["Source: ", "Key: ", "Joins: ", "Read model"] {
            assert!(comment.contains(part), "{view}: {part} in {comment:?}");
        }
    }
    let units: String = sqlx::query_scalar("SELECT obj_description('analytics_v1'::regnamespace, 'pg_namespace')")
        .fetch_one(&world.database.pool())
        .await
        .unwrap();
    assert!(units.contains("1 GB is 1024 MB"), "{units}");
    let columns: Vec<(String, String, String, Option<String>)> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
                col_description(c.oid, a.attnum)
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
          WHERE c.relnamespace = 'analytics_v1'::regnamespace AND a.attnum > 0",
    )
    .fetch_all(&world.database.pool())
    .await
    .unwrap();
    for (view, column, type_name, comment) in &columns {
        let comment = comment.as_deref().unwrap_or_default();
        assert!(
            comment.to_lowercase().contains("null") || column == "position" || type_name == "bigint",
            "{view}.{column} says what null means: {comment:?}"
        );
        assert!(comment.contains("Source: "), "{view}.{column} names its source: {comment:?}");
        assert_ne!(type_name, "timestamp without time zone", "{view}.{column}");
        assert_ne!(type_name, "numeric", "{view}.{column}: no library makes a whole number of it");
    }
    for view in VIEWS {
        assert!(columns.iter().any(|(of, column, ..)| of == view && column == "position"), "{view} has a position");
    }
}

#[tokio::test]
async fn an_analyst_sees_the_views_and_nothing_else() {
    let world = lived_in().await;
    let analyst = analyst(&world).await;
    for view in VIEWS {
        assert!(count(&analyst, view).await > 0, "{view}");
    }
    let drift: Vec<(String, String, Option<i32>, Option<i32>)> = sqlx::query_as(
        "SELECT kind, port_name, allocated_port, observed_port FROM analytics_v1.port_drift ORDER BY kind",
    )
    .fetch_all(&analyst)
    .await
    .unwrap();
    assert_eq!(
        drift,
        [
            ("added".to_owned(), "R1_ssh".to_owned(), None, Some(5200)),
            ("changed".to_owned(), "PC_vnc".to_owned(), Some(5042), Some(5142))
        ]
    );
    let totals: (i64, Option<f64>, Option<f64>, i64) = sqlx::query_as(
        "SELECT observed_sessions, nominal_cpu_cores_latest, used_storage_mb_max, used_storage_mb_unknown_sessions
           FROM analytics_v1.definition_observation_totals WHERE definition_id = 'ospf'",
    )
    .fetch_one(&analyst)
    .await
    .unwrap();
    assert_eq!(totals, (1, Some(2.0), None, 1));
    let rows = |statement: &'static str| sqlx::query_scalar::<_, serde_json::Value>(statement).fetch_one(&analyst);
    let demands = "SELECT jsonb_agg(jsonb_build_array(resource, demand, source, no_demand_reason, sampled_share,
        sample_count) ORDER BY resource) FROM analytics_v1.session_demands WHERE definition_id = 'ospf'";
    assert_eq!(
        rows(demands).await.unwrap(),
        json!([
            ["cpu_cores", 0.75, "profile", null, 0.8, 8],
            ["memory_mb", 400, "snapshot", null, 0.8, 8],
            ["storage_mb", null, null, "contradiction", 0.8, 8],
        ])
    );
    let pressure = "SELECT jsonb_build_array(p.condition, p.short_of_cpu, p.short_of_memory, p.free_cpu_cores,
        p.queued_node_count, s.spell_number, s.short_of_memory, s.began_at = p.observed_at, s.ended_at)
        FROM analytics_v1.worker_pressure p JOIN analytics_v1.worker_pressure_spells s USING (worker_id)";
    assert_eq!(rows(pressure).await.unwrap(), json!(["short", true, null, 0.5, 0, 1, false, true, null]));
    let short = "SELECT jsonb_agg(DISTINCT jsonb_build_array(o.worker_short, o.worker_short_of, d.worker_short))
        FROM analytics_v1.observations o JOIN analytics_v1.session_demands d USING (session_id)
       WHERE session_id = 's-1'";
    assert_eq!(rows(short).await.unwrap(), json!([[true, ["cpu"], true]]));
    let pools = "SELECT jsonb_agg(jsonb_build_array(node_definition, nominal_memory_mb, resource, node_run_count,
        demand_mean, demand_standard_deviation, demand_max) ORDER BY resource) FROM analytics_v1.node_pools WHERE nominal_memory_mb = 1024";
    assert_eq!(
        rows(pools).await.unwrap(),
        json!([
            ["iosv", 1024, "cpu_cores", 1, 0.75, null, 0.75],
            ["iosv", 1024, "memory_mb", 1, 400, null, 400],
            ["iosv", 1024, "storage_mb", 1, 100, null, 100],
        ])
    );
    let unusual = "SELECT count(*) FROM analytics_v1.node_demands n JOIN analytics_v1.node_pools p
            ON p.resource = 'cpu_cores' AND p.node_definition = n.node_definition
           AND (p.image_definition, p.nominal_cpu_cores, p.nominal_memory_mb)
               IS NOT DISTINCT FROM (n.image_definition, n.nominal_cpu_cores, n.nominal_memory_mb)
         WHERE n.session_id = 's-1' AND n.node_id = 'n-2'";
    let joined: i64 = sqlx::query_scalar(unusual).fetch_one(&analyst).await.unwrap();
    assert_eq!(joined, 1, "as the documentation joins them");
    let missed =
        "SELECT jsonb_agg(jsonb_build_array(m.session_id, m.resource, m.demand, m.shortfall = m.demand - m.advised,
        s.held, e.nominal, e.demand_event_id = m.demand_event_id)) FROM analytics_v1.advice_misses m
        JOIN analytics_v1.advice_scores s USING (session_id, resource)
        JOIN analytics_v1.session_evidence e USING (session_id, resource) WHERE resource = 'memory_mb'";
    assert_eq!(rows(missed).await.unwrap(), json!([["s-11", "memory_mb", 2500, true, false, 4096, true]]));
    let recommended =
        "SELECT jsonb_build_array(r.configured, r.requirement, r.ended_session_count, p.status, p.after_memory_gb)
        FROM analytics_v1.definition_recommendations r JOIN analytics_v1.proposals p USING (definition_id)
       WHERE resource = 'memory_mb'";
    assert_eq!(rows(recommended).await.unwrap(), json!([4096, 4096, 3, "open", 3]));
    for statement in [
        "SELECT 1 FROM events",
        "SELECT 1 FROM snapshots",
        "SELECT 1 FROM projection_discards",
        "SELECT 1 FROM read_sessions.sessions",
        "SELECT 1 FROM read_observations.checkpoint",
        "DELETE FROM analytics_v1.workers",
        "CREATE TABLE public.mine (n integer)",
        "CREATE TABLE analytics_v1.mine (n integer)",
        "SET ROLE lablet_app",
    ] {
        let refused = sqlx::query(statement).execute(&analyst).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("42501"), "{statement}");
    }
}

#[tokio::test]
async fn the_views_survive_a_rebuild_with_their_comments_and_rights() {
    let world = lived_in().await;
    let analyst = analyst(&world).await;
    let described = || async {
        let statement = "SELECT c.relname || '.' || a.attname || ': ' || col_description(c.oid, a.attnum)
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
           WHERE c.relnamespace = 'analytics_v1'::regnamespace AND a.attnum > 0 ORDER BY 1";
        let all: Vec<String> = sqlx::query_scalar(statement).fetch_all(&world.database.pool()).await.unwrap();
        all
    };
    let before = described().await;
    for _ in 0..2 {
        for model in ReadModel::ALL {
            let options = RebuildOptions { compare: true, keep_live: false };
            let report = world.projections.rebuild(model, options, &CancellationToken::new()).await.unwrap();
            assert_eq!((report.swapped, report.differing_tables), (true, Some(vec![])), "{model}");
        }
    }
    assert_eq!(described().await, before);
    let events = count(&analyst, "observations").await;
    world.observe("s-1", seen(json!({}))).await;
    world.settle().await;
    assert_eq!(count(&analyst, "observations").await, events + 1, "the views read the new tables");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname ~ '^read_.*_(next|retired)$'")
        .fetch_one(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn the_views_answer_what_analysts_ask() {
    let world = lived_in().await;
    let analyst = analyst(&world).await;
    let rows = |statement: &'static str| sqlx::query_scalar::<_, serde_json::Value>(statement).fetch_one(&analyst);
    let steps = "SELECT jsonb_agg(jsonb_build_array(status, worker_id, duration_seconds, until IS NULL, actor)
        ORDER BY sequence) FROM analytics_v1.session_steps WHERE session_id = 's-1'";
    let by = "service:booking";
    assert_eq!(
        rows(steps).await.unwrap(),
        json!([
            ["pending", "cml-1", 1, false, by],
            ["scheduled", "cml-1", 1, false, by],
            ["instantiating", "cml-1", 1, false, by],
            ["ready", "cml-1", 1, false, by],
            ["running", "cml-1", null, true, by],
        ]),
        "what has not ended has no duration"
    );
    let events = "SELECT jsonb_build_array(count(*), count(DISTINCT position), min(payload_bytes) > 10,
        count(*) FILTER (WHERE type = 'lablet_definition.revised.v1' AND actor = 'admin:ada'))
        FROM analytics_v1.events";
    let recorded: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&world.database.pool()).await.unwrap();
    assert_eq!(rows(events).await.unwrap(), json!([recorded, recorded, true, 1]));
    world.count_evidence("s-10", false).await;
    let changes = "SELECT jsonb_agg(jsonb_build_array(type, actor, aggregate_id, name, definition_id, reason) ORDER BY position)
        FROM (SELECT DISTINCT ON (aggregate_type) * FROM analytics_v1.changes ORDER BY aggregate_type, position DESC) c";
    assert_eq!(
        rows(changes).await.unwrap(),
        json!([
            ["worker.registered.v1", "admin:ada", "cml-1", "cml-1", null, null],
            ["lablet_definition.revised.v1", "admin:ada", "ospf", "OSPF", "ospf", "as observed"],
            ["lablet_session.evidence_excluded.v1", by, "s-10", "OSPF", "bgp", "a trial"],
        ]),
        "the last one of each kind; what sessions live through is not among them"
    );
    let plan: Vec<String> = sqlx::raw_sql("SET enable_seqscan = off; EXPLAIN SELECT * FROM analytics_v1.changes")
        .fetch_all(&world.database.pool())
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(plan.join("\n").contains("events_changes"), "{}", plan.join("\n"));
    let ports = "SELECT jsonb_agg(jsonb_build_array(port_name, kind, inside_port, serial_line, observed_port,
        allocated_port, layer4_protocol, honoured, node_label) ORDER BY port_name) FROM analytics_v1.observed_ports";
    assert_eq!(
        rows(ports).await.unwrap(),
        json!([
            ["PC_serial", "serial", null, 0, 5041, 5041, "tcp", true, "PC"],
            ["R1_ssh", "forward", 22, null, 5200, null, "tcp", true, "R1"],
        ])
    );
    let interfaces = "SELECT jsonb_agg(jsonb_build_array(node_label, label, slot, state, ip4_addresses, mac_address))
        FROM analytics_v1.node_interfaces";
    assert_eq!(rows(interfaces).await.unwrap(), json!([["R1", "Gi0/0", 0, "STARTED", ["10.0.0.1"], null]]));
    let deviations = "SELECT jsonb_agg(jsonb_build_array(d.resource, d.configured, d.observed_max, d.needed, d.ratio,
        d.known_session_count, d.unknown_session_count, e.type) ORDER BY d.resource)
        FROM analytics_v1.definition_deviations d LEFT JOIN analytics_v1.events e ON e.event_id = d.observed_max_event_id
       WHERE d.definition_id = 'ospf'";
    let observed = "lablet_session.resources_observed.v1";
    assert_eq!(
        rows(deviations).await.unwrap(),
        json!([
            ["cpu_cores", 4, 2, 2, 0.5, 1, 0, observed],
            ["memory_mb", 4096, 1536, 2048, 0.5, 1, 0, observed],
            ["storage_mb", 10240, null, null, null, 0, 1, null],
        ])
    );
    let revisions = "SELECT jsonb_agg(jsonb_build_array(r.revision, r.valid_from = r.revised_at, r.valid_to = n.valid_from,
        cardinality(r.evidence_ids), (SELECT min(e.aggregate_id) FROM analytics_v1.events e
                                       WHERE e.event_id = ANY (r.evidence_ids))) ORDER BY r.revision)
        FROM analytics_v1.definition_revisions r
        LEFT JOIN analytics_v1.definition_revisions n ON n.definition_id = r.definition_id AND n.revision = r.revision + 1
       WHERE r.definition_id = 'ospf'";
    assert_eq!(rows(revisions).await.unwrap(), json!([[1, true, true, 0, null], [2, true, null, 1, "s-1"]]));
    let used = "SELECT jsonb_build_array(s.nominal_cpu_cores, s.nominal_memory_mb, s.used_cpu_cores, s.used_memory_mb,
        t.nominal_memory_mb_max, t.used_memory_mb_max, t.used_cpu_cores_latest, t.used_memory_mb_unknown_sessions)
        FROM analytics_v1.sessions s JOIN analytics_v1.definition_observation_totals t USING (definition_id)
       WHERE session_id = 's-1'";
    assert_eq!(rows(used).await.unwrap(), json!([2, 1536, null, 400, 1536, 400, 0.75, 0]));
    let read = "SELECT jsonb_agg(jsonb_build_array(label, disk_read_bytes, booted_seconds) ORDER BY label)
        FROM analytics_v1.observation_nodes WHERE session_id = 's-1'";
    assert_eq!(rows(read).await.unwrap(), json!([["PC", null, null], ["R1", MOST_BYTES, null]]));
    world.database.finish().await;
}
