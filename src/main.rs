//! The one binary. What it can do is in `control`.

use std::process::ExitCode;

fn main() -> ExitCode {
    control::main()
}
