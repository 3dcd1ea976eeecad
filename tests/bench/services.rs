//! What a check of many services costs beside one of a single service: one trip goes to each node, however many there
//! are.

use std::fmt::Write as _;
use std::process::Command;

use crate::FEW_ROUNDS;
use crate::measure::{Unit, compare, compare_with, run, spread};
use crate::over_ssh::Stage;

const COUNTS: [usize; 3] = [10, 50, 200];
/// What a version manager in a person's `.bashrc` takes.
const SLOW_LOGIN: &str = "ForceCommand sleep 0.17; eval \"$SSH_ORIGINAL_COMMAND\"\n";
const NODES: usize = 100;

/// All of it.
pub(crate) fn measure() {
    let mut stage = Stage::new();
    many_beside_one(&stage, &COUNTS, "");
    stage.sshd.configure(SLOW_LOGIN);
    stage.forget_connections();
    many_beside_one(&stage, &[50], ", login shell of 170 ms");
    println!("there: {}\n", stage.floor(FEW_ROUNDS));
    thousand();
}

fn many_beside_one(stage: &Stage, counts: &[usize], how: &str) {
    let one = list(stage, 1);
    for count in counts {
        let many = list(stage, *count);
        let promote = |list: &'static str| move || stage.mirror_with(list, &["promote", "--json"], None);
        let (many, one) = (&promote(many), &promote(one));
        let forget = || {
            for file in std::fs::read_dir(stage.place("runs")).expect("a directory").flatten() {
                std::fs::remove_file(file.path()).expect("removed");
            }
        };
        let (a, b) = (format!("first start of {count} services{how}"), format!("of one{how}"));
        compare_with(&a, many, &b, one, FEW_ROUNDS, Unit::Difference, &forget);
        run(many());
        run(one());
        let (a, b) = (format!("quiet tick of {count} services{how}"), format!("of one{how}"));
        compare(&a, many, &b, one, FEW_ROUNDS, Unit::Ratio);
        forget();
    }
}

/// A node list with so many services, which this machine as the brain runs on the other side of the sshd.
fn list(stage: &Stage, count: usize) -> &'static str {
    std::fs::create_dir_all(stage.place("runs")).expect("a directory");
    let runs = stage.place("runs").display().to_string();
    let mut list = format!(
        "state = {state:?}\n[nodes]\na = {node}\nb = {{ address = \"127.0.0.1\", port = 1 }}\n[chains]\n\
         brain = [\"b\", \"a\"]\nbot = [\"a\"]\n",
        state = stage.place(&format!("state-{count}")),
        node = stage.sshd.node(),
    );
    for index in 0..count {
        let file = format!("{runs}/{count}-{index}");
        let _ = write!(
            list,
            "[services.s{index}]\nchain = \"bot\"\nstatus = \"test -e {file}\"\nstart = \"touch {file}\"\n\
             stop = \"rm -f {file}\"\nrestarts = 1000\n"
        );
    }
    let name = format!("{count}.toml");
    std::fs::write(stage.place(&name), list).expect("written");
    name.leak()
}

/// A thousand services on a hundred living nodes, which are this machine.
fn thousand() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut list = format!("self = \"n0\"\nstate = {:?}\n[nodes]\n", directory.path().join("state"));
    for node in 0..NODES {
        let _ = writeln!(list, "n{node} = \"127.0.1.{}\"", node + 1);
    }
    list += "[probe]\nmethod = \"exec\"\ncommand = \"true\"\n[remote]\ncommand = [\"sh\", \"-c\", \"{command}\"]\n[chains]\n\
             brain = [\"n0\", \"n1\"]\n";
    for first in (0..NODES).step_by(5) {
        let chain: Vec<String> = (first..first + 5).map(|node| format!("\"n{node}\"")).collect();
        let _ = writeln!(list, "c{first} = [{}]", chain.join(", "));
    }
    for service in 0..1000 {
        let _ = write!(
            list,
            "[services.s{service}]\nchain = \"c{}\"\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n",
            service % 20 * 5
        );
    }
    let path = directory.path().join("mirror.toml");
    std::fs::write(&path, list).expect("written");
    let check = || {
        let mut command = Command::new(crate::MIRROR);
        command.arg("--config").arg(&path).args(["promote", "--dry-run", "--json"]);
        command
    };
    let runs: Vec<_> = (0..FEW_ROUNDS).map(|_| run(check())).collect();
    let seconds: Vec<f64> = runs.iter().map(|(took, _)| took.as_secs_f64()).collect();
    let megabytes: Vec<f64> = runs.iter().map(|(_, kilobytes)| *kilobytes as f64 / 1024.0).collect();
    println!(
        "--dry-run of 1,000 services on {NODES} nodes: {} s, {} MB (n = {FEW_ROUNDS})\n",
        spread(&seconds, 2),
        spread(&megabytes, 0)
    );
}
