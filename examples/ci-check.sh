#!/bin/sh
# Fails a pipeline when the node list survives fewer than any 4 failures.
#
#   MIRROR_CONFIG=mirror.toml sh ci-check.sh
#   sh ci-check.sh --config mirror.toml
#
# It asks no node. The status is mirror's: 0 sound, 1 a problem, 2 a file that cannot be read, 127 when
# mirror is not installed. Everything but 0 fails the pipeline, as it should.

exec mirror chain check --survive 4 "$@"
