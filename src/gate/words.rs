//! The forms of the commands that nodes send.

use super::GitService;
use crate::remote;

/// Where sshd puts what the caller asked for.
pub const ORIGINAL_COMMAND: &str = "SSH_ORIGINAL_COMMAND";
/// What is asked for when a program comes on standard input.
pub(super) const SHELL: &str = remote::SHELL;

/// The service and the path of git's command, `git-upload-pack 'PATH'`.
pub(super) fn git(command: &str) -> Option<(GitService, String)> {
    const FORMS: [(&str, GitService); 4] = [
        ("git-upload-pack ", GitService::UploadPack),
        ("git upload-pack ", GitService::UploadPack),
        ("git-receive-pack ", GitService::ReceivePack),
        ("git receive-pack ", GitService::ReceivePack),
    ];
    let (rest, service) = FORMS.iter().find_map(|(form, service)| Some((command.strip_prefix(form)?, *service)))?;
    Some((service, unquoted(rest)?))
}

/// A word in git's quotes: single ones, and outside of them a backslash before `'` and `!`.
fn unquoted(text: &str) -> Option<String> {
    let mut path = String::new();
    let mut rest = text.strip_prefix('\'')?;
    loop {
        let (inner, after) = rest.split_once('\'')?;
        path += inner;
        if after.is_empty() {
            return Some(path);
        }
        let escaped = after.strip_prefix('\\')?;
        let letter = escaped.chars().next().filter(|c| matches!(c, '\'' | '!'))?;
        path.push(letter);
        rest = escaped[1..].strip_prefix('\'')?;
    }
}

/// The first line of a program that comes as an argument.
pub(super) fn argument(command: &str) -> Option<Vec<u8>> {
    let encoded = command.strip_prefix(remote::ARGUMENT_PREFIX)?.strip_suffix('\'')?;
    let mut line = Vec::new();
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let byte = if byte == b'\\' {
            // As program::as_argument writes it: \0 and three octal digits.
            let (digits, after) = rest.strip_prefix(b"0")?.split_at_checked(3)?;
            rest = after;
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?
        } else {
            byte
        };
        if byte == b'\n' {
            return Some(line);
        }
        line.push(byte);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_known_by_its_own_quotes() {
        for (command, path) in [
            ("git-upload-pack '/srv/a'", Some("/srv/a")),
            ("git upload-pack '/srv/a b'", Some("/srv/a b")),
            (r"git-receive-pack '/srv/a'\''b'\!''", Some("/srv/a'b!")),
            ("git-upload-pack /srv/a", None),
            ("git-upload-pack '/srv/a' '/srv/b'", None),
            ("git-upload-pack '/srv/a'; id", None),
            (r"git-upload-pack '/srv/a'\;id''", None),
            ("git-upload-pack --timeout=1 '/srv/a'", None),
            ("git-upload-archive '/srv/a'", None),
            ("git-upload-pack '", None),
        ] {
            assert_eq!(git(command).map(|(_, path)| path).as_deref(), path, "{command}");
        }
    }
}
