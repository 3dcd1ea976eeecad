//! Certificates, keys and the password of the store.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A longer file is not a password file.
const MAX_PASSWORD_BYTES: usize = 4096;
/// Where the service manager puts a unit's credentials (systemd.exec(5), LoadCredential=).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Reads a file, or the credential of the unit that is called like it.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let place = place(path, std::env::var_os(CREDENTIALS).map(PathBuf::from));
    std::fs::read(&place).with_context(|| place.display().to_string())
}

/// The first line of a file.
pub(super) fn password(path: &Path) -> anyhow::Result<String> {
    let bytes = read(path)?;
    anyhow::ensure!(bytes.len() <= MAX_PASSWORD_BYTES, "{}: too long for a password", path.display());
    let text = String::from_utf8(bytes).with_context(|| path.display().to_string())?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn place(path: &Path, credentials: Option<PathBuf>) -> PathBuf {
    let credential = credentials.zip(path.file_name()).map(|(directory, name)| directory.join(name));
    credential.filter(|credential| credential.is_file()).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_stands_for_the_file_of_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("password"), "secret\n").expect("written");
        let credentials = || Some(directory.path().to_owned());
        let named = Path::new("/etc/mirror/password");
        assert_eq!(place(named, credentials()), directory.path().join("password"));
        for (path, credentials) in [(named, None), (Path::new("/etc/mirror/other"), credentials())] {
            assert_eq!(place(path, credentials), path);
        }
        assert_eq!(password(&directory.path().join("password")).expect("read"), "secret");
    }
}
