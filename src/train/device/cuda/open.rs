//! Opens a GPU; whatever is in the way is an error that says so.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUdevice_attribute as Attribute;

use super::cudnn;
use super::library;
use super::stream::{self, Stream};
use crate::train::device::accelerator::Accelerator;
use crate::train::device::error::DeviceError;
use crate::train::device::shares_gpus;

/// The version of CUDA that the kernels' PTX is for (`PTX` in build.rs), as the driver counts: 12.0.
const CUDA: i32 = 12_000;

/// The compute capability that they are compiled for.
const CAPABILITY: (i32, i32) = (7, 5);

/// `off` in this variable: steps are queued launch by launch, never as a graph.
const GRAPHS: &str = "GRIDLANE_CUDA_GRAPHS";

/// Opens GPU number `index` of those that this process sees, and loads the kernels.
///
/// # Errors
/// When a library is missing, the driver does not start or is too old, there is no such GPU, or it is
/// too old or out of memory.
pub fn open(index: usize) -> Result<Accelerator, DeviceError> {
    let version = library::open_driver()?;
    if version < CUDA {
        let [found, needed] = [version, CUDA].map(|v| format!("{}.{}", v / 1000, v % 1000 / 10));
        return Err(DeviceError::Old { found, needed });
    }
    library::open_products(version)?;
    // All functions are there; what the bindings should panic at in spite of that is an error, too.
    catch_unwind(AssertUnwindSafe(|| opened(index))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(DeviceError::Driver { reason: said.unwrap_or("the bindings gave up").to_owned() })
    })
}

fn opened(index: usize) -> Result<Accelerator, DeviceError> {
    let driver =
        |error: cudarc::driver::DriverError| DeviceError::Driver { reason: stream::reason(&error) };
    cudarc::driver::result::init().map_err(driver)?;
    let found = usize::try_from(CudaContext::device_count().map_err(driver)?).unwrap_or_default();
    let index = if shares_gpus() { index % found.max(1) } else { index };
    if index >= found {
        return Err(DeviceError::Index { index, found });
    }
    let context = CudaContext::new(index).map_err(driver)?;
    let name = context.name().map_err(driver)?;
    let attribute = |attribute| context.attribute(attribute).map_err(driver);
    let capability = (
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    if capability < CAPABILITY {
        let [found, needed] = [capability, CAPABILITY].map(|(a, b)| format!("{a}.{b}"));
        return Err(DeviceError::Capability { index, name, found, needed });
    }
    let mut stream = Stream::new(&context, format!("cuda:{index} ({name})"))?;
    if cudnn::is_wanted() && library::open_cudnn()? {
        stream.use_cudnn(|version| format!("cuda:{index} ({name}, cuDNN {version})"));
    }
    let accelerator = Accelerator::new(Box::new(stream));
    accelerator.use_graphs(std::env::var_os(GRAPHS).is_none_or(|value| value != "off"));
    Ok(accelerator)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Output};

    use super::*;
    use crate::spec::precision::Precision;
    use crate::train::device::emulated::{compile, skipped};

    const CUDNN: &str = "libcudnn.so.9";

    /// What this test program says when it runs the tests named `filter` with the libraries in
    /// `folder`: the bindings open libraries once in a process.
    fn told(folder: &Path, filter: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let Output { status, stdout, stderr } = ran(folder, filter, environment);
        let mut said = String::from_utf8_lossy(&stdout).into_owned();
        // A process that is killed says why nowhere else.
        if !status.success() {
            said.push_str(&format!("{status}\n{}", String::from_utf8_lossy(&stderr)));
        }
        (status.success(), said)
    }

    /// The same with its log.
    fn ran(folder: &Path, filter: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args(filter)
            .args(["--nocapture", "--include-ignored"])
            .env("GRIDLANE_CUDA_LIBS", folder)
            .env("PYTHON", "false")
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// What two ranks on GPUs come to, each a thread.
    fn meeting_of_two(folder: &Path, environment: &[(&str, &str)]) -> String {
        let name = "train::device::cuda::open::tests::the_meeting_for_another_test";
        let (_, said) = told(folder, &["--exact", name], environment);
        let line = said.lines().find_map(|line| line.split_once("outcome: "));
        line.map(|(_, outcome)| outcome.to_owned()).unwrap_or(said)
    }

    #[test]
    #[ignore = "for others, in a process of its own"]
    fn the_meeting_for_another_test() {
        let met = open(0).and_then(|first| {
            let second = open(1)?;
            let meeting = first.meeting()?;
            std::thread::scope(|scope| {
                let other = scope.spawn(|| second.meet(&meeting, [1, 2]).map(drop));
                first.meet(&meeting, [0, 2])?;
                other.join().unwrap()
            })
        });
        let outcome = met.map_or_else(|error| error.to_string(), |()| "they have met".to_owned());
        skipped(&format!("outcome: {outcome}"));
    }

    #[test]
    fn ranks_on_gpus_meet_through_nccl_or_say_why_not() {
        let Some(fakes) = fakes() else { return };
        let folder = fakes.path();
        let two = ("FAKE_DEVICES", "2");
        assert_eq!(meeting_of_two(folder, &[two]), "they have met");
        let one = meeting_of_two(folder, &[]);
        assert!(one.starts_with("there is no GPU 1: this process sees 1"), "{one}");
        let shared = meeting_of_two(folder, &[("GRIDLANE_SHARE_GPUS", "1")]);
        assert_eq!(shared, "they have met");
        assert_eq!(
            meeting_of_two(folder, &[two, ("FAKE_NCCL_INIT", "2")]),
            "meeting the other ranks failed on cuda:0 (fake, cuDNN 9.19.0): NCCL: unhandled system error (told to \
             fail)"
        );
        fs::copy(folder.join("libcublas.so.13"), folder.join("libnccl.so.2")).unwrap();
        let old = meeting_of_two(folder, &[two]);
        let expected = "it has no function ncclAllReduce; it is too old, or another library";
        assert!(old.ends_with(expected), "{old}");
        fs::remove_file(folder.join("libnccl.so.2")).unwrap();
        let missing = meeting_of_two(folder, &[two]);
        if missing == "they have met" || missing.starts_with("meeting the") {
            skipped("this machine has NCCL");
            return;
        }
        let expected = "NCCL is missing: looked for libnccl.so.2 or libnccl.so where the system looks and \
                        in ";
        assert!(missing.starts_with(expected), "{missing}");
        assert!(missing.contains("take devices = 1"), "{missing}");
    }

    /// What opening a GPU comes to.
    fn outcome(folder: &Path, environment: &[(&str, &str)]) -> String {
        let name = "train::device::cuda::open::tests::the_outcome_for_another_test";
        let (_, said) = told(folder, &["--exact", name], environment);
        let line = said.lines().find_map(|line| line.split_once("outcome: "));
        line.map(|(_, outcome)| outcome.to_owned()).unwrap_or(said)
    }

    #[test]
    #[ignore = "for others, in a process of its own"]
    fn the_outcome_for_another_test() {
        let outcome = open(0).map_or_else(|error| error.to_string(), |gpu| gpu.name().to_owned());
        skipped(&format!("outcome: {outcome}"));
        if let Ok(gpu) = open(0)
            && let Err(error) = gpu.check(Precision::Bf16)
        {
            skipped(&format!("precision: {error}"));
        }
    }

    /// The fake driver, cuBLAS, cuDNN and NCCL in a folder; none without a C++ compiler.
    fn fakes() -> Option<tempfile::TempDir> {
        let folder = tempfile::tempdir().unwrap();
        for (name, source) in [
            ("libcuda.so.1", "driver.cpp"),
            ("libcublasLt.so.13", "driver.cpp"),
            ("libcublas.so.13", "driver.cpp"),
            (CUDNN, "cudnn.cpp"),
            ("libnccl.so.2", "nccl.cpp"),
        ] {
            // The bindings open what is open already by the name that is in the library.
            let soname = format!("-Wl,-soname,{name}");
            let arguments = ["-shared", "-fPIC", soname.as_str()];
            match compile::compiled(name, source, &[&arguments]) {
                Ok(library) => fs::copy(library, folder.path().join(name)).unwrap(),
                Err(reason) => {
                    skipped(&reason);
                    return None;
                }
            };
        }
        Some(folder)
    }

    #[test]
    fn whatever_is_in_the_way_is_an_error_that_says_so() {
        let Some(fakes) = fakes() else { return };
        let folder = fakes.path();
        assert_eq!(outcome(folder, &[]), "cuda:0 (fake, cuDNN 9.19.0)");
        for (name, value, expected) in [
            (
                "FAKE_INIT",
                "100",
                "the NVIDIA driver does not start: no CUDA-capable device is detected \
                 (CUDA_ERROR_NO_DEVICE)",
            ),
            (
                "FAKE_VERSION",
                "11080",
                "the NVIDIA driver speaks CUDA 11.8, the kernels need 12.0; update the driver, or \
                 train on the cpu",
            ),
            (
                "FAKE_DEVICES",
                "0",
                "there is no GPU 0: this process sees 0, counted from 0; choose another, or see \
                 CUDA_VISIBLE_DEVICES",
            ),
            (
                "FAKE_CAPABILITY",
                "70",
                "GPU 0 (fake) has compute capability 7.0, the kernels need 7.5 or more",
            ),
        ] {
            assert_eq!(outcome(folder, &[(name, value)]), expected);
        }
        fs::write(folder.join("libcublas.so.13"), "no library").unwrap();
        let refused = outcome(folder, &[]);
        assert!(refused.contains("libcublas.so.13 cannot be loaded: "), "{refused}");
    }

    /// Drivers of 570 and before are of CUDA 12; those of 580 read what is for CUDA 12, too.
    #[test]
    fn a_driver_of_cuda_12_takes_libraries_of_cuda_12() {
        let Some(fakes) = fakes() else { return };
        let folder = fakes.path();
        let old = [("FAKE_VERSION", "12080")];
        if library::open_products(12_080).is_err() {
            let found = outcome(folder, &old);
            let expected =
                "cuBLASLt is missing: looked for libcublasLt.so.12 where the system looks and";
            assert!(found.starts_with(expected), "{found}");
        }
        for name in ["libcublasLt", "libcublas"] {
            let of = |major| folder.join(format!("{name}.so.{major}"));
            fs::rename(of(13), of(12)).unwrap();
        }
        for version in ["12000", "12080", "13000"] {
            let found = outcome(folder, &[("FAKE_VERSION", version)]);
            assert_eq!(found, "cuda:0 (fake, cuDNN 9.19.0)", "{version}");
        }
    }

    #[test]
    fn a_gpu_that_is_too_old_for_a_precision_says_so() {
        let Some(fakes) = fakes() else { return };
        let name = "train::device::cuda::open::tests::the_outcome_for_another_test";
        let refused = |capability: &str| {
            let (_, said) =
                told(fakes.path(), &["--exact", name], &[("FAKE_CAPABILITY", capability)]);
            let line = said.lines().find_map(|line| line.split_once("precision: "));
            line.map(|(_, refused)| refused.to_owned())
        };
        let expected = "cuda:0 (fake, cuDNN 9.19.0) has compute capability 7.5, precision = \"bf16\" \
                        needs 8.0 or more; take precision = \"f32\"";
        assert_eq!(refused("75").as_deref(), Some(expected));
        assert_eq!(refused("80"), None);
    }

    #[test]
    fn missing_libraries_and_functions_are_named() {
        let Some(fakes) = fakes() else { return };
        let folder = fakes.path();
        let empty = folder.join("libempty.so");
        let source = folder.join("empty.c");
        fs::write(&source, "int nothing;\n").unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let arguments = ["-shared", "-fPIC", "-o"];
        let compiled = Command::new(compiler).args(arguments).arg(&empty).arg(&source).status();
        assert!(compiled.unwrap().success());
        fs::rename(&empty, folder.join("libcuda.so.1")).unwrap();
        let found = outcome(folder, &[]);
        assert!(
            found
                .ends_with("it has no function cuCtxGetCurrent; it is too old, or another library"),
            "{found}"
        );
        if library::open_driver().and_then(library::open_products).is_ok() {
            skipped("this machine has the libraries");
            return;
        }
        fs::remove_file(folder.join("libcuda.so.1")).unwrap();
        let found = outcome(folder, &[]);
        let expected = "the NVIDIA driver's library is missing: looked for libcuda.so.1 or libcuda.so \
                        where the system looks and in ";
        assert!(found.starts_with(expected), "{found}");
    }

    #[test]
    fn cudnn_is_used_where_it_is_and_not_switched_off_and_is_not_needed() {
        let Some(fakes) = fakes() else { return };
        let folder = fakes.path();
        for off in ["off", "0", "no"] {
            assert_eq!(outcome(folder, &[("GRIDLANE_CUDNN", off)]), "cuda:0 (fake)");
        }
        let found = outcome(folder, &[("GRIDLANE_CUDNN", "on")]);
        assert_eq!(found, "cuda:0 (fake, cuDNN 9.19.0)");
        fs::write(folder.join(CUDNN), "no library").unwrap();
        let found = outcome(folder, &[]);
        let ends = "; GRIDLANE_CUDNN=off trains without it";
        assert!(
            found.contains("libcudnn.so.9 cannot be loaded: ") && found.ends_with(ends),
            "{found}"
        );
        assert_eq!(outcome(folder, &[("GRIDLANE_CUDNN", "off")]), "cuda:0 (fake)");
        fs::copy(folder.join("libcublas.so.13"), folder.join(CUDNN)).unwrap();
        let found = outcome(folder, &[]);
        assert!(found.contains("it has no function cudnnConvolutionBackwardData"), "{found}");
        if library::open_cudnn().unwrap_or(true) {
            skipped("this machine has cuDNN");
            return;
        }
        fs::remove_file(folder.join(CUDNN)).unwrap();
        assert_eq!(outcome(folder, &[]), "cuda:0 (fake)");
    }

    /// How often the fake cuDNN was asked and called in each direction: forward, data, filter.
    fn counts(said: &str) -> Vec<[usize; 2]> {
        let lines = said.lines().filter_map(|line| line.strip_prefix("cudnn "));
        let number = |text: &str| text.rsplit(' ').next().unwrap().parse().unwrap();
        lines
            .map(|line| {
                let (asked, called) = line.split_once(", ").unwrap();
                [number(asked), number(called)]
            })
            .collect()
    }

    /// Convolutions alone, with a cuDNN that has an algorithm for some directions: the others are
    /// computed by patches, and all agree with the CPU.
    #[test]
    fn each_direction_is_cudnns_where_it_has_an_algorithm_and_that_of_patches_where_it_has_none() {
        let Some(fakes) = fakes() else { return };
        let ways = ["forward", "data", "filter"];
        let tests = ["accelerated::tests::conv", "precision_tests::conv"];
        for has in ["none", "forward", "data", "filter", "forward filter", "forward data filter"] {
            let environment = [("FAKE_CUDNN", has), ("FAKE_CUDNN_COUNTS", "1")];
            let (passed, said) = told(fakes.path(), &tests, &environment);
            assert!(passed, "{has}: {said}");
            assert!(!said.contains("skipped: ") && !said.contains("cudnn: "), "{said}");
            let counts = counts(&said);
            assert_eq!(counts.len(), 3, "{said}");
            for (way, [asked, called]) in ways.iter().zip(counts) {
                assert!(asked > 0, "{has}: {way} was not asked for");
                assert_eq!(called > 0, has.contains(way), "{has}: {way} was called {called} times");
            }
        }
        let (passed, said) = told(fakes.path(), &tests, &[("GRIDLANE_CUDNN", "off")]);
        assert!(passed && !said.contains("cudnn forward"), "{said}");
    }

    /// cuDNN may refuse an algorithm that it has offered: then it is the next one, or patches.
    #[test]
    fn what_cudnn_refuses_when_it_is_called_is_done_otherwise_and_said() {
        let Some(fakes) = fakes() else { return };
        let tests = ["accelerated::tests::convolutions_of_every", "--test-threads=1"];
        for refuses in ["", "forward", "data filter"] {
            let environment = [("FAKE_CUDNN_REFUSES", refuses), ("FAKE_CUDNN_COUNTS", "1")];
            let output = ran(fakes.path(), &tests, &environment);
            let [said, log] =
                [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
            let passed = output.status.success() && !said.contains("cudnn: ");
            assert!(passed, "{refuses}: {said} {log}");
            // Every choice is told of once, and twice where there is no other algorithm.
            let mut expected = 0;
            for (way, [asked, called]) in ["forward", "data", "filter"].iter().zip(counts(&said)) {
                let is_refused = refuses.contains(way);
                assert_eq!(called == 0, is_refused, "{refuses}: {way} {called}");
                expected += asked * (1 + usize::from(is_refused));
            }
            let lines = log.lines().filter(|line| line.contains("refuses it when it is called"));
            assert_eq!(lines.count(), expected, "{log}");
            assert_eq!(log.contains("but by patches (no det"), !refuses.is_empty(), "{log}");
        }
    }

    /// Everything that is compared with the CPU on a GPU, with the fake driver: through the very
    /// calls of CUDA and cuBLAS, all but what runs on the GPU itself.
    #[test]
    fn layers_and_runs_agree_with_the_cpu_through_a_fake_driver() {
        let Some(fakes) = fakes() else { return };
        let all = [
            "accelerated::",
            "resident::",
            "augmented::",
            "collective::",
            "emulated::",
            "--skip",
            "cuda::",
        ];
        // Ranks have a GPU each.
        let environment = [("FAKE_DEVICES", "4"), ("FAKE_CUDNN_COUNTS", "1")];
        let (passed, said) = told(fakes.path(), &all, &environment);
        assert!(passed, "{said}");
        assert!(!said.contains("skipped: ") && !said.contains("cudnn: "), "{said}");
        assert!(!said.contains(" 0 passed"), "{said}");
        // Algorithms are chosen once, not at every call.
        let counts = counts(&said);
        assert!(
            counts.len() == 3 && counts.iter().all(|[asked, called]| called > asked),
            "{counts:?}"
        );
    }
}
