-- Three roles for the figures' database. Run it as the database's owner or a superuser, before the first migration and
-- after each one; running it again changes nothing:
--
--   psql -v ON_ERROR_STOP=1 -d xero -f deploy/postgres-roles.sql
--
--   xero_owner   owns the tables: only `xero-pipeline migrate` (and `restore`) uses it
--   xero_app     what every other process uses in DATABASE_URL: reads and writes rows, and can change no table
--   xero_reader  for dashboards: reads figures, and can see no token, consent, session or access token
--
-- Other names: psql -v owner=… -v app=… -v reader=… . Give each a password afterwards: \password xero_app
--
-- Tables of an older deployment belong to the role that migrated it. Hand them over first:
--   REASSIGN OWNED BY old_role TO xero_owner;

\if :{?owner} \else \set owner xero_owner \endif
\if :{?app} \else \set app xero_app \endif
\if :{?reader} \else \set reader xero_reader \endif

SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', name)
FROM unnest(ARRAY[:'owner', :'app', :'reader']) AS name
WHERE name NOT IN (SELECT rolname FROM pg_roles)
\gexec

SELECT current_database() AS database \gset
BEGIN;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"owner", :"app", :"reader";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO :"owner";
GRANT USAGE ON SCHEMA public TO :"app", :"reader";

-- The pipeline: rows, and the numbers of new rows. The default is for tables that later migrations create.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"app";
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO :"app";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO :"app";

-- It need not change which migration the tables are at.
SELECT format('REVOKE INSERT, UPDATE, DELETE ON xero_pipeline_alembic_version FROM %I', :'app')
WHERE to_regclass('public.xero_pipeline_alembic_version') IS NOT NULL
\gexec

-- Dashboards: only what is named here. A new table is not seen until somebody adds it.
SELECT format('GRANT SELECT ON public.%I TO %I', relname, :'reader')
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') AND relname IN (
    'financial_weekly', 'financial_weekly_lines', 'revenue_weekly', 'cash_position_weekly', 'weekly_summary',
    'financial_monthly', 'financial_monthly_lines', 'cash_position_monthly', 'revenue_monthly', 'monthly_summary',
    'revenue_documents', 'revenue_document_lines', 'revenue_document_changes', 'organisations', 'weekly_comparison',
    'restatements', 'reconciliations', 'xero_sync_logs'
)
\gexec
ALTER ROLE :"reader" SET default_transaction_read_only = on;
ALTER ROLE :"reader" SET statement_timeout = '60s';
COMMIT;
