"""Reads every view of the analysts with SQLAlchemy, pandas, polars and DuckDB, and prints how many rows each saw of which.

The address is used as it was printed. What a library makes of a column is asserted where it would hurt: a whole number that
is none, a time without its zone, an id that is a text.

Usage: analysts.py DATABASE_URL
"""

import datetime
import decimal
import json
import pathlib
import sys
import uuid

import duckdb
import duckdb_extension_postgres_scanner
import pandas
import polars
import sqlalchemy

SCHEMA = "analytics_v1"


def views_of(engine: sqlalchemy.Engine) -> list[str]:
    return sorted(sqlalchemy.inspect(engine).get_view_names(SCHEMA))


def by_sqlalchemy(engine: sqlalchemy.Engine, views: list[str]) -> dict[str, int]:
    counts = {}
    metadata = sqlalchemy.MetaData(schema=SCHEMA)
    with engine.connect() as connection:
        for view in views:
            table = sqlalchemy.Table(view, metadata, autoload_with=connection)
            rows = connection.execute(sqlalchemy.select(table)).mappings().all()
            counts[view] = len(rows)
            assert all(column.comment for column in table.columns), view
            for row in rows:
                for name, value in row.items():
                    assert not isinstance(value, decimal.Decimal), f"{view}.{name} is {value!r}"
                    if isinstance(value, datetime.datetime):
                        assert value.tzinfo is not None, f"{view}.{name}"
                    if name.endswith("event_id") and value is not None:
                        assert isinstance(value, uuid.UUID), f"{view}.{name} is {value!r}"
        # Without its schema, too: the search path is set.
        revisions = connection.execute(sqlalchemy.text("SELECT evidence_ids FROM definition_revisions")).scalars().all()
        assert all(isinstance(event, uuid.UUID) for evidence in revisions for event in evidence), revisions
    try:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE mine (number integer)"))
    except sqlalchemy.exc.DBAPIError as refused:
        assert refused.orig.sqlstate == "25006", f"read-only by default: {refused}"
    else:
        raise AssertionError("an analyst writes")
    return counts


def by_pandas(engine: sqlalchemy.Engine, views: list[str]) -> dict[str, int]:
    counts = {}
    with engine.connect() as connection:
        for view in views:
            frame = pandas.read_sql_table(view, connection, schema=SCHEMA)
            counts[view] = len(frame)
        steps = pandas.read_sql("SELECT * FROM session_steps", connection)
    assert steps["sequence"].dtype == "int64", steps.dtypes
    assert steps["duration_seconds"].dtype == "float64", steps.dtypes
    assert steps["since"].dt.tz is not None, steps.dtypes
    booted = steps[steps["status"] == "instantiating"].groupby("worker_id")["duration_seconds"].mean()
    assert len(booted) > 0, steps
    return counts


def for_polars(engine: sqlalchemy.Engine, view: str) -> str:
    """All columns of a view; ids as texts, as polars has no type for them."""
    columns = []
    for column in sqlalchemy.inspect(engine).get_columns(view, schema=SCHEMA):
        name, kind = column["name"], column["type"].compile(engine.dialect)
        columns.append({"UUID": f"{name}::text", "UUID[]": f"{name}::text[]"}.get(kind, name) + f" AS {name}")
    return f"SELECT {', '.join(columns)} FROM {view}"


def by_polars(engine: sqlalchemy.Engine, views: list[str]) -> dict[str, int]:
    frames = {}
    with engine.connect() as connection:
        for view in views:
            frames[view] = polars.read_database(for_polars(engine, view), connection)
    nodes, steps = frames["observation_nodes"], frames["session_steps"]
    assert nodes.schema["disk_read_bytes"] == polars.Int64, nodes.schema
    assert isinstance(steps.schema["since"], polars.Datetime) and steps.schema["since"].time_zone, steps.schema
    assert steps.schema["event_id"] == polars.String, steps.schema
    return {view: frame.height for view, frame in frames.items()}


def by_duckdb(url: str, views: list[str]) -> dict[str, int]:
    counts = {}
    connection = duckdb.connect()
    # As INSTALL postgres would bring it, from a package instead of a download.
    folder = pathlib.Path(duckdb_extension_postgres_scanner.__file__).parent
    connection.load_extension(str(next(folder.rglob("*.duckdb_extension"))))
    connection.execute(f"ATTACH '{url}' AS lablet (TYPE postgres, READ_ONLY, SCHEMA '{SCHEMA}')")
    for view in views:
        counts[view] = len(connection.execute(f"SELECT * FROM lablet.{SCHEMA}.{view}").fetchall())
    described = connection.execute(f"DESCRIBE lablet.{SCHEMA}.definition_revisions").fetchall()
    types = {name: kind for name, kind, *_ in described}
    assert types["evidence_ids"] == "UUID[]" and types["valid_to"] == "TIMESTAMP WITH TIME ZONE", types
    return counts


def by_files(folder: pathlib.Path) -> dict[str, dict[str, list[int]]]:
    """Rows of each exported view by library and format, and how many of them differ."""
    counts: dict[str, dict[str, list[int]]] = {}
    by_duckdb = {
        "parquet": "read_parquet('{}')",
        "csv": "read_csv('{}', all_varchar = true)",
        "jsonl": "read_json('{}', union_by_name = true)",
    }
    by_polars = {
        "parquet": polars.read_parquet,
        "csv": lambda file: polars.read_csv(file, infer_schema=False),
        "jsonl": lambda file: polars.read_ndjson(file, infer_schema_length=None),
    }
    for ending, reader in by_duckdb.items():
        for view in sorted(path for path in (folder / ending).iterdir() if path.is_dir()):
            files = f"{view}/*.{ending}"
            rows = duckdb.sql(f"SELECT * FROM {reader.format(files)}")
            frames = [by_polars[ending](file) for file in sorted(view.glob(f"*.{ending}"))]
            frame = polars.concat(frames, how="vertical_relaxed")
            counts.setdefault(view.name, {})[ending] = [len(rows), len(rows.distinct()), frame.height, frame.unique().height]
    steps = duckdb.sql(f"SELECT * FROM read_parquet('{folder}/parquet/session_steps/*.parquet')")
    types = dict(zip(steps.columns, map(str, steps.types)))
    assert types["since"] == "TIMESTAMP WITH TIME ZONE" and types["sequence"] == "BIGINT", types
    assert types["event_id"] == "VARCHAR" and types["duration_seconds"] == "DOUBLE", types
    silent = duckdb.sql(f"SELECT count(*) FROM '{folder}/parquet/notices/*.parquet' WHERE data::json IS NULL").fetchone()
    assert silent == (0,), f"{silent} notices do not say anything"
    polar = polars.scan_parquet(f"{folder}/parquet/session_steps/*.parquet").collect_schema()
    assert polar["since"] == polars.Datetime("us", "UTC"), polar
    return counts


def main(url: str, exported: str = "") -> None:
    assert url.startswith("postgresql://"), url
    engine = sqlalchemy.create_engine(url)
    views = views_of(engine)
    print(json.dumps({
        "sqlalchemy": by_sqlalchemy(engine, views),
        "pandas": by_pandas(engine, views),
        "polars": by_polars(engine, views),
        "duckdb": by_duckdb(url, views),
        "files": by_files(pathlib.Path(exported)) if exported else {},
    }))


main(*sys.argv[1:])
