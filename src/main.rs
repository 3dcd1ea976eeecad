//! Arguments → run → exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    three_mirror::commands::main()
}
