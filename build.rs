//! Compiles the kernels for GPUs. Does nothing without the feature `cuda`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest GPUs that the kernels are compiled for (Turing); the driver translates for newer ones.
const ARCHITECTURE: &str = "compute_75";

/// The version of PTX that the kernels are said to be in: 8.0 is what drivers of CUDA 12.0 read. The
/// compiler writes its own, newer one, of which the kernels use nothing; ptxas and the driver refuse
/// an instruction that a version does not have.
const PTX: &str = "8.0";

/// Where .ci/build-cuda puts the compiler.
const FETCHED: &str = "target/cuda/toolkit/nvidia/cu13/bin/nvcc";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for variable in ["GRIDLANE_NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=src/train/device/kernels");
    let folder = |name: &str| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    let root = folder("CARGO_MANIFEST_DIR");
    let source = root.join("src/train/device/kernels/kernels.cu");
    if let Err(reason) = compile(&nvcc(&root), &source, &folder("OUT_DIR").join("kernels.ptx")) {
        println!("cargo::error={reason}");
    }
}

/// The compiler: the one that is named, the one that was fetched, that of a toolkit, or any.
fn nvcc(root: &Path) -> PathBuf {
    if let Some(named) = env::var_os("GRIDLANE_NVCC") {
        return named.into();
    }
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os);
    let toolkits = toolkits.map(|home| PathBuf::from(home).join("bin/nvcc"));
    let found = std::iter::once(root.join(FETCHED)).chain(toolkits).find(|nvcc| nvcc.is_file());
    found.unwrap_or_else(|| "nvcc".into())
}

/// Compiles the kernels into PTX. Products and sums are not contracted, so that float arithmetic
/// gives the bits that it gives on the CPU.
fn compile(nvcc: &Path, source: &Path, ptx: &Path) -> Result<(), String> {
    let output = Command::new(nvcc)
        .args(["-ptx", "-O3", "-std=c++17", "-fmad=false", "-arch", ARCHITECTURE])
        .arg(source)
        .arg("-o")
        .arg(ptx)
        .output();
    match output {
        Err(error) => Err(format!(
            "the feature `cuda` needs nvcc, and {} cannot be started ({error}): \
             fetch it with `.ci/build-cuda --toolkit`, or name one in GRIDLANE_NVCC",
            nvcc.display()
        )),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
            Err(format!("{} {}: {said}", nvcc.display(), output.status))
        }
        Ok(_) => lower(ptx),
    }
}

/// Writes [`PTX`] where the compiler has written its own version.
fn lower(ptx: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", ptx.display());
    let text = fs::read_to_string(ptx).map_err(failed)?;
    let version = |line: &&str| line.starts_with(".version ");
    let line = text.lines().find(version).ok_or("the compiler's PTX has no version")?;
    fs::write(ptx, text.replacen(line, &format!(".version {PTX}"), 1)).map_err(failed)
}
