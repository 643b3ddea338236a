#!/bin/sh
# Installs Python's gRPC client, for the tests of the ext_proc port.
exec "$(dirname "$0")/install-python.sh" grpcio-1.76.0 grpc grpcio==1.76.0
