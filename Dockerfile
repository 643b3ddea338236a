# Two stages: the first builds, the second runs what a release needs and nothing else.
# Debian slim, since zeromq ships its prebuilt library for glibc.
FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build
RUN npm ci --omit=dev

FROM node:24-bookworm-slim
LABEL org.opencontainers.image.title="endpoint-picker" \
      org.opencontainers.image.description="Picks the model server for every LLM inference request" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV NODE_ENV=production
COPY --from=build /app/node_modules /app/node_modules
COPY --from=build /app/dist /app/dist
COPY package.json LICENSE THIRD-PARTY-NOTICES /app/
COPY schemas /app/schemas
COPY config /app/config
COPY dashboard /app/dashboard
# The field's charts name their mounted files from the root, without a slash: -configFile config/FILE.
WORKDIR /
# node, as the number that runAsNonRoot wants.
USER 1000:1000
# 9002 ext_proc, 9003 gRPC health, 9090 metrics, health and admin pages, 5557 KV events when bound
EXPOSE 9002 9003 9090 5557
# Flags without a command mean serve.
ENTRYPOINT ["node", "/app/dist/main.js"]
