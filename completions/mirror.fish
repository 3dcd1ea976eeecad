complete --keep-order --exclusive --command mirror --arguments "(COMPLETE=fish mirror -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
