# The one executable, `lablet`, in a small image that runs as an unprivileged user. docker-compose.yml runs each role
# of it as a service.

# The version of rust-toolchain.toml, which a test compares.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /source
COPY . .
# The image is built without the repository's history: --build-arg COMMIT=$(git rev-parse --short=12 HEAD).
ARG COMMIT=
ENV LABLET_COMMIT=$COMMIT
# The caches are the builder's, not the image's: a second build compiles only what changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked -p cli --bin lablet \
    && install -D target/release/lablet /result/usr/local/bin/lablet \
    # Sample labs for the simulator.
    && install -d /result/usr/local/share/lablet \
    && cp -R simulator/demo /result/usr/local/share/lablet/topologies \
    # The authorities that sign public certificates; one of your own goes into LABLET_CML_CA.
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /result/etc/ssl/certs/ca-certificates.crt

FROM debian:bookworm-slim AS lablet
COPY --from=build /result/ /
# A number, so that an orchestrator can see that it is not root; it owns nothing in the image.
USER 10001:10001
WORKDIR /tmp
ENV LABLET_HTTP=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/lablet"]
CMD ["--help"]
