//! For tests: an accelerator that is another process of this machine.
//!
//! It has memory of its own, which nothing here can touch but through the backend, and runs the very
//! kernels that a GPU runs, compiled by the system's C++ compiler, with the address and undefined
//! behaviour sanitizers where it has them. It checks what a GPU would not: the kind and number of a
//! kernel's arguments, and every access to memory. Products are made by their definition.

pub mod compile;
pub mod rounding;

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use super::accelerator::Accelerator;
use super::backend::{Address, Argument, Backend, Operand, Product};
use super::error::DeviceError;
use crate::spec::precision::Precision;

/// Threads of a block, as on a GPU.
const BLOCK: u32 = 256;

/// An accelerator for one test; says why and gives none where there is no C++ compiler.
pub fn accelerator() -> Option<Accelerator> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let watched = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    match PROGRAM.get_or_init(|| compile::compiled("emulated", "machine.cpp", &[&watched, &[]])) {
        Ok(program) => Some(Accelerator::new(Box::new(Emulated::start(program)))),
        Err(reason) => {
            skipped(reason);
            None
        }
    }
}

/// All accelerators that tests compare with the CPU: the emulated one, and in a program with CUDA the
/// first GPU; says why of one that is not there.
pub fn accelerators() -> Vec<Accelerator> {
    let gpu = match crate::train::device::Device::cuda(0) {
        Ok(crate::train::device::Device::Accelerator(gpu)) => Some(gpu),
        Ok(crate::train::device::Device::Cpu) => None,
        Err(error) => {
            skipped(&error.to_string());
            None
        }
    };
    accelerator().into_iter().chain(gpu).collect()
}

/// Says why something is not tested.
#[expect(clippy::print_stdout, reason = "for whoever runs the tests with --nocapture")]
pub fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

/// The process.
#[derive(Debug)]
struct Emulated(Mutex<Pipes>);

#[derive(Debug)]
struct Pipes {
    child: Child,
    commands: Option<BufWriter<ChildStdin>>,
    answers: BufReader<ChildStdout>,
}

impl Emulated {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program)
            .env("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = Some(BufWriter::new(child.stdin.take().unwrap()));
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self(Mutex::new(Pipes { child, commands, answers }))
    }

    /// Sends a command and reads its answer.
    fn send(&self, parts: &[&[u8]], answer: &mut [u8]) -> Result<(), DeviceError> {
        let mut pipes = self.0.lock().unwrap();
        let Pipes { commands, answers, .. } = &mut *pipes;
        let commands = commands.as_mut().unwrap();
        let mut talk = || -> std::io::Result<()> {
            parts.iter().try_for_each(|part| commands.write_all(part))?;
            if !answer.is_empty() {
                commands.flush()?;
                answers.read_exact(answer)?;
            }
            Ok(())
        };
        talk().map_err(|error| DeviceError::Failed {
            operation: "a command",
            device: "the emulated accelerator".to_owned(),
            reason: error.to_string(),
        })
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // The end of its input ends the process.
        self.commands = None;
        let status = self.child.wait().unwrap();
        if !std::thread::panicking() {
            assert!(status.success(), "the emulated accelerator ended with {status}");
        }
    }
}

fn operand(operand: &Operand) -> [u64; 4] {
    let Operand { place, pitch, stride, transposed } = *operand;
    [place.0, pitch as u64, stride as u64, u64::from(transposed)]
}

impl Backend for Emulated {
    fn name(&self) -> &str {
        "the emulated accelerator"
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let mut place = [0; 8];
        self.send(&[b"a", &(bytes as u64).to_le_bytes()], &mut place)?;
        Ok(Address(u64::from_le_bytes(place)))
    }

    fn release(&self, address: Address) {
        // One that has ended has no memory to give back.
        let _ = self.send(&[b"r", &address.0.to_le_bytes()], &mut []);
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        let len = (bytes.len() as u64).to_le_bytes();
        self.send(&[b"u", &to.0.to_le_bytes(), &len, bytes], &mut [])
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let len = (bytes.len() as u64).to_le_bytes();
        self.send(&[b"d", &from.0.to_le_bytes(), &len], bytes)
    }

    fn launch(
        &self,
        kernel: &'static str,
        [threads, lanes]: [u32; 2],
        arguments: &[Argument],
    ) -> Result<(), DeviceError> {
        let mut command = vec![b'l'];
        command.extend((kernel.len() as u32).to_le_bytes());
        command.extend(kernel.as_bytes());
        for word in [threads.div_ceil(BLOCK), lanes, BLOCK, arguments.len() as u32] {
            command.extend(word.to_le_bytes());
        }
        for argument in arguments {
            let (kind, bits) = match *argument {
                Argument::Place(place) => (b'p', place.0),
                Argument::Count(count) => (b'u', u64::from(count)),
                Argument::Number(number) => (b'f', u64::from(number.to_bits())),
                Argument::Wide(number) => (b'd', number.to_bits()),
                Argument::Long(number) => (b'l', number),
            };
            command.push(kind);
            command.extend(bits.to_le_bytes());
        }
        self.send(&[&command], &mut [])
    }

    fn multiply(&self, product: &Product) -> Result<(), DeviceError> {
        let mut words = product.size.map(|size| size as u64).to_vec();
        [product.left, product.right, product.out].iter().for_each(|o| words.extend(operand(o)));
        words.extend([u64::from(product.adds), product.batch as u64, product.precision as u64]);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.send(&[b"m", &bytes], &mut [])
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.send(&[b"s"], &mut [0])
    }
}

#[test]
fn memory_is_written_and_read_back_and_starts_at_0() {
    let Some(accelerator) = accelerator() else { return };
    let memory = accelerator.zeros::<f32>(5).unwrap();
    memory.upload(1, &[1.0_f32, 2.0]).unwrap();
    let mut back = [9.0_f32; 5];
    memory.download(0, &mut back).unwrap();
    assert_eq!(back, [0.0, 1.0, 2.0, 0.0, 0.0]);
}

#[test]
fn the_most_memory_that_was_held_at_a_time_is_known() {
    let Some(accelerator) = accelerator() else { return };
    let before = accelerator.peak_bytes();
    let kept = accelerator.zeros::<f32>(1 << 20).unwrap();
    drop(accelerator.zeros::<f32>(1 << 20).unwrap());
    let again = accelerator.zeros::<f32>(1 << 20).unwrap();
    assert_eq!(accelerator.peak_bytes() - before, 8 << 20, "two at a time, never three");
    drop((kept, again));
}

#[test]
fn products_follow_their_definition() {
    let Some(accelerator) = accelerator() else { return };
    // Two products of (2, 3) and (3, 2), the second stored transposed.
    let a = accelerator.hold::<f32>(&(0..12).map(|x| x as f32).collect::<Vec<_>>()).unwrap();
    let b = accelerator.hold::<f32>(&(0..12).map(|x| (x % 5) as f32).collect::<Vec<_>>()).unwrap();
    let c = accelerator.hold::<f32>(&[1.0; 8]).unwrap();
    let product = Product {
        size: [2, 2, 3],
        left: Operand::new(a.address(), 3, 6),
        right: Operand::new(b.address(), 3, 6).transposed(),
        out: Operand::new(c.address(), 2, 4),
        adds: true,
        batch: 2,
        precision: Precision::F32,
    };
    accelerator.multiply(&product).unwrap();
    let mut found = [0.0_f32; 8];
    c.download(0, &mut found).unwrap();
    // Rows of a: 0 1 2, 3 4 5 | 6 7 8, 9 10 11; rows of b: 0 1 2, 3 4 0 | 1 2 3, 4 0 1.
    assert_eq!(found, [6.0, 5.0, 15.0, 26.0, 45.0, 33.0, 63.0, 48.0]);
}

#[test]
fn factors_are_rounded_as_the_precision_says() {
    let Some(accelerator) = accelerator() else { return };
    // 1 + 2^-11 lies between two numbers of TF32, 1 + 2^-9 is one of them.
    let numbers = [1.0 + 2.0_f32.powi(-11), 1.0 + 2.0_f32.powi(-9)];
    let factors = accelerator.hold(&numbers).unwrap();
    let rounded = accelerator.hold(&numbers.map(rounding::bf16_bits)).unwrap();
    let out = accelerator.zeros::<f32>(1).unwrap();
    for (precision, memory, expected) in [
        (Precision::F32, &factors, f64::from(numbers[0]) + f64::from(numbers[1])),
        (Precision::Tf32, &factors, 2.0 + 2.0_f64.powi(-9)),
        (Precision::Bf16, &rounded, 2.0),
    ] {
        let ones = match precision {
            Precision::Bf16 => accelerator.hold(&[0x3f80_u16; 2]).unwrap(),
            _ => accelerator.hold(&[1.0_f32; 2]).unwrap(),
        };
        let product = Product {
            size: [1, 1, 2],
            left: Operand::new(memory.address(), 2, 0),
            right: Operand::new(ones.address(), 1, 0),
            out: Operand::new(out.address(), 1, 0),
            adds: false,
            batch: 1,
            precision,
        };
        accelerator.multiply(&product).unwrap();
        let mut found = [0.0_f32];
        out.download(0, &mut found).unwrap();
        assert_eq!(found, [expected as f32], "{precision:?}");
    }
}
