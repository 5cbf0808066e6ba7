//! What a person types.

use crate::bench::{self, Bench, Traffic};
use crate::demo::{self, Demo};
use crate::doctor::{self, Doctor};
use crate::replay::{self, Replay};
use crate::show::{self, Flush, Reload, Show};
use crate::top::{self, Top};
use crate::{check, run};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Underpass: a NAT router on DPDK that lets VPNs pass.
#[derive(Debug, Parser)]
#[command(name = "underpass", version, max_term_width = 100)]
struct Cli {
    /// What to log to stderr: error, warn, info, debug or trace [default: info; warn for demo].
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Forward packets as a configuration says, until SIGINT or SIGTERM.
    ///
    /// Prints `ready` on stdout once it forwards, and at the end an account of where every packet went.
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Look for problems in a configuration, all at once, and say what to write instead.
    ///
    /// Exit code 0: it can be run (there may be warnings); 1: it cannot.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print the problems as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what this machine still needs for DPDK, each with the command that mends it.
    ///
    /// Looks at CPUs, hugepages, IOMMU and vfio, the binding of each NIC, isolated CPUs, NUMA, limits, installed drivers
    /// and permissions. Commands are to be run as root.
    ///
    /// Exit code 0: nothing is missing (there may be advice); 1: something is.
    Doctor(Doctor),
    /// Watch a router that runs: rates, workers, protocols, drops, tunnels and clients as they move.
    ///
    /// Space pauses, q or Ctrl-C ends. `--once` prints one screen, for a pipe.
    Top(Top),
    /// Show what a running Underpass does: `show vpn client=192.168.1.10`, `show drops`, `show sessions --json`.
    ///
    /// Asks the process by its control socket ([control] in its configuration). With --json each row is a JSON object in
    /// a line; docs/api.md says what is in them.
    ///
    /// Exit code 0: shown; 1: it could not be; 2: the command is wrong; 3: nobody answers at the socket; 4: nothing meets
    /// the filter.
    Show(Show),
    /// Have a running Underpass read its configuration anew; SIGHUP does the same.
    ///
    /// Either all of what differs comes into force or nothing does: what cannot change while it runs (devices, workers,
    /// sizes of tables, …) is named and refused. Sessions whose rule still stands live on without a lost packet; a forward or a
    /// switch that is gone ends what hung on it; addresses that left the pool get no new mappings and go when nothing uses
    /// them any more.
    ///
    /// Exit code 0: done, or nothing differs; 1: refused, nothing was changed; 3: nobody answers at the socket.
    Reload(Reload),
    /// End sessions and tunnels of a running Underpass: `flush client=192.168.1.10`. Their hosts may open them anew.
    ///
    /// Exit code as of show.
    Flush(Flush),
    /// Play captures through the same dataplane, on a clock taken from their times, and write what leaves.
    ///
    /// Says at the end what became of the packets, by what caused it: a packet from inside, one from outside, or a timer.
    /// The same captures and configuration give the same bytes on every run; ports are chosen with a fixed secret.
    ///
    /// Nobody answers ARP in a replay. So a port takes the Ethernet address that packets for the router are sent to in
    /// its capture, and hosts and gateways are taken from the captures' senders (and receivers of the old router's own
    /// frames); [[neighbour]] in the configuration goes before. Gateways that no capture shows, and hosts on a side that
    /// has no capture, get made-up addresses. Any other host that is not shown does not answer.
    ///
    /// The packets of both captures are merged by time, inside first on a tie. Between two of them the clock goes on,
    /// however long the gap, and after the last one for 10 s, so that time-outs take effect.
    Replay(Replay),
    /// Show the dataplane at work between simulated hosts and servers: no root, no hugepages, no NIC.
    ///
    /// The router is the one of `underpass run`; only its wires are memory. At their other ends 50 inside hosts and 12
    /// servers talk by ARP, UDP, TCP and ICMP, through forwards, hairpins and in fragments, and check at each end that what
    /// was sent arrives, as a NAT should change it, once, and nothing else. Bulk flows show packets per second and
    /// latency, with up to 128 packets under way.
    ///
    /// Exit code 0: every conversation was verified and every packet is accounted for; 1: not so.
    Demo(Demo),
    /// Measure packets per second with established sessions, of one worker or several, on DPDK's pcap and null devices.
    Bench {
        /// What flows carry: UDP, or the packets of VPN tunnels.
        #[arg(long, value_enum, default_value_t = Traffic::Udp, value_name = "KIND")]
        traffic: Traffic,
        /// Sessions or tunnels, and so flows.
        #[arg(long, default_value_t = 65_536, value_name = "N")]
        sessions: u32,
        /// How often each flow is in the capture. PPTP's control traffic comes once a turn of it, so give it 64.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Workers; each has a receive queue with flows of its own.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
        workers: u8,
        /// Percent of the packets that come by another worker's queue, so that they are handed over. Needs several workers.
        #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
        handoff: u8,
        /// How long to measure.
        #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
        seconds: f64,
        /// The capture to feed; written first if it is not there, and kept.
        #[arg(long, value_name = "FILE")]
        capture: Option<PathBuf>,
        /// Write the capture and stop, so that another program can be fed with the same packets.
        #[arg(long, requires = "capture")]
        only_capture: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The demo has the terminal to itself.
    let level = if matches!(cli.verb, Verb::Demo(_)) { "warn" } else { "info" };
    start_logging(cli.log.as_deref().unwrap_or(level));
    let outcome = match cli.verb {
        Verb::Run { config } => run::run(&config, cli.log.is_none()),
        Verb::Check { config, json } => check::check(&config, json),
        Verb::Show(args) => show::show(&args),
        Verb::Flush(args) => show::flush(&args),
        Verb::Reload(args) => show::reload(&args),
        Verb::Demo(args) => demo::demo(&args),
        Verb::Doctor(args) => doctor::doctor(&args),
        Verb::Top(args) => top::top(&args),
        Verb::Replay(args) => replay::replay(&args),
        Verb::Bench { traffic, sessions, rounds, workers, handoff, seconds, capture, only_capture, json } => {
            bench::bench(&Bench { traffic, sessions, rounds, workers, handoff, seconds, capture, only_capture, json })
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // One line a cause, the first says what was tried.
            eprintln!("underpass: {error:#}");
            ExitCode::FAILURE
        }
    }
}

type Filter = tracing_subscriber::reload::Handle<
    tracing_subscriber::EnvFilter,
    tracing_subscriber::fmt::Formatter<
        tracing_subscriber::fmt::format::DefaultFields,
        tracing_subscriber::fmt::format::Format,
        fn() -> std::io::Stderr,
    >,
>;

/// What is logged, to be changed while the process runs.
static FILTER: std::sync::OnceLock<Filter> = std::sync::OnceLock::new();

/// Logs what is of this level or more urgent, from now on.
pub(crate) fn log_level(level: &str) {
    if let (Some(filter), Ok(wanted)) = (FILTER.get(), tracing_subscriber::EnvFilter::try_new(level)) {
        let _ = filter.reload(wanted);
    }
}

fn start_logging(level: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr as fn() -> std::io::Stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_filter_reloading();
    let _ = FILTER.set(logging.reload_handle());
    logging.init();
}
