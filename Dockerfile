# syntax=docker/dockerfile:1

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src

# First what changes seldom: the locked packages, each of them checked against its hash.
# The environment gets no pip of its own; the one outside fills it.
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv --without-pip /opt/greenroom \
    && python -m pip --python /opt/greenroom/bin/python install --only-binary :all: --require-hashes -r requirements/runtime.txt \
    && python -m venv --without-pip /opt/build \
    && python -m pip --python /opt/build/bin/python install --only-binary :all: --require-hashes -r requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
# Without bench and dev: the image serves.
COPY actors actors
COPY supervision supervision
COPY web web
# What web/static links to.
COPY clients/js/greenroom.js clients/js/greenroom.js
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /tmp/dist \
    && python -m pip --python /opt/greenroom/bin/python install --no-deps --no-index /tmp/dist/*.whl


FROM python:3.11-slim
LABEL org.opencontainers.image.title="Greenroom" \
      org.opencontainers.image.description="An actor-model server for live rooms, on trio" \
      org.opencontainers.image.source="https://github.com/greenroom-server/greenroom" \
      org.opencontainers.image.licenses="MIT"

# The only place the server writes to: the stats database, undelivered callbacks, and rooms over a restart.
RUN groupadd --system --gid 10001 greenroom \
    && useradd --system --uid 10001 --gid greenroom --no-create-home --home-dir /var/lib/greenroom greenroom \
    && install --directory --owner=greenroom --group=greenroom /var/lib/greenroom
COPY --from=build /opt/greenroom /opt/greenroom

ENV PATH="/opt/greenroom/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/var/lib/greenroom
WORKDIR /var/lib/greenroom
VOLUME /var/lib/greenroom
USER 10001:10001
EXPOSE 4000
STOPSIGNAL SIGTERM

# Also with TLS, whoever's name the certificate bears. A draining server answers 503 and counts as unhealthy, so that nobody new is sent to it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; r.urlopen(('https' if os.environ.get('TLS_CERT_FILE') else 'http') + '://127.0.0.1:' + os.environ.get('PORT', '4000') + '/healthz', timeout=2, context=ssl._create_unverified_context())"]

ENTRYPOINT ["greenroom"]
CMD ["serve"]
