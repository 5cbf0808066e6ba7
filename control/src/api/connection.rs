//! One client: what it said so far, what it is still to be told, and how long it may take.

use super::protocol::{Code, LARGEST, Line, Problem};
use super::socket::Peer;
use crate::live::Task;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// What waits to be sent before no more is made.
pub(super) const FULL: usize = 256 << 10;
/// A request must be complete within this.
const TO_ASK: Duration = Duration::from_secs(10);
/// A connection without a request ends after this.
const IDLE: Duration = Duration::from_secs(60);
/// While something waits for a client, it takes this much within [`TO_READ`], or is cut.
const LEAST_READ: usize = 64 << 10;
const TO_READ: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) peer: Peer,
    input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// Of the output, what is sent.
    sent: usize,
    /// What is being answered.
    pub(super) task: Option<Task>,
    /// Since when: the request's first byte, or the last answer's end.
    since: Instant,
    /// When the client's reading was looked at, and what it has taken since.
    looked: Instant,
    taken: usize,
    /// No more is read; it ends when all is sent.
    ending: bool,
}

/// What came of reading.
#[derive(Debug)]
pub(super) enum Input {
    /// Nothing yet.
    Nothing,
    /// A request.
    Request(Vec<u8>),
    /// The other end is done.
    Over,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: Peer, now: Instant) -> Self {
        Self {
            stream,
            peer,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            task: None,
            since: now,
            looked: now,
            taken: 0,
            ending: false,
        }
    }

    /// Whether it wants to hear: it has no answer under way.
    pub(super) fn listens(&self) -> bool {
        self.task.is_none() && self.waiting() == 0 && !self.ending
    }

    /// Bytes to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Reads what has come.
    pub(super) fn hear(&mut self, now: Instant) -> Input {
        if let Some(line) = self.next_line() {
            return Input::Request(line);
        }
        let mut bytes = [0; 8192];
        match self.stream.read(&mut bytes) {
            Ok(0) => {
                if !self.input.is_empty() {
                    self.refuse(Code::Incomplete, "the connection ended in the middle of a request");
                }
                Input::Over
            }
            Ok(n) => {
                if self.input.is_empty() {
                    self.since = now;
                }
                self.input.extend_from_slice(bytes.get(..n).unwrap_or_default());
                if let Some(line) = self.next_line() {
                    return Input::Request(line);
                }
                if self.input.len() > LARGEST {
                    self.refuse(Code::TooLong, format!("a request is at most {LARGEST} bytes"));
                }
                Input::Nothing
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Input::Nothing,
            Err(_) => Input::Over,
        }
    }

    fn next_line(&mut self) -> Option<Vec<u8>> {
        let at = self.input.iter().position(|b| *b == b'\n')?;
        if at >= LARGEST {
            self.refuse(Code::TooLong, format!("a request is at most {LARGEST} bytes"));
            return None;
        }
        let rest = self.input.split_off(at + 1);
        let mut line = std::mem::replace(&mut self.input, rest);
        line.pop();
        Some(line)
    }

    /// Says an error and ends.
    pub(super) fn refuse(&mut self, code: Code, message: impl Into<String>) {
        Line::<Value>::Error(Problem::new(code, message)).write(&mut self.output);
        self.input.clear();
        self.ending = true;
    }

    /// No more will be heard of it.
    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    /// Sends what it takes. Says whether the connection still stands.
    pub(super) fn send(&mut self, now: Instant) -> bool {
        if self.waiting() == 0 {
            (self.looked, self.taken) = (now, 0);
        }
        while self.waiting() > 0 {
            match self.stream.write(self.output.get(self.sent..).unwrap_or_default()) {
                Ok(0) => return false,
                Ok(n) => {
                    self.sent += n;
                    self.taken += n;
                    self.since = now;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        if self.waiting() == 0 {
            self.output.clear();
            self.sent = 0;
            return !self.ending || self.task.is_some();
        }
        if self.sent > FULL {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        if now.duration_since(self.looked) < TO_READ {
            return true;
        }
        let reads = self.taken >= LEAST_READ;
        (self.looked, self.taken) = (now, 0);
        reads
    }

    /// What it should have done by now. Says whether the connection still stands.
    pub(super) fn keeps_time(&mut self, now: Instant) -> bool {
        if !self.listens() {
            return true;
        }
        let so_long = now.duration_since(self.since);
        if self.input.is_empty() {
            return so_long < IDLE;
        }
        if so_long >= TO_ASK {
            self.refuse(Code::Incomplete, format!("a request must be complete within {} s", TO_ASK.as_secs()));
        }
        true
    }
}
