# The image of godwit: one static binary and nothing else. Any builder of images will do; base images are arguments,
# so that they can come from a registry of your own.
ARG GO_IMAGE=golang:1.26-alpine
FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /image/godwit .
# A volume that is first mounted over one of these folders takes over its owner, so that nobody has to be root to make
# it fit: /data holds what a process keeps, /cluster the folders of "godwit cluster make", /volumes those of others.
RUN mkdir -p -m 0700 /image/data /image/cluster /image/volumes \
	&& cd /image/cluster && mkdir -m 0700 ca nats-1 nats-2 nats-3 connector projector gateway init \
	&& cd /image/volumes && mkdir -m 0700 nats-1 nats-2 nats-3 \
	&& mkdir -p -m 1777 /image/tmp \
	&& mkdir -p /image/etc/ssl/certs \
	&& cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
	&& echo 'godwit:x:10001:10001::/data:/' >/image/etc/passwd \
	&& echo 'godwit:x:10001:' >/image/etc/group

FROM scratch
LABEL org.opencontainers.image.title="godwit" \
	org.opencontainers.image.description="A messaging server for TeamTalk clients that never loses what it acknowledged" \
	org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build --chown=10001:10001 /image/ /
USER 10001:10001
WORKDIR /data
ENV GODWIT_DATA=/data
# Clients, HTTP, the admin port, files.
EXPOSE 8000 8080 8081 8600
ENTRYPOINT ["/godwit"]
CMD ["up"]
