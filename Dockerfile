# One file for every component: docker build --build-arg SERVICE=label_router -t label-router .
# BASE has Python 3.11 and pip.
ARG BASE=python:3.11-slim
FROM ${BASE} AS build
ARG SERVICE
WORKDIR /app
COPY requirements/ requirements/
RUN python3 -m venv /venv && /venv/bin/pip install --quiet --require-hashes -r requirements/embedded.txt \
    && if [ "$SERVICE" = training_orchestrator ]; then \
         /venv/bin/pip install --quiet --require-hashes -r requirements/torch.txt; fi
COPY pyproject.toml README.md LICENSE ./
COPY scripts/ scripts/
COPY protos/ protos/
COPY config/ config/
COPY services/ services/
RUN /venv/bin/pip install --quiet --no-deps --no-build-isolation .

FROM ${BASE}
ARG SERVICE
ENV SERVICE=${SERVICE} PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
COPY --from=build /venv /venv
COPY protos/topics.yaml /app/topics.yaml
COPY config/ /config/
USER 10001:10001
EXPOSE 9000 9100
ENTRYPOINT ["/bin/sh", "-c", "exec python -m \"$SERVICE\""]
