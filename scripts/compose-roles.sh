#!/bin/sh
# Run by the Postgres image when its volume is new: the roles that sign in with passwords of their own, which stand in
# files. What they may do is granted by the migrations, which find them here.
set -eu

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\set app `cat /run/secrets/app-password`
\set projector `cat /run/secrets/projector-password`
\set analyst `cat /run/secrets/analyst-password`
create role lablet_app login password :'app';
create role lablet_projector login password :'projector';
create role lablet_analyst login password :'analyst';
-- What is taken away from a role in Lablet's database, it would have in these.
revoke connect, temporary on database postgres, template1 from public;
SQL
