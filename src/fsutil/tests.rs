use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("is there").mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("changed");
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("a/b");
    (place, path)
}

#[test]
fn what_is_made_is_private_and_what_is_loose_is_tightened() {
    let (_place, path) = place();
    let directory = private_directory(&path).expect("made");
    directory.replace("f", b"1", Durability::Durable).expect("written");
    directory.file("lock", Access::Lock).expect("opened");
    directory.file("log", Access::Append).expect("opened").write_all(b"x").expect("appended");
    for name in ["f", "lock", "log"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
        set_mode(&path.join(name), 0o666);
    }
    assert_eq!((mode(&path), mode(path.parent().expect("has one"))), (0o700, 0o700));
    set_mode(&path, 0o777);
    let directory = private_directory(&path).expect("opened");
    assert_eq!(directory.read("f", 10).expect("read"), Some(b"1".to_vec()));
    directory.file("lock", Access::Lock).expect("opened");
    assert_eq!((mode(&path), mode(&path.join("f")), mode(&path.join("lock"))), (0o700, 0o600, 0o600));
    assert!(
        !std::fs::read_dir(&path)
            .expect("listed")
            .any(|entry| { entry.expect("an entry").file_name().to_string_lossy().starts_with('.') })
    );
}

#[test]
fn a_directory_that_others_use_keeps_its_mode() {
    let (_place, path) = place();
    drop(private_directory(&path).expect("made"));
    std::fs::write(path.join("theirs"), "").expect("written");
    set_mode(&path, 0o755);
    let open = || PrivateDirectory::open_as(&path, Missing::Fail, |name| name == "ours");
    open().expect("nobody else can write it");
    assert_eq!(mode(&path), 0o755);
    for shared in [0o777, 0o1777] {
        set_mode(&path, shared);
        open().expect_err("others can write it");
        assert_eq!(mode(&path), shared);
    }
    set_mode(&path, 0o1777);
    private_directory(&path).expect_err("as /tmp");
    private_directory(&path.join("own")).expect("sticky, and the new one is ours");
}

#[test]
fn nothing_below_a_directory_that_others_can_write() {
    let (_place, path) = place();
    drop(private_directory(&path).expect("made"));
    let parent = path.parent().expect("has one");
    for (loose, usable) in [(0o777, false), (0o757, false), (0o1777, true), (0o755, true)] {
        set_mode(parent, loose);
        assert_eq!(private_directory(&path).is_ok(), usable, "{loose:o}");
    }
    // A link of ours is as good as the way itself, but not where others could have put it.
    let link = parent.join("link");
    symlink(&path, &link).expect("a link");
    private_directory(&link).expect("follows");
    set_mode(parent, 0o1777);
    private_directory(&link).expect_err("a link in a directory as /tmp");
    symlink(parent.join("loop"), parent.join("loop")).expect("a link");
    set_mode(parent, 0o700);
    private_directory(&parent.join("loop")).expect_err("does not end");
}

#[test]
fn links_pipes_and_long_files_are_refused_and_replaced() {
    let (place, path) = place();
    let directory = private_directory(&path).expect("made");
    let precious = place.path().join("precious");
    std::fs::write(&precious, "precious").expect("written");
    symlink(&precious, path.join("link")).expect("a link");
    std::fs::hard_link(&precious, path.join("second")).expect("a link");
    rustix::fs::mknodat(rustix::fs::CWD, path.join("pipe"), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
    std::fs::create_dir(path.join("directory")).expect("made");
    std::fs::write(path.join("long"), "12345").expect("written");
    for name in ["link", "pipe", "directory", "long"] {
        let error = directory.read(name, 4).expect_err(name);
        assert!(error.to_string().contains(name), "{error}");
    }
    for name in ["link", "second", "pipe"] {
        directory.file(name, Access::Append).expect_err(name);
        directory.file(name, Access::Lock).expect_err(name);
        directory.replace(name, b"new", Durability::Cached).expect("replaced");
        assert_eq!(directory.read(name, 4).expect("read"), Some(b"new".to_vec()));
    }
    assert_eq!(std::fs::read_to_string(precious).expect("is there"), "precious");
    assert_eq!(directory.read("nothing", 4).expect("no error"), None);
    symlink("pipe", path.join("other")).expect("a link");
    assert!(others_can_have_written(&path.join("other")) && !others_can_have_written(&path.join("pipe")));
}
