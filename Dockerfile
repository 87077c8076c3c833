# cloakwork serve. The embedded models are in the package; nothing is fetched when it runs.
#   docker build -t cloakwork .
#   docker run --rm -p 127.0.0.1:8766:8766 -v "$PWD/tokens:/tokens:ro" -v spool:/spool cloakwork
FROM python:3.11-slim

# where the CPU build of torch comes from, which is much smaller than the usual one: --build-arg
# TORCH_INDEX=... (torch's own page says the address); empty: the usual build
ARG TORCH_INDEX=""

WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && pip install --no-cache-dir -c constraints.txt ".[serve]" \
    && rm -rf /build

RUN useradd --create-home --uid 1000 cloakwork && mkdir /spool && chown cloakwork /spool
USER cloakwork
WORKDIR /home/cloakwork
VOLUME /spool
EXPOSE 8766

HEALTHCHECK --start-period=60s CMD ["python", "-c", \
  "import urllib.request as r; r.urlopen('http://127.0.0.1:8766/healthz', timeout=3)"]
# a container is reached from outside, so tokens are asked for
ENTRYPOINT ["cloakwork", "serve", "--host", "0.0.0.0", "--port", "8766", "--spool", "/spool"]
CMD ["--tokens", "/tokens"]
