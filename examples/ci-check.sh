#!/bin/sh
# Fails a pipeline when the node list survives less than it promises: any 4 failures.
#
#   MIRROR_CONFIG=mirror.toml sh ci-check.sh
#   sh ci-check.sh --config mirror.toml
#
# No node is asked. The status is mirror's: 0 sound, 1 a problem, 2 a file that cannot be read, 127
# when mirror is not installed. All but 0 fail a pipeline, as they should.

exec mirror chain check --survive 4 "$@"
