# syntax=docker/dockerfile:1
# Drover in a container, for any x86-64 or ARM machine: the engine's variant for its processor is taken at the start.
#
#   docker build --tag drover .
#   docker run --detach --publish 127.0.0.1:11434:11434 --volume drover:/var/lib/drover --stop-timeout 45 drover
FROM debian:12 AS build
ENV DEBIAN_FRONTEND=noninteractive
WORKDIR /src
COPY dev ./
RUN ./dev setup building && rm -rf /var/lib/apt/lists/*
COPY . .
# What is downloaded of the engine is kept for the next build.
RUN --mount=type=cache,target=/root/.cache/drover \
    cmake --preset release && \
    cmake --build --preset release --parallel "$(nproc)" --target drover && \
    mkdir /opt/drover && \
    cp -RP build/release/drover build/release/engine /opt/drover/ && \
    strip --strip-debug /opt/drover/drover

FROM debian:12-slim
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates libcurl4 libedit2 libfmt9 libprotobuf32 libseccomp2 libspdlog1.10 libssl3 libzstd1 tini zlib1g && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/drover /opt/drover
RUN ln -s /opt/drover/drover /usr/local/bin/drover && \
    useradd --system --create-home --home-dir /var/lib/drover --uid 10001 drover
USER drover
ENV OLLAMA_HOST=0.0.0.0:11434 OLLAMA_MODELS=/var/lib/drover/models
VOLUME /var/lib/drover
EXPOSE 11434
# Green while the process answers; whether it can take a request is what /readyz says.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["drover", "ps"]
# The first process of a container has to collect what a runner leaves behind: the processes that prepare its requests.
ENTRYPOINT ["tini", "--", "drover"]
CMD ["serve"]
