//! The machine that a sweep runs on, in one line, for those who read its record later.

use std::fs;
use std::num::NonZero;
use std::thread;

use rustix::system::uname;

/// Name, system, processor and cores: `node7, Linux 6.1.0, AMD EPYC 7763 64-Core Processor, 16 cores`.
pub fn host() -> String {
    let system = uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let kernel = format!("{} {}", text(system.sysname()), text(system.release()));
    let processor = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| processor(&text));
    let processor = processor.unwrap_or_else(|| text(system.machine()));
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let cores = if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
    [text(system.nodename()), kernel, processor, cores].join(", ")
}

/// The model of the first processor that `/proc/cpuinfo` names; not every architecture's does.
fn processor(cpuinfo: &str) -> Option<String> {
    let model = |line: &str| {
        line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
    };
    cpuinfo.lines().find_map(model).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_called_by_its_model_where_that_is_known() {
        let text = "processor\t: 0\nvendor_id\t: X\nmodel\t\t: 1\nmodel name\t: Fast 9 @ 3 GHz\n";
        assert_eq!(processor(text), Some("Fast 9 @ 3 GHz".to_owned()));
        assert_eq!(processor("processor : 0\nFeatures : fp asimd\n"), None);
        assert!(host().contains("core"), "{}", host());
    }
}
