//! A Postgres whose roles have what the migrations give them and nothing more, and what each of them is refused.

use std::collections::BTreeSet;
use std::path::Path;

use projections::rights::{DatabaseRole, Grant, Object, grants, schemas_of_projector};
use servers::{PostgresOptions, PostgresServer};
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgPool};

const DATABASE: &str = "lablet";
/// Who migrates: no superuser, and the owner of the database.
const OWNER: &str = "lablet_owner";

/// A cluster of its own, where each role signs in for itself.
pub(super) struct Database {
    server: PostgresServer,
}

impl Database {
    pub(super) async fn start(folder: &Path) -> Self {
        let options =
            PostgresOptions { data_dir: folder.join("postgres"), port: None, fsync: false, settings: Vec::new() };
        let server = PostgresServer::start(options).await.unwrap();
        let mut superuser = PgConnection::connect(&server.url("postgres")).await.unwrap();
        // As docs/postgres-permissions.md has it.
        for statement in [
            "CREATE ROLE lablet_owner LOGIN CREATEROLE",
            "CREATE ROLE lablet_app LOGIN",
            "CREATE ROLE lablet_projector LOGIN",
            "CREATE ROLE lablet_analyst",
            "GRANT lablet_app, lablet_projector, lablet_analyst TO lablet_owner WITH ADMIN OPTION",
            "CREATE DATABASE lablet OWNER lablet_owner",
        ] {
            superuser.execute(statement).await.unwrap();
        }
        server.ensure_database(DATABASE).await.unwrap();
        Self { server }
    }

    pub(super) async fn url(&self, role: &str) -> String {
        self.server.role_url(role, DATABASE).await.unwrap()
    }

    pub(super) async fn owner(&self) -> String {
        self.url(OWNER).await
    }

    /// Runs a statement as the owner, who is a member of the other roles.
    pub(super) async fn run(&self, statement: &'static str) {
        PgConnection::connect(&self.owner().await).await.unwrap().execute(statement).await.unwrap();
    }

    async fn superuser(&self) -> PgPool {
        PgPoolOptions::new().max_connections(2).connect(&self.server.url(DATABASE)).await.unwrap()
    }

    pub(super) async fn stop(self) {
        self.server.stop().await.unwrap();
    }

    /// What each role may do is what the table says, and all else is refused.
    pub(super) async fn is_exact(&self) {
        let superuser = self.superuser().await;
        let relations = relations(&superuser).await;
        let mut tried = 0;
        for role in DatabaseRole::ALL {
            let mut login = PgConnection::connect(&self.url(role.name()).await).await.unwrap();
            for statement in beyond(role, &relations, &superuser).await {
                is_refused(&mut login, role.name(), &statement).await;
                tried += 1;
            }
        }
        assert!(tried > 700, "{tried}");
        let mut owner = PgConnection::connect(&self.owner().await).await.unwrap();
        for statement in OF_SUPERUSERS {
            is_refused(&mut owner, OWNER, statement).await;
        }
        for role in DatabaseRole::ALL.map(DatabaseRole::name).into_iter().chain([OWNER]) {
            let elsewhere = self.server.role_url(role, "postgres").await.unwrap();
            let refused = PgConnection::connect(&elsewhere).await.unwrap_err();
            assert_eq!(code(&refused), "42501", "{role} reaches another database: {refused}");
        }
    }
}

/// What only a superuser may, or a role that was made for it.
const OF_SUPERUSERS: [&str; 6] = [
    "SET ROLE postgres",
    "ALTER ROLE postgres PASSWORD 'x'",
    "SELECT * FROM pg_authid",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('postgresql.conf')",
];

/// A table, a view or a sequence, as it is.
#[derive(sqlx::FromRow)]
struct Relation {
    schema: String,
    name: String,
    /// As in `pg_class`.
    kind: String,
    /// Those of a table or a view.
    columns: Vec<String>,
}

impl Relation {
    fn path(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether a grant is over it.
    fn is_of(&self, grant: &Grant) -> bool {
        match &grant.object {
            Object::Table(name) | Object::Sequence(name) => self.schema == "public" && self.name == *name,
            Object::TablesOf(schema) => *schema == self.schema,
            Object::Schema(_) | Object::Function(_) => false,
        }
    }
}

async fn relations(superuser: &PgPool) -> Vec<Relation> {
    let statement = "SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
                ARRAY(SELECT a.attname::text FROM pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          ORDER BY 1, 2";
    sqlx::query_as(statement).fetch_all(superuser).await.unwrap()
}

/// Everything that a role may not do, a statement each.
async fn beyond(role: DatabaseRole, relations: &[Relation], superuser: &PgPool) -> Vec<String> {
    let granted: Vec<Grant> = grants().into_iter().filter(|grant| grant.role == role).collect();
    let owned: BTreeSet<String> =
        if role == DatabaseRole::Projector { schemas_of_projector().into_iter().collect() } else { BTreeSet::new() };
    let mut statements: Vec<String> = OF_SUPERUSERS.map(str::to_owned).into();
    for relation in relations.iter().filter(|relation| !owned.contains(&relation.schema)) {
        let of_relation: Vec<&Grant> = granted.iter().filter(|grant| relation.is_of(grant)).collect();
        let may = |privilege: &str| of_relation.iter().any(|grant| grant.privilege == privilege);
        let path = relation.path();
        if relation.kind == "S" {
            if !may("USAGE") {
                statements.push(format!("SELECT nextval('{path}')"));
            }
            statements.push(format!("SELECT setval('{path}', 1)"));
            continue;
        }
        let first = &relation.columns[0];
        let tries = [
            ("SELECT", format!("SELECT FROM {path}")),
            ("INSERT", format!("INSERT INTO {path} DEFAULT VALUES")),
            ("UPDATE", format!("UPDATE {path} SET {first} = DEFAULT")),
            ("DELETE", format!("DELETE FROM {path}")),
        ];
        // Views of analysts are made of joins: Postgres takes no row for them, whoever asks.
        let is_view = relation.kind == "v";
        let tries = tries.into_iter().filter(|(privilege, _)| !may(privilege) && (!is_view || *privilege == "SELECT"));
        statements.extend(tries.map(|(_, statement)| statement));
        for grant in of_relation.iter().filter(|grant| !grant.columns.is_empty()) {
            let others = relation.columns.iter().filter(|column| !grant.columns.contains(&column.as_str()));
            statements.extend(others.map(|column| match grant.privilege {
                "INSERT" => format!("INSERT INTO {path} ({column}) VALUES (DEFAULT)"),
                _ => format!("UPDATE {path} SET {column} = DEFAULT"),
            }));
        }
        if is_view {
            statements.push(format!("DROP VIEW {path}"));
        } else {
            statements.push(format!("TRUNCATE {path}"));
            statements.push(format!("DROP TABLE {path}"));
        }
    }
    let schemas: BTreeSet<&str> = relations.iter().map(|relation| relation.schema.as_str()).collect();
    let others = schemas.into_iter().filter(|schema| !owned.contains(*schema));
    statements.extend(others.map(|schema| format!("CREATE TABLE {schema}.beyond ()")));
    statements.extend(
        ["CREATE TEMPORARY TABLE beyond ()", "CREATE SCHEMA beyond", "CREATE ROLE beyond", "CREATE DATABASE beyond"]
            .map(str::to_owned),
    );
    let functions: Vec<(String, String)> = sqlx::query_as(
        "SELECT p.oid::regprocedure::text,
                format('SELECT %s(%s)', p.oid::regproc,
                       (SELECT string_agg('NULL::' || format_type(t, NULL), ', ') FROM unnest(p.proargtypes) t))
           FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prorettype <> 'trigger'::regtype",
    )
    .fetch_all(superuser)
    .await
    .unwrap();
    let plain = |signature: &str| signature.replace(' ', "");
    for (signature, call) in functions {
        let may = granted
            .iter()
            .any(|grant| matches!(&grant.object, Object::Function(function) if plain(function) == plain(&signature)));
        if !may {
            statements.push(call);
        }
    }
    for other in DatabaseRole::ALL.into_iter().filter(|other| *other != role).map(DatabaseRole::name).chain([OWNER]) {
        statements.push(format!("SET ROLE {other}"));
        statements.push(format!("ALTER ROLE {other} PASSWORD 'x'"));
        statements.push(format!("GRANT {other} TO {}", role.name()));
    }
    statements
}

/// Nothing of it stays, should it be done.
async fn is_refused(login: &mut PgConnection, role: &str, statement: &str) {
    // Some statements are refused within a transaction, whoever asks.
    let is_alone = ["ALTER SYSTEM", "CREATE DATABASE"].iter().any(|begin| statement.starts_with(begin));
    if !is_alone {
        // An analyst's login is read-only unless it says otherwise.
        login.execute("BEGIN READ WRITE").await.unwrap();
    }
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *login).await;
    let refused = done.err().unwrap_or_else(|| panic!("{role} may: {statement}"));
    assert_eq!(code(&refused), "42501", "{role}: {statement}: {refused}");
    if !is_alone {
        login.execute("ROLLBACK").await.unwrap();
    }
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}
