//! For tests: an accelerator that is another process of this machine.
//!
//! It has memory of its own, which nothing here can touch but through the backend, and runs the very
//! kernels that a GPU runs, compiled by the system's C++ compiler, with the address and undefined
//! behaviour sanitizers where it has them. It checks what a GPU would not: the kind and number of a
//! kernel's arguments, and every access to memory. Products are made by their definition.

pub mod compile;
pub mod counting;
mod gathering;
pub mod rounding;

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::accelerator::Accelerator;
use super::backend::{Address, Argument, Backend, Graph, Launch, Operand, Product, Ticket};
use super::collective::{Collective, Meeting};
use super::error::DeviceError;
use crate::spec::precision::Precision;
use gathering::Gathering;

/// Threads of a block, as on a GPU.
const BLOCK: u32 = 256;

/// An accelerator for one test; says why and gives none where there is no C++ compiler.
pub fn accelerator() -> Option<Accelerator> {
    Some(Accelerator::new(backend()?))
}

/// What is behind it.
pub fn backend() -> Option<Box<dyn Backend>> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let watched = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    match PROGRAM.get_or_init(|| compile::compiled("emulated", "machine.cpp", &[&watched, &[]])) {
        Ok(program) => Some(Box::new(Emulated::start(program))),
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

/// Accelerators for the ranks of gangs of `world`, one gang after another: emulated ones, and in a
/// program with CUDA the first GPUs of the machine; says why of those that are not there.
pub fn gangs(world: usize) -> Vec<Vec<Accelerator>> {
    let emulated: Option<Vec<_>> = (0..world).map(|_| accelerator()).collect();
    let gpu = |index| match crate::train::device::Device::cuda(index) {
        Ok(crate::train::device::Device::Accelerator(gpu)) => Ok(gpu),
        Ok(crate::train::device::Device::Cpu) => unreachable!("a GPU was asked for"),
        Err(error) => Err(error.to_string()),
    };
    let gpus: Result<Vec<_>, String> = (0..world).map(gpu).collect();
    let gpus = gpus.map_err(|reason| skipped(&format!("{world} ranks on GPUs: {reason}"))).ok();
    emulated.into_iter().chain(gpus).collect()
}

/// The process. Clones are the same one.
#[derive(Debug, Clone)]
struct Emulated {
    pipes: Arc<Mutex<Pipes>>,
    /// Launches and products are recorded, and nothing else is possible.
    captures: Arc<AtomicBool>,
    /// Numbers that copies and graphs are known by.
    numbers: Arc<AtomicU64>,
}

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
        let pipes = Arc::new(Mutex::new(Pipes { child, commands, answers }));
        Self { pipes, captures: Arc::default(), numbers: Arc::new(AtomicU64::new(1)) }
    }

    fn failed(operation: &'static str, reason: String) -> DeviceError {
        DeviceError::Failed { operation, device: "the emulated accelerator".to_owned(), reason }
    }

    /// Refuses what CUDA refuses while a stream is captured.
    fn not_captured(&self, operation: &'static str) -> Result<(), DeviceError> {
        if self.captures.load(Ordering::Relaxed) {
            return Err(Self::failed(operation, "not while launches are recorded".to_owned()));
        }
        Ok(())
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a command and reads its answer.
    fn send(&self, parts: &[&[u8]], answer: &mut [u8]) -> Result<(), DeviceError> {
        let mut pipes = self.pipes.lock().unwrap();
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
        talk().map_err(|error| Self::failed("a command", error.to_string()))
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
        self.not_captured("allocating")?;
        let mut place = [0; 8];
        self.send(&[b"a", &(bytes as u64).to_le_bytes()], &mut place)?;
        Ok(Address(u64::from_le_bytes(place)))
    }

    fn release(&self, address: Address) {
        // One that has ended has no memory to give back.
        let _ = self.send(&[b"r", &address.0.to_le_bytes()], &mut []);
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.not_captured("copying to the device")?;
        let len = (bytes.len() as u64).to_le_bytes();
        self.send(&[b"u", &to.0.to_le_bytes(), &len, bytes], &mut [])
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.not_captured("copying from the device")?;
        let len = (bytes.len() as u64).to_le_bytes();
        self.send(&[b"d", &from.0.to_le_bytes(), &len], bytes)
    }

    fn fetch(&self, from: Address, bytes: usize) -> Result<Ticket, DeviceError> {
        self.not_captured("copying from the device")?;
        let (ticket, len) = (self.number(), (bytes as u64).to_le_bytes());
        self.send(&[b"f", &ticket.to_le_bytes(), &from.0.to_le_bytes(), &len], &mut [])?;
        Ok(Ticket(ticket))
    }

    fn collect(&self, ticket: Ticket, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.not_captured("waiting")?;
        let len = (bytes.len() as u64).to_le_bytes();
        self.send(&[b"c", &ticket.0.to_le_bytes(), &len], bytes)
    }

    fn forget(&self, ticket: Ticket) {
        // One that has ended has nothing to forget.
        let _ = self.send(&[b"c", &ticket.0.to_le_bytes(), &[0; 8]], &mut []);
    }

    fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        let (kernel, [threads, lanes], arguments) =
            (launch.kernel, launch.grid, launch.arguments());
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
        self.not_captured("waiting")?;
        self.send(&[b"s"], &mut [0])
    }

    fn meeting(&self) -> Result<Meeting, DeviceError> {
        Ok(gathering::meeting())
    }

    fn meet(
        &self,
        meeting: &Meeting,
        place: [usize; 2],
    ) -> Result<Box<dyn Collective>, DeviceError> {
        Ok(Box::new(Gathering::meet(self.clone(), meeting, place)))
    }

    fn begin_capture(&self) -> Result<(), DeviceError> {
        self.not_captured("recording")?;
        self.send(&[b"B"], &mut [])?;
        self.captures.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn end_capture(&self) -> Result<Graph, DeviceError> {
        self.captures.store(false, Ordering::Relaxed);
        let graph = self.number();
        self.send(&[b"E", &graph.to_le_bytes()], &mut [])?;
        Ok(Graph(graph))
    }

    fn replay(&self, graph: Graph) -> Result<(), DeviceError> {
        self.not_captured("a graph")?;
        self.send(&[b"G", &graph.0.to_le_bytes()], &mut [])
    }

    fn discard(&self, graph: Graph) {
        // One that has ended has nothing to forget.
        let _ = self.send(&[b"X", &graph.0.to_le_bytes()], &mut []);
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
fn a_copy_that_is_fetched_is_of_its_moment_in_the_queue() {
    for accelerator in accelerators() {
        let memory = accelerator.hold(&[1.0_f32, 2.0]).unwrap();
        let first = memory.fetch::<f32>(0, 2).unwrap();
        memory.upload(0, &[3.0_f32, 4.0]).unwrap();
        let (second, third) = (memory.fetch::<f32>(1, 1).unwrap(), memory.fetch::<f32>(0, 1));
        memory.upload(0, &[5.0_f32]).unwrap();
        drop(third.unwrap());
        let (mut two, mut one) = ([0.0; 2], [0.0]);
        second.collect(&mut one).unwrap();
        first.collect(&mut two).unwrap();
        assert_eq!((two, one), ([1.0, 2.0], [4.0]));
        memory.fetch::<f32>(0, 1).unwrap().collect(&mut one).unwrap();
        assert_eq!(one, [5.0]);
    }
}

#[test]
fn copies_are_of_what_there_was_however_many_are_under_way() {
    const PIECE: usize = 300_000;
    for accelerator in accelerators() {
        let memory = accelerator.zeros::<u32>(40 * PIECE).unwrap();
        let mut numbers = vec![0_u32; PIECE];
        for piece in 0..40 {
            numbers.fill(piece as u32);
            memory.upload(piece * PIECE, &numbers).unwrap();
        }
        let mut found = vec![0_u32; 40 * PIECE];
        memory.download(0, &mut found).unwrap();
        assert!(found.iter().enumerate().all(|(at, &number)| number == (at / PIECE) as u32));
        // More than is copied at once.
        let all: Vec<u32> = (0..40 * PIECE as u32).collect();
        memory.upload(0, &all).unwrap();
        memory.download(0, &mut found).unwrap();
        assert!(found == all);
    }
}

#[test]
fn while_launches_are_recorded_nothing_else_is_possible() {
    let Some(backend) = backend() else { return };
    let place = backend.allocate(8).unwrap();
    backend.begin_capture().unwrap();
    assert!(backend.allocate(8).is_err() && backend.synchronize().is_err());
    assert!(backend.upload(place, &[1]).is_err() && backend.download(place, &mut [1]).is_err());
    assert!(backend.fetch(place, 1).is_err() && backend.begin_capture().is_err());
    let graph = backend.end_capture().unwrap();
    backend.replay(graph).unwrap();
    backend.discard(graph);
    assert!(backend.replay(graph).is_ok(), "queued; the machine finds out");
    let error = backend.synchronize().unwrap_err().to_string();
    assert!(error.contains("a command"), "{error}");
    std::mem::forget(backend);
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
