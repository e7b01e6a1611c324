# The broker and the command, without torch. ComfyUI is not in it.
#   docker build -t gatebus .
#   docker run --rm gatebus --help

FROM python:3.13.15-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# No pip in what runs: the environment is filled from outside.
RUN python -m venv --without-pip /opt/gatebus \
 && pip --python /opt/gatebus/bin/python install --no-cache-dir "$(echo /wheels/gatebus-*.whl)[fast]"

FROM python:3.13.15-slim-bookworm
LABEL org.opencontainers.image.title="gatebus" \
      org.opencontainers.image.description="Human-in-the-loop gates, named buses and image pools for ComfyUI" \
      org.opencontainers.image.licenses="MIT"
# A fixed uid, so that volumes keep their owner over every rebuild.
RUN groupadd --gid 10001 gatebus \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin gatebus \
 && install -d -o 10001 -g 10001 -m 700 /data
COPY --from=build /opt/gatebus /opt/gatebus
ENV PATH=/opt/gatebus/bin:$PATH \
    HOME=/data \
    PYTHONUNBUFFERED=1
USER 10001:10001
# Settings (/data/.local/share/gatebus/settings.json), thumbnails, and the mirror of pools and buses.
VOLUME /data
EXPOSE 8787
# http.client, because urllib would go through a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8787, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["gatebus"]
# It starts only with tokens (GATEBUS_TOKENS), because it listens to other machines.
CMD ["serve", "--host", "0.0.0.0", "--port", "8787"]
