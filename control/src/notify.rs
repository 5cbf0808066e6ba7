//! What the service manager is told: `sd_notify(3)`'s datagrams, and the watchdog that workers feed.
//!
//! The protocol is a datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names. Where that is not set (a
//! shell, another supervisor) nothing is sent. The watchdog is fed only when every worker has turned since it was fed
//! last: a control thread that lives proves nothing about workers, and a worker that hangs is a router that is dead.

use dataplane::verdict::Counters;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The service manager, if one asked to be told.
#[derive(Debug)]
pub(crate) struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Watchdog>,
}

/// See the module.
#[derive(Debug)]
struct Watchdog {
    /// How often it is fed: twice as often as it must be.
    every: Duration,
    fed: Instant,
    /// Each worker's turns when it was fed.
    turns: Vec<u64>,
    /// A stuck worker was told of.
    told: bool,
}

impl Notify {
    /// From the environment that the service manager made.
    pub(crate) fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok();
        Self::new(variable("NOTIFY_SOCKET"), variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"))
    }

    fn new(socket: Option<String>, micros: Option<String>, pid: Option<String>) -> Self {
        let to = socket.and_then(|path| match open(&path) {
            Ok(to) => Some(to),
            Err(e) => {
                tracing::warn!("the service manager cannot be told at NOTIFY_SOCKET={path}: {e}");
                None
            }
        });
        // Meant for another process of the service, if a PID is named.
        let mine = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let micros = micros.filter(|_| mine && to.is_some()).and_then(|text| text.parse::<u64>().ok());
        let watchdog = micros.filter(|&micros| micros > 0).map(|micros| Watchdog {
            every: Duration::from_micros(micros / 2),
            fed: Instant::now(),
            turns: Vec::new(),
            told: false,
        });
        Self { to, watchdog }
    }

    /// The start takes up to so long from now on.
    pub(crate) fn starting(&self, limit: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}\nSTATUS=Waiting for the ports' links", limit.as_micros()));
    }

    /// Packets are forwarded.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// Orderly end.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Ending the workers");
    }

    /// To be called often: feeds the watchdog when it is due and every worker has turned.
    pub(crate) fn beat(&mut self, counters: &[Arc<Counters>]) {
        let Some(dog) = self.watchdog.as_mut().filter(|dog| dog.fed.elapsed() >= dog.every) else { return };
        let turns: Vec<u64> = counters.iter().map(|c| c.meter.turns.get()).collect();
        let stuck = turns.iter().zip(&dog.turns).position(|(now, then)| now == then);
        if let Some(worker) = stuck {
            let since = dog.fed.elapsed().as_secs_f64();
            if !std::mem::replace(&mut dog.told, true) {
                tracing::error!("worker {worker} has made no turn for {since:.1} s; the watchdog is not fed any more");
                self.send(&format!("STATUS=Worker {worker} hangs"));
            }
            return;
        }
        dog.turns = turns;
        dog.fed = Instant::now();
        let told = std::mem::replace(&mut dog.told, false);
        if told {
            tracing::warn!("every worker turns again");
        }
        self.send(if told { "WATCHDOG=1\nSTATUS=Forwarding" } else { "WATCHDOG=1" });
    }

    /// A service manager that does not listen is no reason to stop forwarding.
    fn send(&self, text: &str) {
        if let Some((socket, to)) = &self.to
            && let Err(e) = socket.send_to_addr(text.as_bytes(), to)
        {
            tracing::debug!("the service manager was not told {text:?}: {e}");
        }
    }
}

/// A path, or a name in the abstract space after `@`.
fn open(path: &str) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let to = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A full queue must not hold the control thread up.
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listener {
        socket: UnixDatagram,
        path: std::path::PathBuf,
    }

    impl Listener {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("underpass-notify-{name}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, path }
        }

        fn heard(&self) -> Vec<String> {
            let mut buffer = [0; 512];
            let mut heard = Vec::new();
            while let Ok(n) = self.socket.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
            }
            heard
        }

        fn notify(&self, micros: u64) -> Notify {
            Notify::new(Some(self.path.to_str().unwrap().to_owned()), Some(micros.to_string()), None)
        }
    }

    impl Drop for Listener {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn turn(counters: &[Arc<Counters>], worker: usize) {
        counters[worker].meter.turns.add(1);
    }

    #[test]
    fn a_stuck_worker_starves_the_watchdog_and_is_named() {
        let listener = Listener::new("stuck");
        // Due at each call.
        let mut notify = listener.notify(1);
        let counters: Vec<Arc<Counters>> = (0..3).map(|_| Arc::default()).collect();
        let beat = |notify: &mut Notify, turning: &[usize]| {
            turning.iter().for_each(|&w| turn(&counters, w));
            notify.beat(&counters);
            listener.heard()
        };
        assert_eq!(beat(&mut notify, &[0, 1, 2]), ["WATCHDOG=1"]);
        assert_eq!(beat(&mut notify, &[0, 1, 2]), ["WATCHDOG=1"]);
        assert_eq!(beat(&mut notify, &[0, 2]), ["STATUS=Worker 1 hangs"]);
        assert_eq!(beat(&mut notify, &[0, 2]), [""; 0], "told once, and fed no more");
        assert_eq!(beat(&mut notify, &[1]), ["WATCHDOG=1\nSTATUS=Forwarding"], "every one has turned since");
        assert_eq!(beat(&mut notify, &[]), ["STATUS=Worker 0 hangs"]);
    }

    #[test]
    fn it_is_fed_twice_as_often_as_it_must_be_and_no_more() {
        let listener = Listener::new("often");
        let mut notify = listener.notify(3_600_000_000);
        assert_eq!(notify.watchdog.as_ref().unwrap().every, Duration::from_secs(1800));
        notify.beat(&[Arc::default()]);
        assert_eq!(listener.heard(), [""; 0], "not due yet");
    }

    #[test]
    fn nobody_is_told_without_a_socket_nor_for_another_process() {
        let mut nobody = Notify::new(None, Some("1".to_owned()), None);
        nobody.ready("x");
        nobody.beat(&[]);
        assert!(nobody.watchdog.is_none());
        let listener = Listener::new("pid");
        let path = listener.path.to_str().unwrap().to_owned();
        let other = Notify::new(Some(path.clone()), Some("1".to_owned()), Some("1".to_owned()));
        assert!(other.watchdog.is_none(), "the watchdog is another process's");
        other.ready("Forwarding");
        assert_eq!(listener.heard(), ["READY=1\nSTATUS=Forwarding"]);
        let own = Notify::new(Some(path), Some("1".to_owned()), Some(std::process::id().to_string()));
        assert!(own.watchdog.is_some());
        // A manager that has gone, and a path that is none.
        drop(listener);
        own.stopping();
        Notify::new(Some("\0".to_owned()), None, None).stopping();
    }

    #[test]
    fn an_abstract_socket_is_told_too() {
        let name = format!("underpass-notify-abstract-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notify::new(Some(format!("@{name}")), None, None).stopping();
        let mut buffer = [0; 64];
        let n = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..n].starts_with(b"STOPPING=1\n"));
    }
}
