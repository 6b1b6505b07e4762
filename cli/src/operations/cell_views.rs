//! `lablet analyst join-cells`: one `analytics_v1` over the cells of a console, as views over foreign tables.
//!
//! In a database of its own, as a superuser or whoever may use postgres_fdw. For each cell it has a foreign server, and a
//! schema `cell_<name>` with a foreign table for each of the cell's views; `analytics_v1` has the same views over all cells,
//! with the cell's name in the column `cell`. Run again it takes up what changed: cells, passwords, columns. An analyst of
//! that database needs no login of a cell's: the views read with the rights of their owner.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use clap::Args;
use gateway::cells::Cell;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use url::Url;

use super::quiet_connection::connect;
use crate::configuration::cells::CellsArguments;
use crate::secret::Secret;
use crate::terminal::say;

/// Which cells, and where.
#[derive(Debug, Args)]
pub(crate) struct JoinCellsArguments {
    #[command(flatten)]
    cells: CellsArguments,
    /// The console's database, in which the views are made, postgresql://user:password@host/database. It is none of a cell's.
    #[arg(long, env = "LABLET_CONSOLE_DATABASE_URL", hide_env_values = true)]
    console_database_url: Secret,
}

/// A view of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct ViewShape {
    comment: String,
    columns: Vec<ColumnShape>,
}

/// A column of a cell's view.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ColumnShape {
    name: String,
    /// As Postgres writes it, with its collation where that is not the type's own.
    kind: String,
    comment: String,
}

/// A column, as the catalog of a cell's database has it.
#[derive(sqlx::FromRow)]
struct ReadColumn {
    view: String,
    view_comment: String,
    name: String,
    kind: String,
    comment: String,
}

/// What a cell's analysts can read.
struct CellCatalog {
    cell: String,
    region: Option<String>,
    gateway: String,
    views: BTreeMap<String, ViewShape>,
}

/// Carries the command out. `analyst` is the role that may read the views.
pub(super) async fn run(arguments: JoinCellsArguments, analyst: &str) -> anyhow::Result<()> {
    let cells = arguments.cells.configured()?;
    let mut console = connect(&arguments.console_database_url).await?;
    let holds_a_log: bool = sqlx::query_scalar("SELECT to_regclass('public.log_epoch') IS NOT NULL")
        .fetch_one(&mut console)
        .await
        .context("the console's database cannot be read")?;
    if holds_a_log {
        bail!("this database holds the log of a cell; the views over all cells need a database of their own");
    }
    let mut catalogs = Vec::new();
    let mut statements = vec!["CREATE EXTENSION IF NOT EXISTS postgres_fdw".to_owned()];
    for cell in &cells {
        let url = analyst_url(cell)?;
        let views = read_views(&url).await.with_context(|| format!("cell {}", cell.name))?;
        statements.extend(server(&cell.name, &url)?);
        catalogs.push(CellCatalog {
            cell: cell.name.clone(),
            region: cell.region.clone(),
            gateway: cell.gateway.to_string(),
            views,
        });
    }
    statements.extend(views_over(&catalogs, &shown_columns(&mut console).await?));
    statements.extend(rights(analyst));
    let mut transaction = console.begin().await?;
    for cell in former_cells(&mut transaction, &cells).await? {
        // Its views read it no more when these statements have run.
        statements.push(format!("DROP SERVER IF EXISTS {} CASCADE", quoted(&schema(&cell))));
        statements.push(format!("DROP SCHEMA IF EXISTS {} CASCADE", quoted(&schema(&cell))));
    }
    for statement in statements {
        // Not the statement: it may hold a password.
        let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await;
        done.context("the views cannot be made; that needs a superuser, or an owner who may use postgres_fdw")?;
    }
    transaction.commit().await?;
    for catalog in &catalogs {
        say(&format!("cell {}: {} views", catalog.cell, catalog.views.len()))?;
    }
    say("analytics_v1 of this database shows all cells, with the name of each in the column cell")
}

/// The address of a cell's database for its analysts.
fn analyst_url(cell: &Cell) -> anyhow::Result<Secret> {
    let name = &cell.name;
    let file = cell.analyst_url_file.as_ref();
    let file = file.with_context(|| format!("cell {name}: analyst_url_file is missing, see docs/cells.md"))?;
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cell {name}: analyst_url_file {} cannot be read", file.display()))?;
    text.trim()
        .parse()
        .map_err(|problem| anyhow::anyhow!("cell {name}: analyst_url_file {}: {problem}", file.display()))
}

/// The views that a cell has for analysts.
async fn read_views(url: &Secret) -> anyhow::Result<BTreeMap<String, ViewShape>> {
    let mut cell = connect(url).await?;
    let rows: Vec<ReadColumn> = sqlx::query_as(
        "SELECT c.relname::text AS view, coalesce(obj_description(c.oid, 'pg_class'), '') AS view_comment,
                a.attname::text AS name,
                format_type(a.atttypid, a.atttypmod)
                    || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END
                    AS kind,
                coalesce(col_description(c.oid, a.attnum), '') AS comment
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
          WHERE c.relnamespace = to_regnamespace('analytics_v1') AND c.relkind = 'v' AND a.attnum > 0
          ORDER BY c.relname, a.attnum",
    )
    .fetch_all(&mut cell)
    .await
    .context("its views cannot be listed")?;
    cell.close().await?;
    if rows.is_empty() {
        bail!("its database has no schema analytics_v1");
    }
    let mut views = BTreeMap::<String, ViewShape>::new();
    for ReadColumn { view, view_comment, name, kind, comment } in rows {
        let shape = views.entry(view).or_default();
        shape.comment = view_comment;
        shape.columns.push(ColumnShape { name, kind, comment });
    }
    Ok(views)
}

/// The columns that the console's views have now, in their order: a view that is replaced keeps them first.
async fn shown_columns(console: &mut PgConnection) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let rows: Vec<(String, Vec<String>)> = sqlx::query_as(
        "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
          WHERE c.relnamespace = to_regnamespace('analytics_v1') AND c.relkind = 'v' AND a.attnum > 0
          GROUP BY c.relname",
    )
    .fetch_all(console)
    .await?;
    Ok(rows.into_iter().collect())
}

/// Cells that were joined before and are not among these.
async fn former_cells(console: &mut PgConnection, cells: &[Cell]) -> anyhow::Result<Vec<String>> {
    let servers: Vec<(String,)> = sqlx::query_as(
        "SELECT s.srvname::text FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
          WHERE w.fdwname = 'postgres_fdw' ORDER BY 1",
    )
    .fetch_all(console)
    .await?;
    let names = servers.iter().filter_map(|(server,)| server.strip_prefix("cell_"));
    Ok(names.filter(|name| cells.iter().all(|cell| cell.name != *name)).map(str::to_owned).collect())
}

/// The schema of a cell's foreign tables, and its foreign server.
fn schema(cell: &str) -> String {
    format!("cell_{cell}")
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A text in a statement, whatever is in it.
fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "\\'");
    format!("E'{escaped}'")
}

/// The foreign server of a cell, and who asks it.
fn server(cell: &str, url: &Secret) -> anyhow::Result<Vec<String>> {
    let url = Url::parse(url.reveal())
        .map_err(|_| anyhow::anyhow!("cell {cell}: analyst_url_file holds no postgresql:// address"))?;
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let host = url.host_str().with_context(|| format!("cell {cell}: analyst_url_file names no host"))?;
    let mut connection = vec![
        ("host", host.trim_matches(['[', ']']).to_owned()),
        ("port", url.port().unwrap_or(5432).to_string()),
        ("dbname", decoded(url.path().trim_start_matches('/'))),
        ("sslmode", parameter("sslmode").unwrap_or_else(|| "prefer".to_owned())),
        // Cells are read at the same time, and a cell that is away is given up.
        ("async_capable", "true".to_owned()),
        ("connect_timeout", "5".to_owned()),
        ("fetch_size", "1000".to_owned()),
    ];
    if let Some(certificates) = parameter("sslrootcert") {
        connection.push(("sslrootcert", certificates));
    }
    let user = [("user", decoded(url.username())), ("password", decoded(url.password().unwrap_or_default()))];
    let name = quoted(&schema(cell));
    // A foreign table needs its server: so that is changed and not made anew. An option is either added or set.
    let options = |object: &str, catalog: &str, options: &[(&str, String)]| {
        let mut statement = String::from("DO $join$ BEGIN ");
        for (option, value) in options {
            let known = format!(
                "EXISTS (SELECT FROM {catalog}, unnest(options) o WHERE o LIKE {})",
                literal(&format!("{option}=%"))
            );
            for (verb, condition) in [("SET", known.clone()), ("ADD", format!("NOT {known}"))] {
                let altered = literal(&format!("ALTER {object} OPTIONS ({verb} {option} {})", literal(value)));
                statement.push_str(&format!("IF {condition} THEN EXECUTE {altered}; END IF; "));
            }
        }
        statement + "END $join$"
    };
    Ok(vec![
        format!("CREATE SERVER IF NOT EXISTS {name} FOREIGN DATA WRAPPER postgres_fdw"),
        options(
            &format!("SERVER {name}"),
            &format!(
                "(SELECT srvoptions AS options FROM pg_foreign_server WHERE srvname = {}) s",
                literal(&schema(cell))
            ),
            &connection,
        ),
        format!("CREATE USER MAPPING IF NOT EXISTS FOR CURRENT_USER SERVER {name}"),
        options(
            &format!("USER MAPPING FOR CURRENT_USER SERVER {name}"),
            &format!(
                "(SELECT umoptions AS options FROM pg_user_mappings WHERE srvname = {} AND usename = CURRENT_USER) s",
                literal(&schema(cell))
            ),
            &user,
        ),
    ])
}

/// Foreign tables for the cells' views, and views over all of them. What one cell does not have yet is null there.
fn views_over(cells: &[CellCatalog], shown: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut statements = Vec::new();
    for cell in cells {
        let schema = quoted(&schema(&cell.cell));
        statements.push(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        for (view, shape) in &cell.views {
            let table = format!("{schema}.{}", quoted(view));
            statements.push(format!(
                "CREATE FOREIGN TABLE IF NOT EXISTS {table} () SERVER {schema} \
                 OPTIONS (schema_name 'analytics_v1', table_name {})",
                literal(view)
            ));
            for column in &shape.columns {
                statements.push(format!(
                    "ALTER FOREIGN TABLE {table} ADD COLUMN IF NOT EXISTS {} {}",
                    quoted(&column.name),
                    column.kind
                ));
            }
        }
    }
    statements.push("CREATE SCHEMA IF NOT EXISTS analytics_v1".to_owned());
    let names: BTreeSet<&String> = cells.iter().flat_map(|cell| cell.views.keys()).collect();
    for view in names {
        let none = Vec::new();
        statements.extend(view_over(view, cells, shown.get(view).unwrap_or(&none)));
    }
    statements.push(view_of_cells(cells));
    statements
        .push("COMMENT ON VIEW analytics_v1.cells IS 'The cells that these views show, a row for each.'".to_owned());
    statements
}

fn view_over(view: &str, cells: &[CellCatalog], shown: &[String]) -> Vec<String> {
    let shapes: Vec<(&CellCatalog, &ViewShape)> =
        cells.iter().filter_map(|cell| Some((cell, cell.views.get(view)?))).collect();
    let mut columns: Vec<&ColumnShape> = Vec::new();
    let known = |name: &String| shapes.iter().flat_map(|(_, shape)| &shape.columns).find(|column| column.name == *name);
    let all = shapes.iter().flat_map(|(_, shape)| &shape.columns);
    for column in shown.iter().filter_map(known).chain(all) {
        if columns.iter().all(|earlier| earlier.name != column.name) {
            columns.push(column);
        }
    }
    let selects: Vec<String> = shapes
        .iter()
        .map(|(cell, shape)| {
            let parts: Vec<String> = columns
                .iter()
                .map(|column| match shape.columns.iter().any(|own| own.name == column.name) {
                    true => quoted(&column.name),
                    false => format!("NULL::{} AS {}", column.kind, quoted(&column.name)),
                })
                .collect();
            let (name, table) = (literal(&cell.cell), quoted(&schema(&cell.cell)));
            format!("SELECT {name}::text AS cell, {} FROM {table}.{}", parts.join(", "), quoted(view))
        })
        .collect();
    let target = format!("analytics_v1.{}", quoted(view));
    let comment = shapes.first().map(|(_, shape)| shape.comment.as_str()).unwrap_or_default();
    let mut statements = vec![
        format!("CREATE OR REPLACE VIEW {target} AS {}", selects.join(" UNION ALL ")),
        format!("COMMENT ON VIEW {target} IS {}", literal(&format!("{comment} Of all cells."))),
        format!("COMMENT ON COLUMN {target}.cell IS 'The cell that the row is of. With it, an id is unique.'"),
    ];
    statements.extend(
        columns.iter().map(|column| {
            format!("COMMENT ON COLUMN {target}.{} IS {}", quoted(&column.name), literal(&column.comment))
        }),
    );
    statements
}

/// A view of the cells themselves.
fn view_of_cells(cells: &[CellCatalog]) -> String {
    let rows: Vec<String> = cells
        .iter()
        .map(|cell| {
            let region = cell.region.as_ref().map_or_else(|| "NULL".to_owned(), |region| literal(region));
            format!("({}::text, {region}::text, {}::text)", literal(&cell.cell), literal(&cell.gateway))
        })
        .collect();
    format!(
        "CREATE OR REPLACE VIEW analytics_v1.cells AS SELECT * FROM (VALUES {}) AS c (cell, region, gateway)",
        rows.join(", ")
    )
}

/// Analysts read the views, and nothing below them.
fn rights(analyst: &str) -> Vec<String> {
    vec![
        format!(
            "DO $role$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{analyst}') THEN \
             CREATE ROLE {analyst} NOLOGIN; END IF; END $role$"
        ),
        format!("GRANT USAGE ON SCHEMA analytics_v1 TO {analyst}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA analytics_v1 TO {analyst}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str) -> ColumnShape {
        ColumnShape { name: name.to_owned(), kind: kind.to_owned(), comment: format!("It's {name}.") }
    }

    fn cell(name: &str, columns: &[ColumnShape]) -> CellCatalog {
        let shape = ViewShape { comment: "Workers.".to_owned(), columns: columns.to_vec() };
        CellCatalog {
            cell: name.to_owned(),
            region: None,
            gateway: format!("https://{name}.example/"),
            views: [("workers".to_owned(), shape)].into(),
        }
    }

    #[test]
    fn what_a_cell_of_an_older_version_lacks_is_null_there_and_a_replaced_view_keeps_its_columns_first() {
        let (id, name) = (column("worker_id", "text COLLATE \"C\""), column("name", "text"));
        let region = column("region", "text");
        let older = cell("east", &[id.clone(), name.clone()]);
        let newer = cell("west", &[id, region, name]);
        let shown = ["cell", "name", "worker_id"].map(str::to_owned);
        let statements = view_over("workers", &[older, newer], &shown);
        assert_eq!(
            statements[0],
            "CREATE OR REPLACE VIEW analytics_v1.\"workers\" AS \
             SELECT E'east'::text AS cell, \"name\", \"worker_id\", NULL::text AS \"region\" FROM \"cell_east\".\"workers\" \
             UNION ALL SELECT E'west'::text AS cell, \"name\", \"worker_id\", \"region\" FROM \"cell_west\".\"workers\""
        );
        assert_eq!(statements[3], "COMMENT ON COLUMN analytics_v1.\"workers\".\"name\" IS E'It\\'s name.'");
    }

    #[test]
    fn a_password_may_hold_anything() {
        let url: Secret = "postgresql://grafana:a%27b%5Cc@db.example.org/lablet?sslmode=verify-full".parse().unwrap();
        let statements = server("east", &url).unwrap().join(";\n");
        assert!(statements.contains("sslmode E\\'verify-full\\'"), "{statements}");
        assert!(statements.contains("password E\\'a\\\\\\'b\\\\\\\\c\\'"), "{statements}");
        let nowhere: Secret = "not an address".parse().unwrap();
        server("east", &nowhere).unwrap_err();
    }
}
