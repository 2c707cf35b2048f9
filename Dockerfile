# KalamDB from source: docker build -t kalamdb .
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -ldflags "-s -w" -o /out/kalamdb ./cmd/kalamdb

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libstdc++6 && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home kalamdb && mkdir /data && chown kalamdb /data
COPY --from=build /out/kalamdb /usr/local/bin/kalamdb
USER kalamdb
VOLUME /data
# Inside a container every address is one that others can reach: publish the port on loopback, or
# behind what ends TLS.
ENV KALAMDB_SERVER_ALLOW_PLAIN_HTTP=true
EXPOSE 8080
ENTRYPOINT ["kalamdb"]
CMD ["serve", "--data-dir", "/data", "--listen", "0.0.0.0:8080"]
