//! How ssh is called: what a person's configuration may not change, and which connections are shared.
//!
//! A person's ssh_config may say how to get to a node. What is done there is for `mirror` to say, or a
//! line that is meant for that person's own sessions would answer for the service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Cause, quoted};
use crate::config::Node;
use crate::fsutil::{Missing, PrivateDirectory};
use crate::hex::hex;

/// How long the connection and the exchange of keys may take at a login that nobody has to wait for, in seconds.
/// The exchange takes half a second of processor time, and 20 at once take their turns.
const LOGIN_TIMEOUT: u32 = 20;
/// A shared connection is kept for so long after its last use.
const KEPT_OPEN: &str = "10m";
/// A Unix socket's path has room for 107 bytes; ssh adds 40 of its own and 17 while it makes one.
const MAX_SOCKET_DIRECTORY_LEN: usize = 48;

/// What ssh itself is asked for: no terminal, no local command, no forwarding, nothing in place of the
/// command, its own words at the usual level.
///
/// `IgnoreUnknown` comes first: an ssh that does not know one of the others then passes over it. As the
/// first value of an option counts, it takes in whatever a person's own `IgnoreUnknown` names.
const SESSION: [&str; 17] = [
    "IgnoreUnknown=*",
    "BatchMode=yes",
    "RequestTTY=no",
    "RemoteCommand=none",
    "SessionType=default",
    "ForkAfterAuthentication=no",
    "StdinNull=no",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "EscapeChar=none",
    "VisualHostKey=no",
    "LogLevel=INFO",
    // A peer that is gone is noticed after 2 s, so that a shared connection to it soon ends.
    "ServerAliveInterval=1",
    "ServerAliveCountMax=2",
];

/// The command that every login shell reads alike; what it is to do comes on its standard input.
pub(crate) const SHELL: &str = "sh";
/// What ssh exits with when it has itself to blame and not the command (ssh(1), EXIT STATUS).
pub(super) const FAILED: i32 = 255;

/// The options that open a connection instead of sharing one.
pub const NEW_CONNECTION: [&str; 4] = ["-o", "ControlMaster=no", "-o", "ControlPath=none"];

/// How the nodes are reached.
#[derive(Clone, Debug)]
pub(super) struct Default {
    /// The arguments, program first, in the form of a template.
    pub words: Vec<String>,
    /// Where the sockets of the shared connections are.
    pub sockets: Option<PathBuf>,
}

impl Default {
    /// Where a probe may take so long.
    pub(super) fn new(timeout: Duration) -> Self {
        let sockets = socket_directory();
        let mut words = vec!["ssh".to_owned()];
        words.extend(options(timeout, sockets.as_ref().map(|directory| directory.join("{socket}"))));
        words.extend(["-p", "{port}", "-l", "{user}", "--", "{address}", "{command}"].map(str::to_owned));
        Self { words, sockets }
    }
}

/// The name of the socket of the connection to a node. Not ssh's own `%C`, which depends on what a person's
/// configuration makes of the address.
pub(super) fn socket_name(node: &Node) -> String {
    let place = format!("{}@{}:{}", node.user, node.address, node.port);
    hex(&Sha256::digest(place)[..8])
}

/// What makes a shared connection and runs nothing: out of the words that run a command, which comes last.
pub(super) fn master(words: &[String]) -> Vec<String> {
    let [program, options @ .., _command] = words else { return Vec::new() };
    // The first value of an option counts.
    let first = ["-N".to_owned(), format!("-oConnectTimeout={LOGIN_TIMEOUT}")];
    [std::slice::from_ref(program), &first, options].concat()
}

/// What git is to call instead of `ssh`, so that its connections are shared too.
pub fn git_ssh_command(timeout: Duration) -> String {
    let options = options(timeout, socket_directory().map(|directory| directory.join("%C")));
    format!("ssh {}", options.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
}

/// The options of every ssh. Nothing here touches the checking of host keys.
fn options(timeout: Duration, socket: Option<PathBuf>) -> Vec<String> {
    let mut options: Vec<String> = SESSION.map(str::to_owned).to_vec();
    options.push(format!("ConnectTimeout={}", timeout.as_secs_f64().ceil().max(1.0)));
    if let Some(socket) = socket {
        options.push("ControlMaster=auto".to_owned());
        options.push(format!("ControlPath={}", socket.display()));
        options.push(format!("ControlPersist={KEPT_OPEN}"));
    }
    let mut words = vec!["-T".to_owned()];
    words.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), option]));
    words
}

/// Why ssh failed. It has one status for all its failures; only its words tell them apart.
pub(super) fn failure(stderr: &str) -> Cause {
    const KNOWN: [(&str, Cause); 4] = [
        ("Permission denied", Cause::NotAdmitted),
        ("Too many authentication failures", Cause::NotAdmitted),
        ("Host key verification failed", Cause::HostKey),
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", Cause::HostKey),
    ];
    KNOWN.iter().find(|(text, _)| stderr.contains(text)).map_or(Cause::NotReached, |(_, cause)| *cause)
}

/// The directory of the shared connections' sockets: our own, and closed to others. None, and thus
/// no sharing, where there is no such place.
fn socket_directory() -> Option<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let user = rustix::process::geteuid();
    let candidates = [
        runtime.map(|path| path.join("mirror")),
        user.is_root().then(|| PathBuf::from("/run/mirror")),
        Some(PathBuf::from(format!("/tmp/mirror-{}", user.as_raw()))),
    ];
    candidates.into_iter().flatten().find(|path| is_private(path))
}

/// Makes the directory where it is missing, and takes one that is there only when nobody else can enter it
/// or put another in its place: a socket in it is as good as a login.
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    // ssh would expand a % and split at a space, so such a place is not used.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let fits = path.to_str().is_some_and(|text| text.len() <= MAX_SOCKET_DIRECTORY_LEN && text.chars().all(plain));
    if !fits {
        return false;
    }
    let _ = std::fs::DirBuilder::new().mode(0o700).create(path);
    let ours = std::fs::symlink_metadata(path).is_ok_and(|found| {
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0
    });
    let stays = || PrivateDirectory::open_as(path, Missing::Fail, |_| false).is_ok();
    ours && stays() && takes_a_socket(path)
}

/// Whether a socket can be made there: ssh gives up altogether where it cannot, as on a full or a
/// read-only disk, and every node would seem to be dead.
fn takes_a_socket(directory: &Path) -> bool {
    let path = directory.join(format!("try-{}", std::process::id()));
    let made = std::os::unix::net::UnixListener::bind(&path);
    let _ = std::fs::remove_file(&path);
    made.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_lies_below_no_directory_of_another_user() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let directory = tempfile::tempdir_in("/tmp").expect("a directory");
        let below = |name: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir(&path).expect("made");
            path
        };
        assert!(is_private(&below("own").join("mirror")));
        let open = below("open");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("opened");
        assert!(!is_private(&open.join("mirror")));
        // Only root can give a directory away.
        let other = below("other");
        if chown(&other, Some(12345), None).is_ok() {
            assert!(!is_private(&other.join("mirror")));
        }
    }
}
