//! Compiles the kernels for the host, once for every version of their sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler's arguments that both have: the arithmetic of the CPU's layers, nothing let through.
const STRICT: [&str; 6] = ["-std=c++17", "-O2", "-g", "-ffp-contract=off", "-Wall", "-Werror"];

/// Names of all kernels in a source.
pub fn kernels(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split("\nKERNEL ").skip(1);
    after.filter_map(|rest| rest.split_once('(')).map(|(name, _)| name)
}

/// Names of all kernels.
pub fn all_kernels() -> Vec<String> {
    let texts = sources("kernels")
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "cu"));
    texts.flat_map(|(_, text)| kernels(&text).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/train/device").join(name)
}

/// Path and text of every source in a folder.
fn sources(name: &str) -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(folder(name)).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let mut all: Vec<_> =
        paths.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    all.sort();
    all
}

/// What `main` (a file beside this one) is compiled to, as `called`, by the first of `variants` of arguments that
/// the compiler takes; compiled again only when a source has changed.
///
/// # Errors
/// When there is no compiler, or not the sources, since the tests were built elsewhere.
///
/// # Panics
/// If the kernels do not compile.
pub fn compiled(called: &str, main: &str, variants: &[&[&str]]) -> Result<PathBuf, String> {
    if !folder("emulated").is_dir() {
        return Err("the sources of the kernels are not on this machine".to_owned());
    }
    let mut hash = blake3::Hasher::new();
    let texts = sources("kernels").into_iter().chain(sources("emulated"));
    texts.for_each(|(_, text)| _ = hash.update(text.as_bytes()));
    let user = rustix::process::getuid().as_raw();
    let name = format!("gridlane-{called}-{user}-{}", &hash.finalize().to_hex()[..16]);
    let place = std::env::temp_dir().join(name);
    if place.exists() {
        return Ok(place);
    }
    let work = tempfile::tempdir().unwrap();
    let entries: String = all_kernels().iter().map(|name| format!("ENTRY({name})\n")).collect();
    fs::write(work.path().join("entries.inc"), entries).unwrap();
    let made = work.path().join("made");
    let compile = |arguments: &[&str]| {
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let folders = [work.path(), &folder("kernels")].map(|f| format!("-I{}", f.display()));
        let mut command = Command::new(compiler);
        command.args(STRICT).args(arguments).args(folders).arg(folder("emulated").join(main));
        command.arg("-o").arg(&made).output()
    };
    let mut said = String::new();
    for arguments in variants {
        let output = compile(arguments).map_err(|error| format!("no C++ compiler: {error}"))?;
        if output.status.success() {
            // Beside its place first, each by a name of its own: several tests may come here at once.
            let beside = tempfile::NamedTempFile::new_in(std::env::temp_dir()).unwrap();
            let beside = beside.into_temp_path();
            fs::copy(&made, &beside).unwrap();
            beside.persist(&place).unwrap();
            return Ok(place);
        }
        said.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    panic!("the kernels do not compile on the host:\n{said}");
}
