//! Who may do what in the database: a role for each kind of process, with the rights that its statements need and no other.
//!
//! The migrations grant them, docs/postgres-permissions.md shows them, `lablet doctor` names those that are missing, and a test
//! tries everything that is not among them.

use sqlx::PgPool;

use crate::read_models::ReadModel;

/// Whom a login of a process is, or is a member of. Who migrates owns everything that the projector does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatabaseRole {
    /// `lablet serve`, `relay` and `deliver`: appends, signs people in, reads the read models.
    App,
    /// `lablet project`: owns the read models, reads the log.
    Projector,
    /// Reads `analytics_v1`.
    Analyst,
}

impl DatabaseRole {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::App, Self::Projector, Self::Analyst];

    /// The role's name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "lablet_app",
            Self::Projector => "lablet_projector",
            Self::Analyst => "lablet_analyst",
        }
    }
}

/// What a right is over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A schema.
    Schema(String),
    /// A table.
    Table(&'static str),
    /// Every table and view of a schema, those of a rebuild included.
    TablesOf(String),
    /// A sequence.
    Sequence(&'static str),
    /// A function with the types that it takes.
    Function(&'static str),
}

/// A right that a role has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Whose it is.
    pub role: DatabaseRole,
    /// Over what.
    pub object: Object,
    /// E.g. `SELECT`.
    pub privilege: &'static str,
    /// Columns that it is limited to; of all where there are none.
    pub columns: &'static [&'static str],
}

impl Grant {
    /// The statement that gives it.
    pub fn statement(&self) -> String {
        format!("GRANT {} ON {} TO {}", self.privileges(), self.object.words(), self.role.name())
    }

    /// With the columns that it is limited to.
    fn privileges(&self) -> String {
        if self.columns.is_empty() {
            self.privilege.to_owned()
        } else {
            format!("{} ({})", self.privilege, self.columns.join(", "))
        }
    }
}

impl Object {
    /// As a statement names it.
    fn words(&self) -> String {
        match self {
            Self::Schema(name) => format!("SCHEMA {name}"),
            Self::Table(name) => (*name).to_owned(),
            Self::TablesOf(schema) => format!("ALL TABLES IN SCHEMA {schema}"),
            Self::Sequence(name) => format!("SEQUENCE {name}"),
            Self::Function(signature) => format!("FUNCTION {signature}"),
        }
    }
}

/// What the processes do with a table of the schema `public`.
struct TableUse {
    table: &'static str,
    app: &'static [&'static str],
    projector: &'static [&'static str],
    /// What for.
    why: &'static str,
}

/// Columns of an event that whoever appends gives; the others are Postgres' own to give.
const GIVEN: &[&str] = &[
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "event_type",
    "event_version",
    "payload",
    "metadata",
    "event_id",
    "command_key",
    "command_digest",
    "command_events",
];

const READ: &[&str] = &["SELECT"];
const UPDATE: &[&str] = &["SELECT", "UPDATE"];
const KEEP: &[&str] = &["SELECT", "INSERT", "DELETE"];
const INSERT: &[&str] = &["SELECT", "INSERT"];
const INSERT_UPDATE: &[&str] = &["SELECT", "INSERT", "UPDATE"];
const ALL: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];
const NOTHING: &[&str] = &[];

const TABLES: &[TableUse] = &[
    TableUse { table: "_sqlx_migrations", app: READ, projector: READ, why: "which version the database is of" },
    TableUse { table: "events", app: INSERT, projector: READ, why: "the log; nobody updates or deletes" },
    TableUse { table: "log_partitions", app: READ, projector: READ, why: "in which of its partitions a position is" },
    TableUse { table: "past_aggregates", app: READ, projector: NOTHING, why: "how far aggregates are in the old ones" },
    TableUse { table: "past_commands", app: READ, projector: NOTHING, why: "keys of commands in the old ones" },
    TableUse { table: "log_epoch", app: READ, projector: READ, why: "where positions begin" },
    TableUse { table: "log_epochs", app: UPDATE, projector: READ, why: "what a restore or a promotion lost" },
    TableUse { table: "snapshots", app: ALL, projector: NOTHING, why: "aggregates as they were, to load them sooner" },
    TableUse {
        table: "relays",
        app: UPDATE,
        projector: READ,
        why: "how far relay and webhooks are, and whose turn it is",
    },
    TableUse { table: "webhook_targets", app: INSERT_UPDATE, projector: READ, why: "how far each webhook is" },
    TableUse { table: "dead_letters", app: ALL, projector: NOTHING, why: "commands and deliveries that did not work" },
    TableUse { table: "command_trials", app: ALL, projector: NOTHING, why: "how often a command was begun" },
    TableUse {
        table: "projection_discards",
        app: INSERT,
        projector: READ,
        why: "events that a read model does without",
    },
    TableUse {
        table: "requested_retries",
        app: INSERT,
        projector: &["SELECT", "UPDATE", "DELETE"],
        why: "retries of such events: the gateway asks, the projector carries out",
    },
    TableUse {
        table: "structure_locks",
        app: NOTHING,
        projector: UPDATE,
        why: "one rebuild of a read model at a time",
    },
    TableUse {
        table: "projection_members",
        app: NOTHING,
        projector: ALL,
        why: "processes that keep read models, with when each was last there",
    },
    TableUse { table: "projection_leases", app: READ, projector: ALL, why: "which of them keeps which read model" },
    TableUse {
        table: "present_projection_members",
        app: READ,
        projector: READ,
        why: "those of them that are there now",
    },
    TableUse { table: "verifications", app: READ, projector: KEEP, why: "what `lablet verify` found" },
    TableUse {
        table: "log_watcher",
        app: UPDATE,
        projector: UPDATE,
        why: "the one process that watches over sessions",
    },
    TableUse { table: "ended_sessions", app: KEEP, projector: KEEP, why: "what it ended" },
    TableUse { table: "admin_tokens", app: INSERT_UPDATE, projector: NOTHING, why: "bearer tokens, by their hashes" },
    TableUse { table: "browser_sessions", app: ALL, projector: NOTHING, why: "browsers that are signed in" },
    TableUse { table: "sign_in_links", app: ALL, projector: NOTHING, why: "links that sign a browser in" },
    TableUse { table: "sign_in_keys", app: KEEP, projector: NOTHING, why: "what protects a sign-in that is under way" },
    TableUse { table: "interrupted_forms", app: KEEP, projector: NOTHING, why: "forms kept over a sign-in" },
    TableUse { table: "saved_views", app: ALL, projector: NOTHING, why: "views of lists that people saved" },
];

/// Functions of the schema `public`, and whether the app and the projector may call them.
const FUNCTIONS: &[(&str, bool, bool)] = &[
    ("analyze_log()", true, true),
    ("confine_analysts(boolean)", true, true),
    ("current_log_epoch()", true, true),
    ("end_session(integer, timestamp with time zone, text)", true, true),
    ("first_position_after(integer, xid8, bigint)", true, true),
    ("log_place()", true, true),
    ("log_restore()", true, true),
    ("log_timeline()", true, true),
    ("refuse_to_append_to_a_restored_log()", true, false),
    ("sessions_to_watch()", true, true),
];

/// Every right of every role, but for what the projector may do with what it owns.
pub fn grants() -> Vec<Grant> {
    let mut grants = Vec::new();
    let mut give = |role, object, privileges: &[&'static str]| {
        for &privilege in privileges {
            let columns: &[&str] = match (&object, privilege) {
                (Object::Table("events"), "INSERT") => GIVEN,
                // The relay counts them.
                (Object::Table("log_epochs"), "UPDATE") => &["lost_events"],
                _ => &[],
            };
            grants.push(Grant { role, object: Object::clone(&object), privilege, columns });
        }
    };
    for role in [DatabaseRole::App, DatabaseRole::Projector] {
        give(role, Object::Schema("public".to_owned()), &["USAGE"]);
    }
    for table in TABLES {
        give(DatabaseRole::App, Object::Table(table.table), table.app);
        give(DatabaseRole::Projector, Object::Table(table.table), table.projector);
    }
    give(DatabaseRole::App, Object::Sequence("events_position_seq"), &["USAGE"]);
    give(DatabaseRole::App, Object::Sequence("sign_in_ends"), &["USAGE", "SELECT"]);
    for (function, app, projector) in FUNCTIONS {
        let roles = [(DatabaseRole::App, *app), (DatabaseRole::Projector, *projector)];
        for (role, _) in roles.into_iter().filter(|(_, may)| *may) {
            give(role, Object::Function(function), &["EXECUTE"]);
        }
    }
    for schema in ReadModel::ALL.iter().map(|model| model.schema()) {
        for schema in [schema.to_owned(), format!("{schema}_next")] {
            give(DatabaseRole::App, Object::Schema(schema.clone()), &["USAGE"]);
            give(DatabaseRole::App, Object::TablesOf(schema), READ);
        }
    }
    give(DatabaseRole::Analyst, Object::Schema("analytics_v1".to_owned()), &["USAGE"]);
    give(DatabaseRole::Analyst, Object::TablesOf("analytics_v1".to_owned()), READ);
    grants
}

/// Schemas that belong to the projector, with all that is in them.
pub fn schemas_of_projector() -> Vec<String> {
    let models = ReadModel::ALL.iter().map(|model| model.schema());
    let mut schemas: Vec<String> =
        models.flat_map(|schema| ["", "_next", "_retired"].map(|part| format!("{schema}{part}"))).collect();
    schemas.push("analytics_v1".to_owned());
    schemas
}

/// The tables of the schema `public` with what each role does with them, as a table in Markdown.
pub fn page() -> String {
    let privileges = |privileges: &[&str]| {
        if privileges.is_empty() { "–".to_owned() } else { privileges.join(", ").to_lowercase() }
    };
    let mut page = String::from("| table | `lablet_app` | `lablet_projector` | holds |\n|---|---|---|---|\n");
    for TableUse { table, app, projector, why } in TABLES {
        page.push_str(&format!("| `{table}` | {} | {} | {why} |\n", privileges(app), privileges(projector)));
    }
    page.push_str("\n| function | `lablet_app` | `lablet_projector` |\n|---|---|---|\n");
    for (function, app, projector) in FUNCTIONS {
        let may = |may: bool| if may { "execute" } else { "–" };
        page.push_str(&format!("| `{function}` | {} | {} |\n", may(*app), may(*projector)));
    }
    page.push_str("\nAs statements, which the migrations run:\n\n```sql\n");
    let grants = grants();
    for of_object in grants.chunk_by(|one, next| one.role == next.role && one.object == next.object) {
        let privileges: Vec<String> = of_object.iter().map(Grant::privileges).collect();
        let Grant { role, object, .. } = &of_object[0];
        page.push_str(&format!("GRANT {} ON {} TO {};\n", privileges.join(", "), object.words(), role.name()));
    }
    page.push_str("```\n");
    page
}

/// What a database lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Who asks.
    pub login: String,
    /// The roles that the login is, or is a member of; an owner and a superuser are members of all.
    pub roles: Vec<DatabaseRole>,
    /// Statements that give what is missing.
    pub missing: Vec<String>,
}

/// Compares the rights in the database with those that there should be.
///
/// # Errors
/// The database does not answer.
pub async fn look(pool: &PgPool) -> sqlx::Result<Found> {
    let names: Vec<&str> = DatabaseRole::ALL.iter().map(|role| role.name()).collect();
    let (login, is_member): (String, Vec<bool>) = sqlx::query_as(
        "SELECT current_user::text,
                array_agg(coalesce(pg_has_role(current_user, r.oid, 'USAGE'), false) ORDER BY wanted.place)
           FROM unnest($1::text[]) WITH ORDINALITY wanted (name, place) LEFT JOIN pg_roles r ON r.rolname = wanted.name",
    )
    .bind(&names)
    .fetch_one(pool)
    .await?;
    let roles = DatabaseRole::ALL.into_iter().zip(is_member).filter(|(_, is_member)| *is_member).map(|(role, _)| role);
    let roles = roles.collect();
    let grants = grants();
    let kinds: Vec<&str> = grants.iter().map(|grant| kind(&grant.object)).collect();
    let objects: Vec<&str> = grants.iter().map(|grant| name(&grant.object)).collect();
    let of: Vec<&str> = grants.iter().map(|grant| grant.role.name()).collect();
    let privileges: Vec<&str> = grants.iter().map(|grant| grant.privilege).collect();
    let columns: Vec<String> = grants.iter().map(|grant| grant.columns.join(",")).collect();
    let held: Vec<bool> = sqlx::query_scalar(
        "SELECT coalesce(CASE
                    WHEN r.oid IS NULL THEN false
                    WHEN kind = 'schema' THEN has_schema_privilege(r.oid, to_regnamespace(object), privilege)
                    WHEN kind = 'function' THEN has_function_privilege(r.oid, to_regprocedure('public.' || object), privilege)
                    WHEN kind = 'sequence' THEN has_sequence_privilege(r.oid, to_regclass('public.' || object), privilege)
                    WHEN kind = 'tables' THEN NOT EXISTS (
                        SELECT FROM pg_class c WHERE c.relnamespace = to_regnamespace(object) AND c.relkind IN ('r', 'p', 'v')
                           AND NOT has_table_privilege(r.oid, c.oid, privilege))
                    WHEN columns = '' THEN has_table_privilege(r.oid, to_regclass('public.' || object), privilege)
                    ELSE (SELECT bool_and(has_column_privilege(r.oid, to_regclass('public.' || object), c, privilege))
                            FROM unnest(string_to_array(columns, ',')) c) END, false)
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
                    wanted (kind, object, of_role, privilege, columns, place)
           LEFT JOIN pg_roles r ON r.rolname = wanted.of_role
          ORDER BY wanted.place",
    )
    .bind(kinds)
    .bind(objects)
    .bind(of)
    .bind(privileges)
    .bind(columns)
    .fetch_all(pool)
    .await?;
    let mut missing: Vec<String> =
        std::iter::zip(&grants, held).filter(|(_, is_held)| !is_held).map(|(grant, _)| grant.statement()).collect();
    let others: Vec<String> = sqlx::query_scalar(
        "SELECT format('ALTER %s %I.%I OWNER TO lablet_projector', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
                       n.nspname, c.relname)
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p', 'v')
            AND pg_get_userbyid(c.relowner) <> 'lablet_projector'
          ORDER BY 1",
    )
    .bind(schemas_of_projector())
    .fetch_all(pool)
    .await?;
    missing.extend(others);
    Ok(Found { login, roles, missing })
}

fn kind(object: &Object) -> &'static str {
    match object {
        Object::Schema(_) => "schema",
        Object::Table(_) => "table",
        Object::TablesOf(_) => "tables",
        Object::Sequence(_) => "sequence",
        Object::Function(_) => "function",
    }
}

fn name(object: &Object) -> &str {
    match object {
        Object::Schema(name) | Object::TablesOf(name) => name,
        Object::Table(name) | Object::Sequence(name) | Object::Function(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_appends_and_writes_no_read_model_and_the_projector_does_not_append() {
        let writes = |grant: &Grant| !matches!(grant.privilege, "SELECT" | "USAGE" | "EXECUTE");
        let granted = grants();
        let on_log = |role| {
            let of_role =
                granted.iter().filter(move |grant| grant.role == role && grant.object == Object::Table("events"));
            of_role.map(Grant::statement).collect::<Vec<_>>()
        };
        let [read, append] = &on_log(DatabaseRole::App)[..] else { panic!("{:?}", on_log(DatabaseRole::App)) };
        assert_eq!(read, "GRANT SELECT ON events TO lablet_app");
        assert!(append.starts_with("GRANT INSERT (aggregate_type, ") && !append.contains("position"), "{append}");
        assert_eq!(on_log(DatabaseRole::Projector), ["GRANT SELECT ON events TO lablet_projector"]);
        assert!(granted.iter().all(|grant| !(writes(grant) && matches!(grant.object, Object::TablesOf(_)))));
        assert!(granted.iter().all(|grant| grant.role != DatabaseRole::Analyst || !writes(grant)));
    }
}
