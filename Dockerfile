# A dated tag is the same image each time; a later date brings Debian's fixes.
FROM debian:trixie-20260316-slim AS build

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/holystone
WORKDIR /build

# Dependencies first: they change less often than the code.
COPY requirements.lock .
RUN /opt/holystone/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock

COPY pyproject.toml README.md LICENSE celeryconfig.py ./
COPY worker worker
COPY tasks tasks
COPY hostside hostside
RUN /opt/holystone/bin/pip install --no-deps --no-build-isolation . \
    && /opt/holystone/bin/pip uninstall --yes setuptools pip


FROM debian:trixie-20260316-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home holystone \
    && chmod 755 /home/holystone

COPY --from=build /opt/holystone /opt/holystone
# docker-compose.yml names it by its whole path: one that Flower only looks for by default may be missing.
COPY --from=build /build/worker/flowerconfig.py /etc/holystone/

# HOME and USER are named, and the folder open, so that any user the container is run as finds ~/.ssh.
ENV PATH=/opt/holystone/bin:$PATH \
    HOME=/home/holystone \
    USER=holystone \
    PYTHONUNBUFFERED=1

# holystone.toml is read from here.
WORKDIR /etc/holystone
USER 10001:10001
CMD ["celery", "-A", "worker", "worker", "--loglevel", "INFO"]
