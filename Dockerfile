# One image for every process: code server, daemon, admin page, migration, and each run on Kubernetes or ECS.
# Build: docker build -t xero-pipeline .   The commands are those of deploy/README.md.
ARG PYTHON=python:3.13-slim-bookworm

# hadolint ignore=DL3006 -- the tag is in PYTHON
FROM ${PYTHON} AS build
WORKDIR /build
RUN python -m venv /opt/xero
COPY requirements-image.lock ./
RUN /opt/xero/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-image.lock
COPY pyproject.toml README.md LICENSE dagster.yaml workspace.yaml .env.example ./
COPY xero_pipeline xero_pipeline
RUN /opt/xero/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/xero/bin/python -m pip uninstall --yes pip

# hadolint ignore=DL3006 -- the tag is in PYTHON
FROM ${PYTHON}
# data/ is the only folder that a process writes to, and only for compute logs: mount a volume or a tmpfs there.
RUN useradd --uid 10001 --home-dir /srv/xero --no-create-home --shell /usr/sbin/nologin xero \
    && install -d -o 10001 -g 10001 -m 0700 /srv/xero/data
COPY --from=build /opt/xero /opt/xero
COPY deploy/dagster.yaml deploy/workspace.yaml /srv/xero/
COPY --chmod=0755 deploy/image/run-with-secrets /usr/local/bin/
ENV PATH=/opt/xero/bin:$PATH DAGSTER_HOME=/srv/xero PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DAGSTER_DISABLE_TELEMETRY=1
WORKDIR /srv/xero
USER 10001:10001
EXPOSE 3001 4000
ENTRYPOINT ["run-with-secrets"]
# The admin page; it does not listen beyond loopback without ADMIN_TOKEN.
CMD ["xero-pipeline", "admin", "--host", "0.0.0.0", "--port", "3001"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3001/healthz', timeout=4)"]
