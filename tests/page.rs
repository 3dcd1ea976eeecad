//! The page of `mirror status --html` in a real browser: it says nothing on the console and asks nobody for anything.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use crate::support::mirror::run;
use crate::support::nodes::Served;

const BROWSERS: [&str; 2] = ["chromium", "chromium-browser"];

/// What the browser says on its console while it shows a page, and the page as it then is. None, and a line that says
/// so, where there is no browser.
fn browse(stage: &Served, page: &Path) -> Option<(Vec<String>, String)> {
    let found = BROWSERS.into_iter().find(|browser| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(browser).exists())
    });
    let Some(browser) = found else {
        eprintln!("skipped: no browser is installed; apt-get install chromium");
        return None;
    };
    let profile = tempfile::tempdir().unwrap();
    let mut command = stage.nodes.network.program(
        browser,
        ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"],
    );
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-extensions"]);
    // Nothing leaves this machine.
    command.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--log-level=0"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).env("HOME", profile.path());
    command.args(["--dump-dom", &format!("file://{}", page.display())]);
    let said = run(command);
    assert_eq!(said.status, 0, "{said:?}");
    let console = said.stderr.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    Some((console, said.stdout))
}

#[test]
fn a_browser_shows_the_page_and_has_nothing_to_say() {
    let stage = Served::new();
    stage.bot.crash("b");
    stage.bot.before("start", "b", "echo '<img src=x onerror=alert(1)>' >&2; exit 1");
    stage.nodes.on("a", "promote --if-brain").expect(0, "moved");
    assert_eq!(stage.nodes.network.run("status --within 100s --html page.html").status, 1);
    let file = stage.nodes.path("page.html");
    let Some((console, shown)) = browse(&stage, &file) else { return };
    assert_eq!(console, [""; 0], "{console:#?}");
    for words in ["<title>1 problem; bot runs on c; a is the brain.</title>", "is passed over for bot until", "Outage "]
    {
        assert!(shown.contains(words), "{words:?} in {shown}");
    }
    // The same with a script and a picture from elsewhere: this browser would tell.
    let page = fs::read_to_string(&file).unwrap();
    let other = stage.nodes.path("other.html");
    for foreign in ["<script>console.log(1)</script>", "<img src=\"http://192.0.2.1/x.png\">"] {
        fs::write(&other, page.replace("<main>", &format!("<main>{foreign}"))).unwrap();
        let (console, _) = browse(&stage, &other).unwrap();
        assert!(!console.is_empty(), "{foreign}");
    }
}

#[test]
fn a_node_whose_history_is_missing_is_named_on_the_page() {
    let mut stage = Served::new();
    stage.nodes.servers[2].kill();
    assert_eq!(stage.nodes.network.run("status --within 100s --html page.html").status, 1);
    let page = fs::read_to_string(stage.nodes.path("page.html")).unwrap();
    assert!(page.contains("<li>The history of c is not in it: ") && page.contains("dead: refused"), "{page}");
}
