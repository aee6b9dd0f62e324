#!/bin/sh
# Makes shared/gen from proto/, and the descriptor set that reflection serves. The result is committed, so that a build needs no
# compiler for protocol buffers; a test says when it is stale. Usage: sh shared/generate.sh [OUTPUT FOLDER]
set -eu
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:-shared/gen}" && cd "${1:-shared/gen}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/buf.gen.yaml" <<YAML
version: v2
plugins:
  - local: $PWD/node_modules/.bin/protoc-gen-ts_proto
    out: $out
    opt:
      - outputServices=grpc-js
      - esModuleInterop=true
      - importSuffix=.js
      - oneof=unions-value
      - forceLong=number
      - env=node
      - exportCommonSymbols=false
YAML
node_modules/@bufbuild/buf-linux-x64/bin/buf generate proto --template "$work/buf.gen.yaml"
