#!/bin/sh
# Run by the Postgres image when its volume is new: the two roles that sign in with passwords of their own. What
# they may do is granted by the migrations, which find them here.
set -eu

psql --no-psqlrc --set ON_ERROR_STOP=1 \
    --set app="$LABLET_APP_PASSWORD" --set analyst="$LABLET_ANALYST_PASSWORD" \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
create role lablet_app login password :'app';
create role lablet_analyst login password :'analyst';
-- What is taken away from a role in Lablet's database, it would have in these.
revoke connect, temporary on database postgres, template1 from public;
SQL
