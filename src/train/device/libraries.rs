//! Finds the libraries of CUDA on the machine that a run is on; the program itself is linked with none
//! of them.
//!
//! Looked in, in this order: the folders in `GRIDLANE_CUDA_LIBS`; where the system's loader looks; a
//! toolkit (`CUDA_HOME`, `CUDA_PATH`, `/usr/local/cuda`); NVIDIA's wheels beside the Python that is
//! first in the path (or `PYTHON`), such as those that come with PyTorch.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::error::DeviceError;

/// A library.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    /// What it is, for people.
    pub what: &'static str,
    /// Names of its file, the best first.
    pub files: &'static [&'static str],
    /// Functions of it that are called: one that lacks any is of no use.
    pub functions: &'static [&'static str],
    /// What to do where it is missing.
    pub advice: &'static str,
}

/// What a driver of CUDA 13 counts from: 13000 is 13.0.
const CUDA_13: i32 = 13_000;

impl Library {
    /// The same for a driver of a version of CUDA: a library of a later major version does not start
    /// with it, also where it is the first that is found.
    pub fn for_driver(self, version: i32) -> Self {
        let is_later = |file: &&str| version < CUDA_13 && file.ends_with(".so.13");
        let later = self.files.iter().take_while(|file| is_later(file)).count();
        Self { files: &self.files[later..], ..self }
    }
}

/// What comes with the driver.
pub const DRIVER: Library = Library {
    what: "the NVIDIA driver's library",
    files: &["libcuda.so.1", "libcuda.so"],
    functions: &[
        "cuCtxGetCurrent",
        "cuCtxSetCurrent",
        "cuDeviceGet",
        "cuDeviceGetAttribute",
        "cuDeviceGetCount",
        "cuDeviceGetDefaultMemPool",
        "cuDeviceGetName",
        "cuDevicePrimaryCtxRelease_v2",
        "cuDevicePrimaryCtxRetain",
        "cuDriverGetVersion",
        "cuEventCreate",
        "cuEventDestroy_v2",
        "cuEventElapsedTime",
        "cuEventQuery",
        "cuEventRecord",
        "cuEventSynchronize",
        "cuGetErrorName",
        "cuGetErrorString",
        "cuGraphDestroy",
        "cuGraphExecDestroy",
        "cuGraphInstantiateWithFlags",
        "cuGraphLaunch",
        "cuInit",
        "cuLaunchKernel",
        "cuMemAllocAsync",
        "cuMemFreeAsync",
        "cuMemFreeHost",
        "cuMemGetInfo_v2",
        "cuMemHostAlloc",
        "cuMemPoolSetAttribute",
        "cuMemcpyDtoHAsync_v2",
        "cuMemcpyHtoDAsync_v2",
        "cuMemsetD8Async",
        "cuModuleGetFunction",
        "cuModuleLoadData",
        "cuStreamBeginCapture_v2",
        "cuStreamCreate",
        "cuStreamDestroy_v2",
        "cuStreamEndCapture",
        "cuStreamSynchronize",
        "cuStreamWaitEvent",
    ],
    advice: "install the driver, or train on the cpu",
};

/// What cuBLAS needs beside it; opened first, so that it is found wherever it is.
pub const CUBLAS_LT: Library = Library {
    what: "cuBLASLt",
    files: &["libcublasLt.so.13", "libcublasLt.so.12"],
    functions: &[],
    advice: CUBLAS.advice,
};

/// Matrix products.
pub const CUBLAS: Library = Library {
    what: "cuBLAS",
    files: &["libcublas.so.13", "libcublas.so.12"],
    functions: &[
        "cublasCreate_v2",
        "cublasDestroy_v2",
        "cublasGemmEx",
        "cublasGemmStridedBatchedEx",
        "cublasSetMathMode",
        "cublasSetStream_v2",
        "cublasSetWorkspace_v2",
        "cublasSgemmStridedBatched",
        "cublasSgemm_v2",
    ],
    advice: "install a CUDA toolkit or `pip install nvidia-cublas` (nvidia-cublas-cu12 for a driver of \
             CUDA 12), or name its folder in GRIDLANE_CUDA_LIBS",
};

/// Sums over the GPUs of several ranks; wanted by runs on several alone.
pub const NCCL: Library = Library {
    what: "NCCL",
    files: &["libnccl.so.2", "libnccl.so"],
    functions: &[
        "ncclAllReduce",
        "ncclCommGetAsyncError",
        "ncclCommInitRank",
        "ncclGetErrorString",
        "ncclGetLastError",
        "ncclGetUniqueId",
        "ncclGroupEnd",
        "ncclGroupStart",
    ],
    advice: "install it or `pip install nvidia-nccl-cu13`, or name its folder in GRIDLANE_CUDA_LIBS, or \
             take devices = 1",
};

/// Convolutions; not needed. It finds its own parts beside it.
pub const CUDNN: Library = Library {
    what: "cuDNN",
    files: &["libcudnn.so.9"],
    functions: &[
        "cudnnConvolutionBackwardData",
        "cudnnConvolutionBackwardFilter",
        "cudnnConvolutionForward",
        "cudnnCreate",
        "cudnnCreateConvolutionDescriptor",
        "cudnnCreateFilterDescriptor",
        "cudnnCreateTensorDescriptor",
        "cudnnDestroy",
        "cudnnDestroyConvolutionDescriptor",
        "cudnnDestroyFilterDescriptor",
        "cudnnDestroyTensorDescriptor",
        "cudnnGetConvolutionBackwardDataAlgorithmMaxCount",
        "cudnnGetConvolutionBackwardDataAlgorithm_v7",
        "cudnnGetConvolutionBackwardDataWorkspaceSize",
        "cudnnGetConvolutionBackwardFilterAlgorithmMaxCount",
        "cudnnGetConvolutionBackwardFilterAlgorithm_v7",
        "cudnnGetConvolutionBackwardFilterWorkspaceSize",
        "cudnnGetConvolutionForwardAlgorithmMaxCount",
        "cudnnGetConvolutionForwardAlgorithm_v7",
        "cudnnGetConvolutionForwardWorkspaceSize",
        "cudnnGetVersion",
        "cudnnSetConvolution2dDescriptor",
        "cudnnSetConvolutionGroupCount",
        "cudnnSetConvolutionMathType",
        "cudnnSetFilter4dDescriptor",
        "cudnnSetStream",
        "cudnnSetTensor4dDescriptor",
    ],
    advice: "`pip install nvidia-cudnn-cu13`, or name its folder in GRIDLANE_CUDA_LIBS",
};

/// Folders to look in, before and after the system's loader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Named by the user: these come first.
    pub named: Vec<PathBuf>,
    /// Of toolkits and wheels.
    pub known: Vec<PathBuf>,
}

impl Places {
    /// Of this machine. Asks Python once where its packages are.
    pub fn of_this_machine() -> &'static Self {
        static FOUND: OnceLock<Places> = OnceLock::new();
        FOUND.get_or_init(Self::look_around)
    }

    fn look_around() -> Self {
        let named = split(env::var_os("GRIDLANE_CUDA_LIBS"));
        let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os);
        let homes = homes.map(PathBuf::from).chain([PathBuf::from("/usr/local/cuda")]);
        let toolkits = homes.flat_map(|home| ["lib64", "lib"].map(|folder| home.join(folder)));
        let wheels = python_folders().into_iter().flat_map(|folder| wheel_folders(&folder));
        let known = toolkits.chain(wheels).filter(|folder| folder.is_dir()).collect();
        Self { named, known }
    }

    /// All of them, for a message.
    fn told(&self) -> String {
        let folders = self.named.iter().chain(&self.known);
        let folders: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
        if folders.is_empty() { "no other folder".to_owned() } else { folders.join(", ") }
    }
}

/// A list of folders as PATH has it.
fn split(folders: Option<OsString>) -> Vec<PathBuf> {
    let folders = folders.unwrap_or_default();
    env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty()).collect()
}

/// Where Python looks for packages; nothing without one.
fn python_folders() -> Vec<PathBuf> {
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let script = "import sys; print('\\n'.join(sys.path))";
    let output = Command::new(python).args(["-c", script]).output();
    let said = output.map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    said.lines().filter(|line| !line.is_empty()).map(PathBuf::from).collect()
}

/// The folders of libraries in NVIDIA's wheels among the packages in `folder`, in order of their
/// names.
fn wheel_folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(wheels) = folder.join("nvidia").read_dir() else { return Vec::new() };
    let mut folders: Vec<PathBuf> =
        wheels.flatten().map(|wheel| wheel.path().join("lib")).filter(|lib| lib.is_dir()).collect();
    folders.sort();
    folders
}

/// Opens a library with `open`, which is given a path or, for the system's loader, a bare name.
///
/// # Errors
/// When it is nowhere, or a file of that name in one of the folders cannot be opened.
pub fn find<L>(
    library: &Library,
    places: &Places,
    open: impl Fn(&Path) -> Result<L, String>,
) -> Result<L, DeviceError> {
    let within = |folders: &[PathBuf]| {
        let mut files =
            folders.iter().flat_map(|folder| library.files.iter().map(|f| folder.join(f)));
        let file = files.find(|file| file.exists())?;
        let refused = |reason| DeviceError::Unloadable { file: file.display().to_string(), reason };
        Some(open(&file).map_err(refused))
    };
    if let Some(found) = within(&places.named) {
        return found;
    }
    if let Some(found) = library.files.iter().find_map(|file| open(Path::new(file)).ok()) {
        return Ok(found);
    }
    within(&places.known).unwrap_or_else(|| {
        Err(DeviceError::Missing {
            library: library.what,
            names: library.files.join(" or "),
            places: places.told(),
            advice: library.advice,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LIBRARY: Library = Library {
        what: "a library",
        files: &["libx.so.2", "libx.so.1"],
        functions: &[],
        advice: "install it",
    };

    /// Opens whatever is there, and one name by itself; a file that says so is refused.
    fn open(system: &'static str) -> impl Fn(&Path) -> Result<PathBuf, String> {
        move |path| match fs::read_to_string(path) {
            Ok(text) if text == "bad" => Err("it is bad".to_owned()),
            Ok(_) => Ok(path.to_owned()),
            Err(_) if path == Path::new(system) => Ok(path.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_is_named_comes_first_then_the_system_then_what_is_known() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let paths = folders.each_ref().map(|folder| folder.path().to_owned());
        let places = Places { named: vec![paths[0].clone()], known: paths[1..].to_vec() };
        let error = find(&LIBRARY, &places, open("")).unwrap_err().to_string();
        let told = paths.each_ref().map(|path| path.display().to_string()).join(", ");
        let expected = format!(
            "a library is missing: looked for libx.so.2 or libx.so.1 where the system looks and in \
             {told}; install it"
        );
        assert_eq!(error, expected);
        fs::write(paths[2].join("libx.so.2"), "").unwrap();
        assert_eq!(find(&LIBRARY, &places, open("")).unwrap(), paths[2].join("libx.so.2"));
        fs::write(paths[1].join("libx.so.1"), "").unwrap();
        assert_eq!(find(&LIBRARY, &places, open("")).unwrap(), paths[1].join("libx.so.1"));
        let system = find(&LIBRARY, &places, open("libx.so.1")).unwrap();
        assert_eq!(system, Path::new("libx.so.1"));
        fs::write(paths[0].join("libx.so.1"), "bad").unwrap();
        let error = find(&LIBRARY, &places, open("libx.so.1")).unwrap_err().to_string();
        let expected = format!("{}/libx.so.1 cannot be loaded: it is bad", paths[0].display());
        assert_eq!(error, expected);
    }

    #[test]
    fn a_driver_of_cuda_12_is_given_no_library_of_cuda_13() {
        let files = |version| CUBLAS.for_driver(version).files;
        assert_eq!(files(13_000), ["libcublas.so.13", "libcublas.so.12"]);
        assert_eq!(files(13_020), ["libcublas.so.13", "libcublas.so.12"]);
        assert_eq!(files(12_080), ["libcublas.so.12"]);
        assert_eq!(NCCL.for_driver(12_080).files, NCCL.files);
    }

    #[test]
    fn wheels_are_found_among_packages_and_lists_are_split() {
        let folder = tempfile::tempdir().unwrap();
        assert!(wheel_folders(folder.path()).is_empty());
        for wheel in ["cudnn/lib", "cu13/lib", "cu13/bin", "nvtx"] {
            fs::create_dir_all(folder.path().join("nvidia").join(wheel)).unwrap();
        }
        let expected = ["cu13/lib", "cudnn/lib"].map(|w| folder.path().join("nvidia").join(w));
        assert_eq!(wheel_folders(folder.path()), expected);
        assert_eq!(split(Some("/a::/b".into())), [Path::new("/a"), Path::new("/b")]);
        assert!(split(None).is_empty());
        assert_eq!(Places::default().told(), "no other folder");
    }
}
