# Two stages: packages are installed in the first, the second has no compiler, no pip cache, no root.
FROM python:3.11-slim AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /srv
RUN uv venv /opt/venv
ENV VIRTUAL_ENV=/opt/venv
# the CPU build; leave out --torch-backend for the CUDA one
COPY constraints.txt ./
RUN uv pip install --torch-backend=cpu torch==2.13.0
COPY pyproject.toml README.md ./
COPY app app
COPY model model
COPY templates templates
COPY static static
RUN uv pip install --torch-backend=cpu -c constraints.txt .

FROM python:3.11-slim
RUN useradd --uid 1000 --create-home app && mkdir /data /var/cache/numba && chown app /data /var/cache/numba
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATABASE_URL=sqlite:////data/dois-treinos.db \
    NUMBA_CACHE_DIR=/var/cache/numba
USER app
# on another kind of processor this is done again at the first start
RUN python -c "from model.engine import prepare; prepare()"
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
  CMD python -c "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz')"
CMD ["dois-treinos", "serve"]
