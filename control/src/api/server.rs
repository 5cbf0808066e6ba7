//! All connections, polled by the control thread.

use super::connection::{Connection, FULL, Input};
use super::protocol::{self, Code, Line, Problem};
use super::socket::{Owned, Peer};
use crate::live::{Answer, Live};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Connections at once.
const CONNECTIONS: usize = 32;
/// Connections that are taken in a turn.
const ACCEPTS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Server {
    socket: Owned,
    connections: Vec<Connection>,
}

impl Server {
    pub(crate) const fn new(socket: Owned) -> Self {
        Self { socket, connections: Vec::new() }
    }

    /// Waits for at most `patience` until something comes, and does what can be done at once.
    pub(crate) fn turn(&mut self, live: &mut Live, patience: Duration) {
        // Rows come from workers, which wake nobody.
        let patience =
            if self.connections.iter().any(|c| c.task.is_some()) { Duration::from_millis(1) } else { patience };
        self.wait(patience);
        let now = Instant::now();
        self.accept(now);
        let socket = &self.socket;
        self.connections.retain_mut(|c| {
            let stands = serve(c, socket, live, now);
            if !stands && let Some(task) = c.task.take() {
                live.abandon(task);
            }
            stands
        });
    }

    fn wait(&self, patience: Duration) {
        let mut fds = vec![PollFd::new(self.socket.listener.as_fd(), PollFlags::POLLIN)];
        for c in &self.connections {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, c.listens());
            events.set(PollFlags::POLLOUT, c.waiting() > 0);
            fds.push(PollFd::new(c.stream.as_fd(), events));
        }
        let millis = u16::try_from(patience.as_millis()).unwrap_or(u16::MAX);
        // Interrupted by a signal: the caller looks.
        let _ = poll(&mut fds, PollTimeout::from(millis));
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS {
            let Ok((stream, _)) = self.socket.listener.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            match Owned::peer(&stream) {
                Some(peer) if self.socket.admits(&peer) => {
                    if self.connections.len() < CONNECTIONS {
                        self.connections.push(Connection::new(stream, peer, now));
                    } else {
                        turn_away(&stream, Code::Busy, "too many connections; try again in a moment");
                    }
                }
                Some(Peer { uid, .. }) => {
                    turn_away(&stream, Code::Denied, &format!("user {uid} may not use the control socket"));
                }
                None => turn_away(&stream, Code::Denied, "the system does not say who you are"),
            }
        }
    }
}

fn turn_away(mut stream: &UnixStream, code: Code, message: &str) {
    let mut line = Vec::new();
    Line::<Value>::Error(Problem::new(code, message)).write(&mut line);
    let _ = stream.write(&line);
}

/// Does what can be done for a connection now. Says whether it still stands.
fn serve(c: &mut Connection, socket: &Owned, live: &mut Live, now: Instant) -> bool {
    if c.listens() {
        match c.hear(now) {
            Input::Nothing => {}
            Input::Over => c.end(),
            Input::Request(line) => answer(c, socket, live, &line),
        }
    }
    if c.waiting() < FULL
        && let Some(mut task) = c.task.take()
        && !live.go_on(&mut task, &mut c.output, FULL)
    {
        c.task = Some(task);
    }
    c.send(now) && c.keeps_time(now)
}

fn answer(c: &mut Connection, socket: &Owned, live: &mut Live, line: &[u8]) {
    let begun = if socket.admits(&c.peer) {
        protocol::request(line).and_then(|request| live.begin(&request, &c.peer))
    } else {
        Err(Problem::new(Code::Denied, "you may not use the control socket"))
    };
    match begun {
        Ok(Answer::Now(rows, end)) => {
            for row in rows {
                Line::Row(row).write(&mut c.output);
            }
            Line::End(end).write(&mut c.output);
        }
        Ok(Answer::Later(task)) => c.task = Some(task),
        Err(problem) => Line::<Value>::Error(problem).write(&mut c.output),
    }
}
