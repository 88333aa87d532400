//! One file from one address, at most as many bytes as it should have.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;

use super::error::{FetchError, MirrorError};
use super::staged::StagedFile;

/// What is expected from an address.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: &'static str,
}

/// Whose fault it is: the next mirror may help, or not.
#[derive(Debug)]
pub enum Failure {
    /// The mirror's.
    Mirror(MirrorError),
    /// This machine's.
    Here(FetchError),
}

/// The client for downloads: patient with slow mirrors, not with silent ones.
pub fn agent() -> Agent {
    settings().build().new_agent()
}

/// A client that talks to the address itself, whatever proxy the environment names.
#[cfg(test)]
pub fn direct_agent() -> Agent {
    settings().proxy(None).build().new_agent()
}

fn settings() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .max_redirects(5)
        .user_agent(concat!("gridlane/", env!("CARGO_PKG_VERSION")))
        // The files are compressed already, and what arrives has to be the file itself.
        .accept_encoding("identity")
}

/// Downloads `url` into `staged`, which is empty, and checks size and checksum.
///
/// # Errors
/// If the mirror does not answer or gives other bytes, or if the disk does not take them.
pub fn download(
    agent: &Agent,
    url: &str,
    expected: Expected,
    staged: &mut StagedFile,
    received: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    let size =
        |found: String| Failure::Mirror(MirrorError::Size { expected: expected.bytes, found });
    let http = |error| Failure::Mirror(MirrorError::Http(Box::new(error)));
    let mut response = agent.get(url).call().map_err(http)?;
    // A short error page is recognised before a long wait.
    if let Some(announced) = response.body().content_length()
        && announced != expected.bytes
    {
        return Err(size(announced.to_string()));
    }
    let mut reader = response.body_mut().as_reader();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(source) => {
                let (received, expected) = (staged.written(), expected.bytes);
                return Err(Failure::Mirror(MirrorError::Broken { received, expected, source }));
            }
        };
        if staged.written() + n as u64 > expected.bytes {
            return Err(size("more".to_owned()));
        }
        let written = staged.write(&buffer[..n]);
        written.map_err(FetchError::disk("write", staged.path())).map_err(Failure::Here)?;
        received(staged.written());
    }
    if staged.written() != expected.bytes {
        return Err(size(staged.written().to_string()));
    }
    let found = staged.sha256();
    if found != expected.sha256 {
        return Err(Failure::Mirror(MirrorError::Checksum { expected: expected.sha256, found }));
    }
    Ok(())
}
