//! Checks a configuration file and prints what is wrong with it: `cargo run -p config --example check -- FILE`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: check FILE");
        return ExitCode::from(2);
    };
    match config::load(&path) {
        Ok(checked) => {
            checked.warnings.iter().for_each(|warning| println!("{warning}"));
            println!("{} can be used", path.display());
            ExitCode::SUCCESS
        }
        Err(report) => {
            eprintln!("{report}");
            ExitCode::FAILURE
        }
    }
}
