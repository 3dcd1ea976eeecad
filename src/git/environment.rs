//! The environment and the settings that every git command gets.

use std::process::Command;

use xshell::Cmd;

/// Set for every command: git never prompts, and its messages are the same everywhere.
const ENV_SET: [(&str, &str); 12] = [
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "false"),
    ("SSH_ASKPASS", "false"),
    ("SSH_ASKPASS_REQUIRE", "never"),
    ("GCM_INTERACTIVE", "never"),
    ("GIT_EDITOR", ":"),
    ("GIT_SEQUENCE_EDITOR", ":"),
    ("GIT_MERGE_AUTOEDIT", "no"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("LC_ALL", "C"),
    ("LANGUAGE", ""),
];

/// Removed for every command: a hook or an alias that started `mirror` may have set these, and they
/// would point git at another repository.
const ENV_CLEARED: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GLOB_PATHSPECS",
    "GIT_GRAFT_FILE",
    "GIT_ICASE_PATHSPECS",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Settings of every command. All other settings of the user apply.
const CONFIG: [(&str, &str); 5] = [
    ("color.ui", "false"),
    ("color.push", "false"),
    ("color.transport", "false"),
    ("submodule.recurse", "false"),
    ("core.fsync", "added"),
];

/// More settings for commands that stay on this machine: no hook, no daemon that could inherit a lock.
const LOCAL_CONFIG: [(&str, &str); 2] = [("core.hooksPath", "/dev/null"), ("core.fsmonitor", "false")];

/// A command that stays on this machine.
pub(super) fn local(cmd: Cmd<'_>) -> Command {
    prepare(cmd, &LOCAL_CONFIG)
}

/// Settings of commands whose result must be the same on every node.
const ISOLATED_CONFIG: [(&str, &str); 2] = [("merge.directoryRenames", "false"), ("core.attributesFile", "/dev/null")];

/// Removed for such a command: these carry settings, too.
const SETTINGS_CLEARED: [&str; 4] =
    ["GIT_CONFIG_PARAMETERS", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_MERGE_VERBOSITY"];

/// A command that stays on this machine and sees no setting of this user or machine.
pub(super) fn isolated(cmd: Cmd<'_>) -> Command {
    let mut command = prepare(cmd, &[]);
    for name in SETTINGS_CLEARED {
        command.env_remove(name);
    }
    let settings = CONFIG.iter().chain(&LOCAL_CONFIG).chain(&ISOLATED_CONFIG);
    for (n, (key, value)) in settings.clone().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{n}"), key).env(format!("GIT_CONFIG_VALUE_{n}"), value);
    }
    command.env("GIT_CONFIG_COUNT", settings.count().to_string());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_ATTR_NOSYSTEM", "1");
    command
}

/// A command that connects to a remote; it runs the user's hooks.
pub(super) fn remote(cmd: Cmd<'_>) -> Command {
    prepare(cmd, &[])
}

fn prepare(cmd: Cmd<'_>, more: &[(&str, &str)]) -> Command {
    let mut command = Command::from(cmd);
    let set_by_caller: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for name in ENV_CLEARED.iter().filter(|name| !set_by_caller.iter().any(|set| set == **name)) {
        command.env_remove(name);
    }
    command.envs(ENV_SET);
    // Append to the settings that the user passed in the same way; do not replace them.
    let present: usize = std::env::var("GIT_CONFIG_COUNT").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for (n, (key, value)) in CONFIG.iter().chain(more).enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{}", present + n), key);
        command.env(format!("GIT_CONFIG_VALUE_{}", present + n), value);
    }
    command.env("GIT_CONFIG_COUNT", (present + CONFIG.len() + more.len()).to_string());
    command
}
