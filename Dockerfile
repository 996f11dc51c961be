# One image for every role: web, predictor, worker, scheduler. See docs/operations.md.
#
#   docker build -t kizu .                                          on x86-64 Linux, torch with CUDA
#   docker build -t kizu --build-arg TORCH_INDEX_URL=... .          torch from another index, such as PyTorch's CPU wheels
#
ARG PYTHON_VERSION=3.12
ARG NODE_VERSION=22

FROM node:${NODE_VERSION}-slim AS node

FROM python:${PYTHON_VERSION}-slim AS build
# npm is needed to fetch the front-end libraries, and only here.
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /opt/kizu
ARG TORCH_INDEX_URL=""
# Which extras of pyproject.toml to install; a host that only serves pages and predictions needs "postgres s3".
ARG EXTRAS="worker postgres s3"
ENV PIP_NO_CACHE_DIR=1
# Only what decides the packages: the layer is made again when a pin changes, not with every line of code.
COPY kizu pyproject.toml constraints.txt package.json package-lock.json ./
RUN if [ -n "$TORCH_INDEX_URL" ]; then export PIP_EXTRA_INDEX_URL="$TORCH_INDEX_URL"; fi \
 && ./kizu install $EXTRAS \
 && rm -rf node_modules

FROM python:${PYTHON_VERSION}-slim
RUN useradd --system --uid 10001 --no-create-home kizu \
 && install -d -o kizu -g kizu /data
WORKDIR /opt/kizu
COPY --from=build /opt/kizu/.venv .venv
COPY --from=build /opt/kizu/static/vendor static/vendor
COPY LICENSE pyproject.toml ./
COPY migrations migrations
COPY static static
COPY templates templates
COPY worker worker
COPY app app
# Compiled here, for nothing is written at run time.
RUN .venv/bin/python -m compileall -q app worker migrations
# Nothing below /opt/kizu is written at run time: the container may be read-only but for /data and /tmp.
ENV KIZU_HOME=/data KIZU_HOST=0.0.0.0 HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=2
USER kizu
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["/opt/kizu/.venv/bin/python", "-P", "-m", "app.cli"]
# Alone, the image is a whole embedded installation; docker-compose.yml gives each container its role.
CMD ["up"]
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
  CMD ["/opt/kizu/.venv/bin/python", "-P", "-m", "app.cli", "health"]
