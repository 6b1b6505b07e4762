//! The statements that are checked at compile time, described again in a database that was just migrated: a migration
//! that changes what one of them gives fails here, and not where it is executed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use app::log::MIGRATOR;
use serde_json::Value;
use sqlx::postgres::PgTypeInfo;
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Either, Executor as _, PgConnection, SqlSafeStr as _, Statement as _,
    TypeInfo as _,
};

const AGAIN: &str = "run scripts/prepare-statements.sh";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What sqlx committed about each statement.
fn described() -> Vec<Value> {
    let files = std::fs::read_dir(repository().join(".sqlx")).unwrap();
    let described = files.map(|file| serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap());
    described.collect()
}

/// A type as sqlx writes it down: `Int8`, `TextArray`, and by its name where it is another one.
fn is_of_type(written: &Value, found: &PgTypeInfo) -> bool {
    let plain = found.name().trim_matches('"').replace("[]", "Array");
    written.as_str().is_some_and(|written| written.eq_ignore_ascii_case(&plain))
}

async fn is_not_null(database: &mut PgConnection, column: &sqlx::postgres::PgColumn) -> bool {
    let not_null = sqlx::query_scalar("SELECT attnotnull FROM pg_attribute WHERE attrelid = $1 AND attnum = $2")
        .bind(column.relation_id())
        .bind(column.relation_attribute_no())
        .fetch_optional(database)
        .await;
    not_null.unwrap() == Some(true)
}

#[tokio::test]
async fn every_statement_gives_after_all_migrations_what_it_was_compiled_for() {
    let database = servers::testing::database(&MIGRATOR).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let described = described();
    assert!(described.len() > 20, "there are {} statements", described.len());
    for written in described {
        let text = written["query"].as_str().unwrap();
        let written = &written["describe"];
        let statement = (&mut connection).prepare(AssertSqlSafe(text.to_owned()).into_sql_str()).await;
        let statement = statement.unwrap_or_else(|error| panic!("{text}\n{error}; {AGAIN}"));
        let parameters = written["parameters"]["Left"].as_array().unwrap();
        match statement.parameters().unwrap() {
            Either::Left(found) => {
                assert_eq!(found.len(), parameters.len(), "{text}\n{AGAIN}");
                for (number, (written, found)) in parameters.iter().zip(found).enumerate() {
                    assert!(is_of_type(written, found), "${} is {found}, not {written}\n{text}\n{AGAIN}", number + 1);
                }
            }
            Either::Right(_) => panic!("Postgres names the types of parameters"),
        }
        let columns = written["columns"].as_array().unwrap();
        assert_eq!(statement.columns().len(), columns.len(), "{text}\n{AGAIN}");
        let nullable = written["nullable"].as_array().unwrap();
        for ((written, found), nullable) in columns.iter().zip(statement.columns()).zip(nullable) {
            assert_eq!(written["name"], found.name(), "{text}\n{AGAIN}");
            let is_same = is_of_type(&written["type_info"], found.type_info());
            assert!(is_same, "{} is {}\n{text}\n{AGAIN}", found.name(), found.type_info());
            // What is compiled as never null must not become so; the reverse harms nobody.
            if *nullable == false {
                assert!(is_not_null(&mut connection, found).await, "{} may be null\n{text}\n{AGAIN}", found.name());
            }
        }
    }
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn no_description_is_left_of_a_statement_that_is_gone() {
    let mut files = Vec::new();
    for crate_with_statements in ["app", "projections", "gateway", "cli"] {
        rust_files(&repository().join(crate_with_statements).join("src"), &mut files);
    }
    let sources: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let described = described();
    let texts: BTreeSet<&str> = described.iter().map(|written| written["query"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), described.len());
    for text in texts {
        assert!(sources.iter().any(|source| source.contains(text)), "no source has this statement; {AGAIN}\n{text}");
    }
}
