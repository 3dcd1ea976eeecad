//! The breath's own files are for its user only, and no symbolic link is followed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use three_mirror::sync::BreatheVerdict;

use crate::world::World;

#[test]
fn directory_and_files_are_private_whatever_was_there() {
    let world = World::new();
    let repo = world.clone_as("one");
    let dir = repo.path().join(".git/mirror");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("breath.lock"), "").unwrap();
    for path in [&dir, &dir.join("breath.lock")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    world.incoming(&[("a", "new\n")]);
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o077, 0, "{:?}", entry.path());
    }
}

#[test]
fn a_planted_link_is_not_followed() {
    let world = World::new();
    let repo = world.clone_as("one");
    let (dir, target) = (repo.path().join(".git/mirror"), world.path().join("planted"));
    symlink(world.path(), &dir).unwrap();
    assert_eq!(repo.breathe().verdict, BreatheVerdict::Failed);
    fs::remove_file(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    symlink(&target, dir.join("breath.lock")).unwrap();
    assert_eq!(repo.breathe().verdict, BreatheVerdict::Failed);
    fs::remove_file(dir.join("breath.lock")).unwrap();
    for name in ["mark.new", "intent.new", "token.new", "fetching", "time-limit.new"] {
        symlink(&target, dir.join(name)).unwrap();
    }
    world.incoming(&[("a", "new\n")]);
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    assert!(!target.exists());
}
