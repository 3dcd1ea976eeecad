//! What a stolen key may not do. Every attack tries to make one file, or to act on the service.

use std::process::{Command, Stdio};

use super::world::{Through, World, program};
use crate::support::mirror::run;

#[test]
fn other_commands_are_refused_whatever_is_around_them() {
    let world = World::new(Through::Default);
    let owned = world.owned();
    let owned = owned.display();
    let encoded = "sh -c 'eval \"$(printf %b \"$1\")\"' sh 'touch \\0057x\\0012'";
    for command in [
        format!("touch {owned}"),
        format!("sh; touch {owned}"),
        format!("sh\ntouch {owned}"),
        format!("sh -c 'touch {owned}'"),
        format!("$(touch {owned})"),
        format!("`touch {owned}`"),
        format!("sh #\ntouch {owned}"),
        format!("true && touch {owned}"),
        format!("mirror beat --json; touch {owned}"),
        "mirror beat --json".to_owned(),
        "mirror promote bot".to_owned(),
        format!("mirror --config {owned} gate"),
        "bash -i".to_owned(),
        " sh".to_owned(),
        "sh ".to_owned(),
        "sh -s".to_owned(),
        encoded.to_owned(),
        format!("sh -c 'eval \"$(printf %b \"$1\")\"' sh 'x'; touch {owned} '"),
        "internal-sftp".to_owned(),
        "/usr/lib/openssh/sftp-server".to_owned(),
        format!("scp -t {owned}"),
        format!("rsync --server . {owned}"),
        "\u{202e}\u{1b}[31m".to_owned(),
        "x".repeat(100_000),
    ] {
        world.assert_refused(&world.ssh("a", &[], &command), &command[..command.len().min(80)]);
    }
    world.assert_refused(&world.ssh("a", &["-T"], ""), "a shell");
    let said = world.ssh("a", &["-tt"], "id");
    assert!(said.status != 0 && !said.stdout.contains("uid="), "{said:?}");
}

#[test]
fn files_and_forwardings_are_refused() {
    let world = World::new(Through::Default);
    let (config, owned) = (world.client.config(), world.owned());
    let port = world.sshd("a").port().to_string();
    for program in ["scp", "sftp"] {
        let mut copy = Command::new(program);
        copy.arg("-F").arg(&config).args(["-o", "BatchMode=yes", "-P", &port]).stdin(Stdio::null());
        copy.arg(if program == "scp" { "-q" } else { "-b-" });
        if program == "scp" {
            copy.arg(&config);
        }
        copy.arg(format!("127.0.0.1:{}", owned.display()));
        assert_ne!(run(copy).status, 0, "{program}");
        world.assert_untouched(program);
    }
    let said = world.ssh("a", &["-W", &format!("127.0.0.1:{port}")], "");
    assert_ne!(said.status, 0);
    assert!(!said.stdout.contains("SSH-2.0"), "{said:?}");
    for forwarding in [["-R", "0:127.0.0.1:1"], ["-R", "0"]] {
        let said = world.ssh("a", &[&forwarding[..], &["-N", "-o", "ExitOnForwardFailure=yes"]].concat(), "");
        assert_ne!(said.status, 0, "{said:?}");
    }
}

#[test]
fn git_reaches_no_other_repository_and_no_other_service() {
    let world = World::new(Through::Default);
    world.make_repositories();
    let dir = world.path();
    let dir = dir.display();
    let other = format!("{dir}/other.git");
    world.git(&world.path(), &["init", "-q", "-b", "main", "--bare", &other]);
    std::os::unix::fs::symlink(&other, world.path().join("link.git")).unwrap();
    for command in [
        format!("git-upload-pack '{other}'"),
        format!("git-receive-pack '{other}'"),
        format!("git-upload-pack '{dir}/link.git'"),
        format!("git-upload-pack '{dir}/bare.git/../other.git'"),
        format!("git-upload-pack '{dir}/bare.git' '{other}'"),
        format!("git-upload-pack --timeout=1 '{dir}/bare.git'"),
        format!("git-upload-pack --upload-pack='touch {dir}/owned' '{dir}/bare.git'"),
        format!("git-upload-pack '--help' '{dir}/bare.git'"),
        "git-upload-pack '--help'".to_owned(),
        format!("git-upload-archive '{dir}/bare.git'"),
        format!("git-upload-pack '{dir}/bare.git'; touch {dir}/owned"),
        format!("git-upload-pack '{dir}/bare.git'\ntouch {dir}/owned"),
        format!("git-upload-pack '$(touch {dir}/owned)'"),
        format!("git -C {dir}/bare.git upload-pack '{dir}/bare.git'"),
        format!("git -c core.sshCommand=id upload-pack '{dir}/bare.git'"),
        format!("git-shell -c \"git-receive-pack '{dir}/bare.git'\""),
        format!("git-shell -c 'touch {dir}/owned'"),
        "git-upload-pack ''".to_owned(),
        "git-upload-pack '/'".to_owned(),
        "git-upload-pack '.'".to_owned(),
        "git-upload-pack '~root'".to_owned(),
    ] {
        world.assert_refused(&world.ssh("a", &[], &command), &command);
    }
    // The gate of another node does not have it.
    world.assert_refused(&world.ssh("b", &[], &format!("git-upload-pack '{dir}/bare.git'")), "another node's");
}

#[test]
fn a_program_of_the_callers_is_never_run() {
    let world = World::new(Through::Default);
    let touch = format!("touch {}", world.owned().display());
    for bytes in [
        format!("{touch}\n"),
        format!("#!/bin/sh\n{touch}\n"),
        format!("# {{}}\n{touch}\n"),
        format!("\n{touch}\n"),
        format!("# {{\"mirror\":1}}\n{touch}\n"),
    ] {
        world.assert_refused(&world.send("a", bytes.as_bytes()), &bytes);
    }
    for request in [
        String::new(),
        r#"{"verb":"start","service":"other","timeout_ms":60000}"#.to_owned(),
        r#"{"verb":"stop","service":"bot;id","timeout_ms":60000}"#.to_owned(),
        format!(r#"{{"verb":"start","service":"bot","command":"{touch}","timeout_ms":60000}}"#),
        format!(r#"{{"verb":"start","service":"bot","start":"{touch}","timeout_ms":60000}}"#),
        format!(r#"{{"verb":"status","command":"{touch}","timeout_ms":60000}}"#),
        format!(r#"{{"verb":"status","command":"mirror beat --json; {touch}","timeout_ms":60000}}"#),
        r#"{"verb":"status","command":"mirror promote --json","timeout_ms":60000}"#.to_owned(),
        format!(r#"{{"verb":"status; {touch}","service":"bot","timeout_ms":60000}}"#),
        r#"{"verb":"start","service":"bot","timeout_ms":1e9999}"#.to_owned(),
    ] {
        world.assert_refused(&world.send("a", &program(&request, &touch)), &request);
    }
    // Where a nonce is put into the program.
    let forged = String::from_utf8(program(r#"{"verb":"status","service":"bot","timeout_ms":60000}"#, "")).unwrap();
    let forged = forged.replacen("0123456789abcdef", &format!("$({touch})"), 1);
    world.assert_refused(&world.send("a", forged.as_bytes()), "a forged nonce");
    // This node is not in the chain of the service.
    let start = program(r#"{"verb":"start","service":"bot","timeout_ms":60000}"#, "");
    world.assert_refused(&world.send("c", &start), "a start on a node that does not run it");
    // The text for a shell is passed over, the request is carried out.
    let asked = program(r#"{"verb":"status","service":"bot","timeout_ms":60000}"#, &touch);
    let said = world.send("a", &asked);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stdout.contains(" 0 status 2\n"), "{said:?}");
    world.assert_untouched("the text of the program");
}

#[test]
fn a_request_that_is_too_long_or_never_ends_is_given_up() {
    let world = World::new(Through::Default);
    let mut long = b"# {".to_vec();
    long.resize(3 << 20, b' ');
    world.assert_refused(&world.send("a", &long), "a long request");
    let many = vec![r#"{"verb":"stop","service":"bot","timeout_ms":1}"#; 10_001].join(",");
    world.assert_refused(&world.send("a", &program(&many, "")), "many requests");
    // Nothing more comes, and the session stays open.
    world.assert_refused(&world.send("a", b"# {\"mirror\":1,"), "half a request");
    world.assert_refused(&world.ssh("a", &[], "sh"), "no request");
    let deep = format!("# {}\n", "[".repeat(100_000));
    world.assert_refused(&world.send("a", deep.as_bytes()), "a deep request");
}

#[test]
fn what_the_caller_sets_in_the_environment_does_nothing() {
    let mut world = World::new(Through::Default);
    world.nodes[0].configure("AcceptEnv *");
    let dir = world.path();
    let evil = format!("touch {}", world.owned().display());
    let list = std::fs::read_to_string(world.list("a")).unwrap();
    let status = list.lines().find(|line| line.starts_with("status")).unwrap().to_owned();
    let evil_list = list.replace(&status, &format!("status = '{evil}'"));
    std::fs::create_dir_all(dir.join("config/mirror")).unwrap();
    for path in ["config/mirror/mirror.toml", "evil.toml"] {
        std::fs::write(dir.join(path), &evil_list).unwrap();
    }
    // Without --config, by the user's own list alone.
    let home = world.sshd("a").path().join(".config/mirror");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("mirror.toml"), &list).unwrap();
    world.force("a", &format!("{} --self a gate", crate::support::mirror::MIRROR));
    let set = format!(
        "SetEnv MIRROR_CONFIG={dir}/evil.toml XDG_CONFIG_HOME={dir}/config MIRROR_SELF=c COMPLETE=bash \
         STATE_DIRECTORY={dir} XDG_RUNTIME_DIR={dir} GIT_SSH_COMMAND=x GIT_DIR={dir}/other.git TZ=/etc/shadow",
        dir = dir.display()
    );
    let config = std::fs::read_to_string(world.client.config()).unwrap();
    std::fs::write(world.client.config(), format!("{config}{set}\n")).unwrap();
    let asked = program(r#"{"verb":"status","service":"bot","timeout_ms":60000}"#, "");
    let said = world.send("a", &asked);
    assert!(said.stdout.contains(" 0 status 2\n"), "{said:?}");
    world.assert_untouched("the environment");
    assert_eq!(world.bot.log(), "status a\n");
}
