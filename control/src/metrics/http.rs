//! The smallest HTTP server that a scraper needs: GET and HEAD of one page, one answer a connection, nothing that is sent
//! changes anything.
//!
//! It never waits: the control thread looks in between other things ([`Http::turn`]). What a client may take is bounded
//! before it says a word: so many connections, so many bytes of request, so much time for all of it.

use anyhow::Context;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Connections at once; who comes beyond is turned away.
const CLIENTS: usize = 16;
/// Connections that are taken in a turn.
const ACCEPTS: usize = 64;
/// The most that a request may be, its blank line included.
const REQUEST: usize = 8 << 10;
/// How long a request and its answer may take together.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(crate) struct Http {
    listener: TcpListener,
    clients: Vec<Client>,
}

/// The two formats of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0, for who asks for it.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, for everybody else.
    Text,
}

impl Format {
    const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Http {
    /// Listens.
    ///
    /// # Errors
    /// The address is not this machine's, or is taken.
    pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| {
            format!("cannot listen for metrics at {address}; set control.metrics to a free address of this machine")
        })?;
        listener.set_nonblocking(true).context("cannot listen for metrics")?;
        Ok(Self { listener, clients: Vec::new() })
    }

    /// Where it listens.
    #[cfg(test)]
    fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Does what can be done at once; `page` makes the page.
    pub(super) fn turn(&mut self, mut page: impl FnMut(Format) -> String) {
        let now = Instant::now();
        self.accept(now);
        self.clients.retain_mut(|client| client.goes_on(now, &mut page));
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS {
            let Ok((stream, _)) = self.listener.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let mut client = Client { stream, input: Vec::new(), output: Vec::new(), sent: 0, until: now + PATIENCE };
            if self.clients.len() >= CLIENTS {
                client.answer(503, "text/plain", "too many connections; try again in a moment\n", true);
                let _ = client.send();
            } else {
                self.clients.push(client);
            }
        }
    }
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    until: Instant,
}

impl Client {
    /// Says whether there is more to do for it.
    fn goes_on(&mut self, now: Instant, page: &mut impl FnMut(Format) -> String) -> bool {
        if now >= self.until {
            return false;
        }
        if self.output.is_empty() {
            match self.hear() {
                Heard::Nothing => return true,
                Heard::End => return false,
                Heard::Request => self.serve(page),
                Heard::TooMuch => self.answer(431, "text/plain", "the request is too long\n", true),
            }
        }
        self.send()
    }

    fn hear(&mut self) -> Heard {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Heard::End,
                Ok(n) => self.input.extend(piece.iter().take(n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Heard::End,
            }
            if has_end(&self.input) {
                return Heard::Request;
            }
            if self.input.len() > REQUEST {
                return Heard::TooMuch;
            }
        }
    }

    fn serve(&mut self, page: &mut impl FnMut(Format) -> String) {
        match Request::read(&self.input) {
            Some(Request { head, path: "/metrics", format }) => {
                let text = page(format);
                self.answer(200, format.content_type(), &text, !head);
            }
            Some(Request { head, path: "/", .. }) => {
                self.answer(200, "text/plain", "Underpass. Metrics are at /metrics.\n", !head);
            }
            Some(Request { head, .. }) => self.answer(404, "text/plain", "metrics are at /metrics\n", !head),
            None if self.input.starts_with(b"GET ") || self.input.starts_with(b"HEAD ") => {
                self.answer(400, "text/plain", "this is no HTTP request\n", true);
            }
            None => {
                self.answer(405, "text/plain", "GET and HEAD are all there is: nothing can be changed here\n", true)
            }
        }
    }

    fn answer(&mut self, status: u16, content_type: &str, body: &str, with_body: bool) {
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        self.output = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        if with_body {
            self.output.extend_from_slice(body.as_bytes());
        }
    }

    /// Says whether something is left to send.
    fn send(&mut self) -> bool {
        while let Some(rest) = self.output.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return false,
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        // What the client still says is taken in first: closing over unread bytes would reset the connection, and the
        // answer with it.
        let mut piece = [0; 4096];
        for _ in 0..4 {
            if !matches!(self.stream.read(&mut piece), Ok(n) if n > 0) {
                break;
            }
        }
        false
    }
}

enum Heard {
    Nothing,
    Request,
    TooMuch,
    End,
}

fn has_end(input: &[u8]) -> bool {
    input.windows(4).any(|w| w == b"\r\n\r\n") || input.windows(2).any(|w| w == b"\n\n")
}

/// What is asked for.
struct Request<'a> {
    /// The answer's head alone.
    head: bool,
    path: &'a str,
    format: Format,
}

impl<'a> Request<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(input).ok()?;
        let mut lines = text.lines();
        let mut words = lines.next()?.split(' ');
        let head = match words.next()? {
            "GET" => false,
            "HEAD" => true,
            _ => return None,
        };
        let target = words.next().filter(|target| target.starts_with('/'))?;
        if !words.next()?.starts_with("HTTP/1.") || words.next().is_some() {
            return None;
        }
        let path = target.split('?').next().unwrap_or(target);
        let accepted =
            lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case("accept"));
        let open = accepted.into_iter().any(|(_, value)| value.contains("application/openmetrics-text"));
        Some(Self { head, path, format: if open { Format::OpenMetrics } else { Format::Text } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered to some bytes, which come in two pieces.
    fn answered(request: &[u8]) -> String {
        let mut http = Http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let mut client = TcpStream::connect(http.address().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let (first, second) = request.split_at(request.len() / 2);
        let mut said = Vec::new();
        for piece in [first, second] {
            let _ = client.write_all(piece);
            turns(&mut http, &mut client, &mut said, 20);
        }
        turns(&mut http, &mut client, &mut said, 2000);
        String::from_utf8(said).unwrap()
    }

    fn turns(http: &mut Http, client: &mut TcpStream, said: &mut Vec<u8>, n: usize) {
        for _ in 0..n {
            http.turn(|format| format!("{format:?}\n"));
            let mut piece = [0; 4096];
            match client.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => said.extend_from_slice(&piece[..n]),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    #[test]
    fn the_page_is_given_in_the_format_that_is_asked_for() {
        let plain = answered(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(plain.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{plain}");
        assert!(plain.ends_with("\r\n\r\nText\n"), "{plain}");
        let open = answered(b"GET /metrics?x=1 HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0\r\n\r\n");
        assert!(
            open.contains("application/openmetrics-text; version=1.0.0") && open.ends_with("OpenMetrics\n"),
            "{open}"
        );
        let head = answered(b"HEAD /metrics HTTP/1.0\r\n\r\n");
        assert!(head.contains("Content-Length: 5\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn what_is_no_request_for_it_is_refused() {
        let status = |request: &[u8]| answered(request).split(' ').nth(1).map(str::to_owned).unwrap_or_default();
        assert_eq!(status(b"GET /etc/passwd HTTP/1.1\r\n\r\n"), "404");
        assert_eq!(status(b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), "405");
        assert_eq!(status(b"DELETE / HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(status(b"GET\r\n\r\n"), "405");
        assert_eq!(status(b"GET  HTTP/1.1\r\n\r\n"), "400");
        assert_eq!(status(b"GET /metrics SPDY/3\r\n\r\n"), "400");
        assert_eq!(status(b"\xff\xfe\r\n\r\n"), "405");
        assert_eq!(status(&[b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 9000]].concat()), "431");
    }

    #[test]
    fn clients_that_say_nothing_take_only_their_places_and_only_for_a_while() {
        let mut http = Http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = http.address().unwrap();
        let silent: Vec<_> = (0..CLIENTS + 5).map(|_| TcpStream::connect(address).unwrap()).collect();
        http.turn(|_| String::new());
        assert_eq!(http.clients.len(), CLIENTS);
        let mut last = silent.last().unwrap();
        last.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut said = String::new();
        last.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
        for client in &mut http.clients {
            client.until = Instant::now();
        }
        http.turn(|_| String::new());
        assert!(http.clients.is_empty());
    }
}
