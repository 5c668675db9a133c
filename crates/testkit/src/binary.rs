//! Where the programs are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

const PROGRAMS: [&str; 6] = [
    "alerts",
    "bridge",
    "exchange-sim",
    "history",
    "marketdata",
    "ws-gateway",
];

static BUILDING: Mutex<()> = Mutex::new(());

/// The program with this name: from the folder in `KLINECAST_BIN_DIR`, of the package of the test,
/// which nextest has built, or from beside the tests, where cargo puts it. It is built first if it is
/// missing or older than its sources.
///
/// # Panics
/// If it is not there and cannot be built.
#[must_use]
pub fn find(program: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("KLINECAST_BIN_DIR") {
        let path = Path::new(&folder).join(program);
        assert!(path.is_file(), "KLINECAST_BIN_DIR has no {program}");
        return path;
    }
    for variable in own_variables(program) {
        if let Some(path) = std::env::var_os(variable) {
            return path.into();
        }
    }
    // A build that failed has printed why; the next one prints it again.
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = build_folder();
    let path = folder.join(program);
    if !is_fresh(&path) {
        build(&folder);
        assert!(path.is_file(), "cargo build made no {}", path.display());
    }
    path
}

/// The variables with the path of a program of the test's own package.
fn own_variables(program: &str) -> [String; 2] {
    let variable = |name: &str| format!("NEXTEST_BIN_EXE_{name}");
    [variable(program), variable(&program.replace('-', "_"))]
}

/// `target/debug`, or the folder of the profile in which the tests are built.
fn build_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let deps = test.parent().expect("it is in a folder");
    deps.parent()
        .expect("cargo puts tests below the profile's folder")
        .to_owned()
}

/// Whether none of the sources that cargo wrote down is newer.
fn is_fresh(path: &Path) -> bool {
    let Ok(built) = modified(path) else {
        return false;
    };
    let Ok(sources) = fs::read_to_string(path.with_extension("d")) else {
        return false;
    };
    let Some((_, sources)) = sources.split_once(": ") else {
        return false;
    };
    // A space in a path is written with a backslash before it.
    let sources = sources.trim_end().replace("\\ ", "\0");
    let mut sources = sources.split(' ').map(|source| source.replace('\0', " "));
    sources.all(|source| modified(Path::new(&source)).is_ok_and(|at| at <= built))
}

fn modified(path: &Path) -> std::io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--bins", "--profile", profile, "--target-dir"]);
    command.arg(
        folder
            .parent()
            .expect("a profile's folder is in the target folder"),
    );
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    for program in PROGRAMS {
        command.args(["--package", program]);
    }
    let status = command.status().expect("cargo is installed");
    assert!(status.success(), "the programs cannot be built");
}
