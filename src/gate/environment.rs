//! What of a session's environment a gate believes. sshd can be configured to pass on what the caller sets.

use super::ORIGINAL_COMMAND;

/// Variables that sshd and the system set, and that name no program and no file of the caller's choice.
const ALLOWED_VARIABLES: [&str; 8] =
    ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "SSH_CONNECTION", ORIGINAL_COMMAND, "USER"];

/// Whether these arguments, program first, call the gate for a session.
pub fn is_gate(mut arguments: impl Iterator<Item = impl AsRef<std::ffi::OsStr>>) -> bool {
    arguments.any(|word| word.as_ref() == "gate") && std::env::var_os(ORIGINAL_COMMAND).is_some()
}

/// Takes everything else out of this process's environment; before there is any thread.
pub fn purge() {
    let user = rustix::process::geteuid().as_raw();
    let runtime = format!("/run/user/{user}");
    let bus = format!("unix:path={runtime}/bus");
    crate::exec::keep_variables(|name, value| match name {
        // git's protocol: a number, no more.
        "GIT_PROTOCOL" => matches!(value, "version=0" | "version=1" | "version=2"),
        "XDG_RUNTIME_DIR" => value == runtime,
        "DBUS_SESSION_BUS_ADDRESS" => value == bus,
        // A time zone can be a path.
        "TZ" => !value.contains("..") && !value.starts_with([':', '/']),
        _ => ALLOWED_VARIABLES.contains(&name) || name.starts_with("LC_"),
    });
}
