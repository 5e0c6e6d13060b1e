# Takes POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB.
FROM debian:bookworm-slim
# The user has the number that it has in the official image, and that manifests name. The
# package's alternatives want the folders of the manuals, which a slim image lacks.
RUN groupadd --gid 999 postgres \
    && useradd --uid 999 --gid 999 --no-create-home --home-dir /var/lib/postgresql postgres \
    && mkdir -p /usr/share/man/man1 /usr/share/man/man7 \
    && apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-15 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner postgres --mode 700 /var/lib/postgresql/data
COPY postgres-entrypoint /usr/local/bin/entrypoint
USER postgres
ENV PATH=/usr/lib/postgresql/15/bin:$PATH \
    PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
CMD ["entrypoint"]
