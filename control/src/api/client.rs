//! The other end of the socket, for the verbs of the command line.

use super::protocol::{Line, Problem, VERSION};
use anyhow::Context;
use serde_json::{Map, Value};
use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the socket is, unless it is said.
pub(crate) const DEFAULT: &str = "/run/underpass/control.sock";
/// The process that runs answers within this, or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a process that runs.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Nobody answers at the socket.
#[derive(Debug)]
pub(crate) struct Nobody(String);

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Nobody {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Client {
    /// Connects.
    pub(crate) fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).map_err(|e| {
            let shown = path.display();
            let why = match e.kind() {
                ErrorKind::NotFound => {
                    format!("there is no control socket {shown}; is `underpass run` up? Name another by --socket")
                }
                ErrorKind::ConnectionRefused => format!("nobody listens at {shown} any more; is `underpass run` up?"),
                ErrorKind::PermissionDenied => {
                    format!("you may not use {shown}; be root, or of the group that owns it (control.group)")
                }
                _ => format!("cannot connect to {shown}: {e}"),
            };
            anyhow::Error::new(Nobody(why))
        })?;
        stream.set_read_timeout(Some(PATIENCE)).context("cannot use the control socket")?;
        Ok(Self { stream: BufReader::new(stream), path: path.to_owned() })
    }

    /// Asks, gives each row to `row`, and returns the end. The request lacks only its version.
    pub(crate) fn ask(
        &mut self,
        mut request: Map<String, Value>,
        mut row: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<Value> {
        request.insert("api".into(), VERSION.into());
        let mut line = serde_json::to_vec(&Value::Object(request))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).with_context(|| self.lost())?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = self.stream.read_until(b'\n', &mut line).with_context(|| self.lost())?;
            if n == 0 {
                return Err(anyhow::Error::new(Nobody(self.lost())));
            }
            match serde_json::from_slice(&line).context("cannot understand the answer; are both of one version?")? {
                Line::Row(value) => row(value)?,
                Line::End(value) => return Ok(value),
                Line::Error(problem) => return Err(problem.into()),
            }
        }
    }

    fn lost(&self) -> String {
        format!("lost the connection to {}", self.path.display())
    }
}
