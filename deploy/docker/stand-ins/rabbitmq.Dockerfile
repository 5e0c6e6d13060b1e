# Takes RABBITMQ_DEFAULT_USER and RABBITMQ_DEFAULT_PASS, and files in /etc/rabbitmq/conf.d.
FROM debian:bookworm-slim
# The user has the number that it has in the official image, and that manifests name.
RUN groupadd --gid 999 rabbitmq \
    && useradd --uid 999 --gid 999 --no-create-home --home-dir /var/lib/rabbitmq rabbitmq \
    && apt-get update \
    && apt-get install --yes --no-install-recommends rabbitmq-server \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /etc/rabbitmq/conf.d \
    && printf 'log.console = true\nlog.file = false\n' > /etc/rabbitmq/conf.d/10-defaults.conf \
    && printf '[rabbitmq_management,rabbitmq_prometheus].\n' > /etc/rabbitmq/enabled_plugins \
    && rm -rf /var/lib/rabbitmq/* && chown rabbitmq: /var/lib/rabbitmq /etc/rabbitmq/*
USER rabbitmq
ENV HOME=/var/lib/rabbitmq
VOLUME /var/lib/rabbitmq
EXPOSE 5672 15672
CMD ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
