# Every image that the chart runs, from one file. Which service a container is, its argument says:
#   docker build -t fleetloop:0.1.0 .                                 all services
#   docker build --target training -t fleetloop-training:0.1.0 .      the same with torch, for training_orchestrator
#   docker run fleetloop:0.1.0 label_router
# BASE has Python 3.11 and pip. A package index or a proxy's CA of your own: --secret id=pip,src=pip.conf
# TORCH_INDEX names an index with another build of torch than PyPI's, which is made for CUDA and has 5 GB.
ARG BASE=python:3.11-slim

FROM ${BASE} AS venv
COPY requirements/services.txt /requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /venv && /venv/bin/pip install --quiet --no-cache-dir --require-hashes -r /requirements/services.txt

FROM ${BASE} AS wheel
WORKDIR /build
COPY requirements/build.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /build/venv && venv/bin/pip install --quiet --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY scripts/build_stubs.py scripts/
COPY protos/ protos/
COPY config/ config/
COPY libraries/ libraries/
COPY services/ services/
RUN PATH=/build/venv/bin:$PATH pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /wheel . ./services

# What the code needs lies below it in layers of its own, so that a change of the code moves few megabytes.
FROM ${BASE} AS runtime
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
COPY --from=venv /venv /venv

FROM runtime AS training
ARG TORCH_INDEX
COPY requirements/torch.txt /requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    if [ -n "$TORCH_INDEX" ]; then pip install --quiet --no-cache-dir --index-url "$TORCH_INDEX" torch onnx onnxscript; \
    else pip install --quiet --no-cache-dir --require-hashes -r /requirements/torch.txt; fi
COPY --from=wheel /wheel /wheel
RUN pip install --quiet --no-cache-dir --no-deps --no-index /wheel/*.whl
COPY config/ /config/
USER 10001:10001
EXPOSE 9000 9100
ENTRYPOINT ["python", "-m"]
CMD ["training_orchestrator"]

FROM runtime AS services
COPY --from=wheel /wheel /wheel
RUN pip install --quiet --no-cache-dir --no-deps --no-index /wheel/*.whl
COPY config/ /config/
USER 10001:10001
EXPOSE 9000 9100 8080
ENTRYPOINT ["python", "-m"]
CMD ["fleetloop"]
